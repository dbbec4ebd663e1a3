from __future__ import annotations

import csv
import errno
import hashlib
import json
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from datasets.exceptions import (
    DataFilesNotFoundError,
    DatasetGenerationError,
    DatasetNotFoundError,
)
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from medtune.core.errors import DataError, EmptySplitError, FolderError, HubError, MedtuneError
from medtune.core.records import content_hash
from medtune.data.sources.files import RawRow
from medtune.data.sources.sources import (
    DataRef,
    SourceIdentity,
    identify_source,
    parse_data_ref,
    read_rows,
)

ROWS: list[RawRow] = [
    {"id": "1", "question": 'Says "naïve",\nβ?', "opa": "yes", "opb": "no, never"},
    {"id": "2", "question": "Second?", "opa": "x", "opb": "y"},
]


def read(path: Path, split: str | None = None, column: str = "") -> list[tuple[str, RawRow]]:
    return list(read_rows(DataRef("file", str(path), split), column))


# Names of data


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("starter", DataRef("starter", "", None)),
        ("starter:recall", DataRef("starter", "", "recall")),
        ("hub:org/name", DataRef("hub", "org/name", None)),
        ("hub:org/name:validation", DataRef("hub", "org/name", "validation")),
        ("hub:org/name@abc123:test", DataRef("hub", "org/name", "test", "abc123")),
        ("hub:org/name@abc123", DataRef("hub", "org/name", None, "abc123")),
        ("hub:org/name:train[:10%]", DataRef("hub", "org/name", "train[:10%]")),
        ("hub:name", DataRef("hub", "name", None)),
        ("hub:org/name/part:test", DataRef("hub", "org/name", "test", None, "part")),
        (
            "hub:org/name/part@refs/convert/parquet:test",
            DataRef("hub", "org/name", "test", "refs/convert/parquet", "part"),
        ),
        ("snapshot:runs/a/data", DataRef("snapshot", "runs/a/data", None)),
        ("snapshot:runs/a/data:calibration", DataRef("snapshot", "runs/a/data", "calibration")),
        ("file:a.csv", DataRef("file", "a.csv", None)),
        ("file:/x/a.parquet:dev", DataRef("file", "/x/a.parquet", "dev")),
        ("file:a.jsonl:dev_2", DataRef("file", "a.jsonl", "dev_2")),
    ],
)
def test_a_data_argument_is_read(text: str, ref: DataRef) -> None:
    assert parse_data_ref(text) == ref


@pytest.mark.parametrize(
    "text",
    [
        "starter",
        "starter:train",
        "hub:org/name",
        "hub:org/name:validation",
        "hub:org/name@abc123:test",
        "hub:org/name/part@refs/convert/parquet:test",
        "file:a.csv",
        "file:/x/a.parquet:dev",
        "snapshot:runs/a/data",
        "snapshot:runs/a/data:dev",
    ],
)
def test_a_data_argument_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_data_ref(text)) == text


def test_a_path_with_a_colon_is_a_path_where_the_file_exists(tmp_path: Path) -> None:
    (tmp_path / "12:30.csv").write_text("x")
    odd = tmp_path / "take:two"
    odd.write_text("x")
    assert parse_data_ref(f"file:{tmp_path}/12:30.csv") == DataRef(
        "file", f"{tmp_path}/12:30.csv", None
    )
    assert parse_data_ref(f"file:{odd}") == DataRef("file", str(odd), None)
    assert parse_data_ref(f"file:{odd}:dev") == DataRef("file", str(odd), "dev")


def test_what_cannot_be_a_split_stays_part_of_the_path() -> None:
    assert parse_data_ref("file:12:30.csv") == DataRef("file", "12:30.csv", None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "starters", "hub:", "hub", "file:", "file", "https://x/y", "medmcqa", "hub::dev"),
        *("snapshot", "snapshot:", "hub:a/b/c/d", "hub:a//c", "hub:/b", "hub:@main", "File:a.csv"),
    ],
)
def test_what_names_no_dataset_is_refused_with_the_four_forms(text: str) -> None:
    with pytest.raises(DataError, match="names no dataset") as caught:
        parse_data_ref(text)
    assert caught.value.expected == (
        "starter[:split], hub:ORG/NAME[/CONFIG][:split], file:PATH[:split] "
        "or snapshot:FOLDER[:split]"
    )


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("starter:recall", "starter-recall"),
        ("file:/x/val.parquet:dev", "val-dev"),
        ("file:/x/v1.0.csv", "v1.0"),
        ("hub:org/name/part:train[:10%]", "name-part-train[:10%]"),
    ],
)
def test_a_source_names_files_after_its_last_part(text: str, slug: str) -> None:
    assert parse_data_ref(text).slug == slug


def test_an_unknown_starter_split_names_the_splits() -> None:
    with pytest.raises(DataError, match="starter:dev: no such split") as caught:
        parse_data_ref("starter:dev")
    assert caught.value.expected == "train or recall or transfer or general"


def test_the_starter_is_read_line_by_line() -> None:
    rows = list(read_rows(parse_data_ref("starter:recall")))
    assert [place for place, _ in rows] == [f"line {n}" for n in range(1, 81)]
    assert set(rows[0][1]) >= {"id", "stem", "options", "answer", "subject", "group"}


# Files


def write_csv(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(
            handle, list(ROWS[0]), delimiter="\t" if path.suffix == ".tsv" else ","
        )
        writer.writeheader()
        writer.writerows(ROWS)


def write_jsonl(path: Path) -> None:
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    path.write_text(text, encoding="utf-8")


def write_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS), encoding="utf-8")


def write_parquet(path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write", "places"),
    [
        ("a.csv", write_csv, ["line 3", "line 4"]),
        ("a.tsv", write_csv, ["line 3", "line 4"]),
        ("a.CSV", write_csv, ["line 3", "line 4"]),
        ("a.jsonl", write_jsonl, ["line 1", "line 2"]),
        ("a.json", write_json, ["item 0", "item 1"]),
        ("a.parquet", write_parquet, ["row 0", "row 1"]),
    ],
)
def test_every_format_gives_back_the_rows(
    tmp_path: Path, name: str, write: Callable[[Path], None], places: Sequence[str]
) -> None:
    write(tmp_path / name)
    assert read(tmp_path / name) == list(zip(places, ROWS, strict=True))


def test_parquet_keeps_types_and_lists(tmp_path: Path) -> None:
    rows = [{"options": ["a", "b"], "answer": 1, "note": None}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [("row 0", rows[0])]


def test_parquet_rows_are_numbered_through_all_batches(tmp_path: Path) -> None:
    table = pyarrow.table({"n": list(range(9000))})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1000)
    rows = read(tmp_path / "a.parquet")
    assert rows == [(f"row {n}", {"n": n}) for n in range(9000)]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfid,question\n1,why\n")
    assert read(tmp_path / "a.csv") == [("line 2", {"id": "1", "question": "why"})]


def test_a_csv_row_with_too_few_values_has_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,question,opa\n1,why\n")
    assert read(tmp_path / "a.csv") == [("line 2", {"id": "1", "question": "why", "opa": None})]


def test_an_empty_csv_value_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,question,opa\n1,,""\n')
    assert read(tmp_path / "a.csv") == [("line 2", {"id": "1", "question": None, "opa": None})]


def test_a_csv_row_with_too_many_values_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,question\n1,why\n2,what, exactly\n")
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.csv")
    assert caught.value.found == (
        f"{tmp_path / 'a.csv'} line 3: more values than the header has columns"
    )
    assert caught.value.expected == "2 values"
    assert "quote" in caught.value.fix


@pytest.mark.parametrize("damaged", ['2,"what', '2,"what"ever'], ids=["open", "text after"])
def test_a_damaged_quote_is_refused_by_the_line_in_which_its_row_begins(
    tmp_path: Path, damaged: str
) -> None:
    (tmp_path / "a.csv").write_text(f"id,question\n1,why\n{damaged}\n3,how\n")
    with pytest.raises(DataError, match=r"a\.csv line 3: "):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_text_that_is_not_utf8_is_refused_with_its_line_and_a_command(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"id,question\n1,fine\n2,na\xefve\n")
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert caught.value.found == f"{tmp_path / name} is not UTF-8: byte 0xef in line 3"
    assert f"iconv -f WINDOWS-1252 -t UTF-8 {name}" in caught.value.fix


def test_blank_lines_of_jsonl_are_skipped_but_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('\n{"n": 1}\n\n{"n": 2}\n')
    assert read(tmp_path / "a.jsonl") == [("line 2", {"n": 1}), ("line 4", {"n": 2})]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"], ids=ascii)
def test_a_line_separator_inside_a_json_text_does_not_end_the_line(
    tmp_path: Path, mark: str
) -> None:
    row = {"question": f"one{mark}two"}
    text = json.dumps(row, ensure_ascii=False) + "\n"
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    assert read(tmp_path / "a.jsonl") == [("line 1", row)]


def test_jsonl_with_windows_line_ends_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"n": 1}\r\n{"n": 2}\r\n')
    assert read(tmp_path / "a.jsonl") == [("line 1", {"n": 1}), ("line 2", {"n": 2})]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"n": 1}\n{"n": \n', "line 2 is not JSON"),
        ("a.jsonl", '{"n": 1}\n[1]\n', "line 2 is no JSON object"),
        ("a.json", '[{"n": 1}', "is not JSON"),
        ("a.json", '{"n": 1}', "holds no list of objects"),
        ("a.json", '[{"n": 1}, 2]', "holds no list of objects"),
        ("a.json", "", "is not JSON"),
    ],
)
def test_damaged_json_is_refused_with_its_place(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_parquet_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError) as caught:
        read(path)
    assert caught.value.found.startswith(f"{path} cannot be read as parquet: ")
    assert "truncated" in caught.value.fix


def test_a_parquet_file_with_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pyarrow.table({"text": [f"{n} {n * n}" for n in range(5000)]})
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[4:60] = bytes(56)
    path.write_bytes(data)
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read(path)


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    for name, shown in (("a.docx", r"\.docx"), ("a", r"\(no suffix\)"), ("a.csv.gz", r"\.gz")):
        (tmp_path / name).write_text("x")
        with pytest.raises(DataError, match=f"unknown format {shown}") as caught:
            read(tmp_path / name)
        assert caught.value.expected == ".parquet, .arrow, .csv, .tsv, .txt, .jsonl, .json"


def test_a_folder_without_data_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match="holds no data file") as caught:
        read(tmp_path)
    assert caught.value.expected == (
        "files of one format: .parquet, .arrow, .csv, .tsv, .txt, .jsonl, .json"
    )
    with pytest.raises(DataError, match=r"none\.csv does not exist"):
        read(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", ""), ("a.csv", "id,question\n"), ("a.jsonl", "\n"), ("a.json", "[]")],
)
def test_a_file_without_rows_is_an_empty_split(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(EmptySplitError, match="has no row") as caught:
        read(tmp_path / name)
    assert caught.value.expected == "at least one question"


# Splits inside a file


def with_splits(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    rows = [{"n": n, "split": split} for n, split in enumerate(["train", "dev", "train", "test"])]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_split_column_picks_the_rows_and_keeps_their_places(tmp_path: Path) -> None:
    rows = read(with_splits(tmp_path), split="train", column="split")
    assert [(place, row["n"]) for place, row in rows] == [("line 1", 0), ("line 3", 2)]


def test_without_a_split_all_rows_are_read(tmp_path: Path) -> None:
    assert len(read(with_splits(tmp_path), column="split")) == 4


def test_without_a_split_column_the_split_only_names_the_file(tmp_path: Path) -> None:
    assert len(read(with_splits(tmp_path), split="dev", column="fold")) == 4


def test_an_unknown_split_names_the_splits_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(EmptySplitError, match="has no row of split 'validation'") as caught:
        read(with_splits(tmp_path), split="validation", column="split")
    assert caught.value.expected == "one of dev, test, train"


# Folders


def lines(path: Path, *rows: RawRow) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_files_of_a_folder_are_read_in_order_and_name_their_rows(tmp_path: Path) -> None:
    lines(tmp_path / "b.jsonl", {"n": 2})
    lines(tmp_path / "a.jsonl", {"n": 0}, {"n": 1})
    lines(tmp_path / "deep" / "a.jsonl", {"n": 3})
    assert read(tmp_path) == [
        ("a.jsonl line 1", {"n": 0}),
        ("a.jsonl line 2", {"n": 1}),
        ("b.jsonl line 1", {"n": 2}),
        ("deep/a.jsonl line 1", {"n": 3}),
    ]


def test_a_fault_in_a_file_of_a_folder_names_the_file(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"n": 0})
    (tmp_path / "b.jsonl").write_text('{"n": \n')
    with pytest.raises(DataError, match=r"/b\.jsonl line 1 is not JSON"):
        read(tmp_path)


@pytest.mark.parametrize(
    "place",
    [
        *("train/x.jsonl", "train.jsonl", "train-00000-of-00002.jsonl", "data/train_1.jsonl"),
        *("train/deep/x.jsonl", "train.part.jsonl"),
    ],
)
def test_a_split_of_a_folder_is_a_subfolder_or_what_begins_with_its_name(
    tmp_path: Path, place: str
) -> None:
    lines(tmp_path / place, {"n": 1})
    for other in ("test/y.jsonl", "trainer.jsonl", "test-train.jsonl", "train2.jsonl"):
        lines(tmp_path / other, {"n": 0})
    assert [row for _, row in read(tmp_path, "train", "split")] == [{"n": 1}]


def test_a_split_of_a_folder_may_be_named_by_a_column(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"n": 0, "split": "dev"}, {"n": 1, "split": "train"})
    lines(tmp_path / "b.jsonl", {"n": 2, "split": "dev"})
    rows = read(tmp_path, "dev", "split")
    assert [(place, row["n"]) for place, row in rows] == [
        ("a.jsonl line 1", 0),
        ("b.jsonl line 1", 2),
    ]


@pytest.mark.parametrize("column", ["split", ""])
def test_a_split_that_a_folder_does_not_have_is_not_all_of_it(tmp_path: Path, column: str) -> None:
    # Else `file:data:val` would examine a model on what it was trained on.
    for name in ("train.jsonl", "validation.jsonl"):
        lines(tmp_path / name, {"n": 0})
    with pytest.raises(EmptySplitError) as caught:
        read(tmp_path, "val", column)
    assert caught.value.found == f"{tmp_path} has no split 'val'"
    assert "files whose names begin with it" in caught.value.expected


def test_a_sample_of_a_folder_is_read_before_its_split_column_is_known(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"n": 0, "fold": "dev"})
    assert len(list(read_rows(DataRef("file", str(tmp_path), "dev")))) == 1


# Identity


def test_files_are_identified_by_their_bytes_not_their_place(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lines(tmp_path / name / f"{name}.jsonl", {"n": 1})
    first = identify_source(DataRef("file", str(tmp_path / "a" / "a.jsonl"), None))
    again = identify_source(DataRef("file", str(tmp_path / "b"), "dev"))
    assert first == again
    assert (first.revision, first.licence) == (None, None)
    lines(tmp_path / "b" / "b.jsonl", {"n": 1}, {"n": 2})
    assert identify_source(DataRef("file", str(tmp_path / "b"), None)) != first


def test_a_split_of_a_folder_is_identified_by_its_own_files(tmp_path: Path) -> None:
    lines(tmp_path / "dev.jsonl", {"n": 1})
    lines(tmp_path / "train.jsonl", {"n": 2})
    before = identify_source(DataRef("file", str(tmp_path), "dev"))
    lines(tmp_path / "train.jsonl", {"n": 3})
    assert identify_source(DataRef("file", str(tmp_path), "dev")) == before


def test_a_missing_file_has_no_identity(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        identify_source(DataRef("file", str(tmp_path / "none.csv"), None))


def test_the_starter_is_identified_by_its_bytes() -> None:
    content = (resources.files("medtune.data") / "starter" / "recall.jsonl").read_bytes()
    found = identify_source(parse_data_ref("starter:recall"))
    assert found == SourceIdentity(hashlib.sha256(content).hexdigest(), None, "Apache-2.0")


# The Hub

Hub = Callable[[object], list[dict[str, Any]]]


class ServerError(HfHubHTTPError):
    """What the Hub's client raises, without the response that it is made of."""

    def __init__(self) -> None:
        Exception.__init__(self, "503 Server Error\nfor url: https://example.org")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Give what `datasets` answers, and collect what it is asked."""
    calls: list[dict[str, Any]] = []

    def answering(answer: object) -> list[dict[str, Any]]:
        def ask(place: str, **options: Any) -> object:
            calls.append({"place": place, **options})
            if isinstance(answer, BaseException):
                raise answer
            return answer

        monkeypatch.setattr(datasets, "load_dataset", ask)
        monkeypatch.setattr(datasets, "load_dataset_builder", ask)
        return calls

    return answering


def test_rows_of_the_hub_are_asked_for_by_split_and_revision(hub: Hub) -> None:
    calls = hub([{"n": 1}, {"n": 2}])
    rows = list(read_rows(parse_data_ref("hub:org/name@abc:dev")))
    assert rows == [("row 0", {"n": 1}), ("row 1", {"n": 2})]
    assert calls == [{"place": "org/name", "split": "dev", "revision": "abc"}]


def test_a_part_of_a_dataset_is_asked_for_by_its_name(hub: Hub) -> None:
    calls = hub([{"n": 1}])
    list(read_rows(parse_data_ref("hub:org/name/part:dev")))
    assert calls == [{"place": "org/name", "split": "dev", "revision": None, "name": "part"}]


def test_a_dataset_of_the_hub_is_identified_by_its_commit(hub: Hub) -> None:
    calls = hub(SimpleNamespace(hash="c0ffee"))
    found = identify_source(parse_data_ref("hub:org/name/part@main:dev"))
    assert found == SourceIdentity(content_hash(["org/name", "c0ffee"]), "c0ffee", None)
    assert calls == [{"place": "org/name", "revision": "main", "name": "part"}]
    assert identify_source(parse_data_ref("hub:cais/mmlu:test")).licence == "MIT"


def failing(ref: str, hub: Hub, raised: BaseException) -> MedtuneError:
    """Read and identify a dataset while the Hub fails: both must say the same."""
    hub(raised)
    with pytest.raises(MedtuneError) as read_error:
        list(read_rows(parse_data_ref(ref)))
    with pytest.raises(MedtuneError) as identify_error:
        identify_source(parse_data_ref(ref))
    assert read_error.value.__cause__ is raised
    assert str(read_error.value) == str(identify_error.value)
    assert type(read_error.value) is type(identify_error.value)
    return read_error.value


@pytest.mark.parametrize(
    "raised",
    [
        ConnectionError("Couldn't reach the Hub"),
        OfflineModeIsEnabled("offline"),
        TimeoutError("slow"),
        ServerError(),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_a_hub_that_cannot_be_reached_is_told_in_one_sentence(hub: Hub, raised: OSError) -> None:
    error = failing("hub:org/name:dev", hub, raised)
    assert isinstance(error, HubError)
    assert error.found == (
        "hub:org/name: the Hub (https://huggingface.co) cannot be reached and the dataset is not "
        "in the local cache"
    )
    assert "file:PATH" in error.fix


def test_a_dataset_that_the_hub_does_not_have_is_a_fault_of_the_data(hub: Hub) -> None:
    error = failing("hub:org/name", hub, DatasetNotFoundError("org/name"))
    assert isinstance(error, DataError)
    assert error.found == "the Hub has no dataset org/name that you may read"
    assert "hf auth login" in error.fix


@pytest.mark.parametrize(
    "message",
    [
        "Unknown split \"dev\". Should be one of ['train', 'test'].",
        "BuilderConfig 'part' not found. Available: ['anatomy', 'virology']",
    ],
)
def test_a_split_or_part_that_is_not_there_passes_on_what_the_hub_says(
    hub: Hub, message: str
) -> None:
    error = failing("hub:org/name/part:dev", hub, ValueError(message))
    assert isinstance(error, EmptySplitError)
    assert error.found == f"hub:org/name/part:dev: {message}"
    assert "hub:ORG/NAME/CONFIG:SPLIT" in error.fix


def test_a_dataset_that_needs_code_is_refused_with_the_parquet_copy(hub: Hub) -> None:
    raised = RuntimeError("Dataset scripts are no longer supported, but found med_qa.py")
    error = failing("hub:org/name:dev", hub, raised)
    assert isinstance(error, DataError)
    assert "needs a loading script, which medtune does not run" in error.found
    assert "hub:org/name@refs/convert/parquet" in error.fix


def test_another_runtime_error_is_not_called_a_fault_of_the_data(hub: Hub) -> None:
    hub(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        list(read_rows(parse_data_ref("hub:org/name:dev")))


def test_a_dataset_without_readable_files_is_not_called_an_unreachable_hub(hub: Hub) -> None:
    error = failing("hub:org/name:dev", hub, DataFilesNotFoundError("No (supported) data files"))
    assert isinstance(error, DataError)
    assert (
        error.found == "hub:org/name:dev: the dataset has no data file in a format that can be read"
    )


def test_a_dataset_that_cannot_be_built_tells_the_cause(hub: Hub) -> None:
    raised = DatasetGenerationError("An error occurred while generating the dataset")
    raised.__cause__ = TypeError("Couldn't cast array of type string to int64")
    error = failing("hub:org/name:dev", hub, raised)
    assert isinstance(error, DataError)
    assert error.found.endswith("cannot be read: Couldn't cast array of type string to int64")


def test_a_full_disk_is_not_called_an_unreachable_hub(hub: Hub) -> None:
    error = failing("hub:org/name:dev", hub, OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(error, FolderError)
    assert "the cache of datasets" in error.found


def test_rows_come_as_the_library_gives_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The true library over a local copy of a dataset, with an index of named classes."""
    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "choices": datasets.List(datasets.Value("string")),
            "answer": datasets.ClassLabel(names=["A", "B", "C", "D"]),
        }
    )
    row = {"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 3}
    copy = tmp_path / "mmlu" / "data"
    copy.mkdir(parents=True)
    table = datasets.Dataset.from_list([row], features=features)
    table.to_parquet(copy / "test-00000-of-00001.parquet")
    load = datasets.load_dataset

    def local(place: str, split: str, revision: str | None, name: str) -> object:
        assert (place, revision, name) == ("cais/mmlu", None, "clinical_knowledge")
        return load(str(tmp_path / "mmlu"), split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", local)
    assert list(read_rows(parse_data_ref("hub:cais/mmlu:test"))) == [("row 0", row)]
    with pytest.raises(EmptySplitError, match="dev"):
        list(read_rows(parse_data_ref("hub:cais/mmlu:dev")))
