from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from medtune.core.errors import DataError, EmptySplitError, HubError
from medtune.data.files import Row
from medtune.data.sources import DataRef, parse_ref, read_rows

ROWS: list[Row] = [
    {"id": "1", "question": 'Says "naïve",\nβ?', "opa": "yes", "opb": "no, never"},
    {"id": "2", "question": "Second?", "opa": "x", "opb": "y"},
]


def read(path: Path, split: str | None = None, column: str = "") -> list[tuple[str, Row]]:
    return list(read_rows(DataRef("file", str(path), split), column))


# Names of data


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("starter", DataRef("starter", "", "train")),
        ("starter:recall", DataRef("starter", "", "recall")),
        ("hub:org/name", DataRef("hub", "org/name", "train")),
        ("hub:org/name:validation", DataRef("hub", "org/name", "validation")),
        ("hub:org/name@abc123:test", DataRef("hub", "org/name", "test", "abc123")),
        ("hub:org/name@abc123", DataRef("hub", "org/name", "train", "abc123")),
        ("hub:org/name:train[:10%]", DataRef("hub", "org/name", "train[:10%]")),
        ("file:a.csv", DataRef("file", "a.csv", None)),
        ("file:/x/a.parquet:dev", DataRef("file", "/x/a.parquet", "dev")),
        ("file:a.jsonl:dev_2", DataRef("file", "a.jsonl", "dev_2")),
    ],
)
def test_a_data_argument_is_read(text: str, ref: DataRef) -> None:
    assert parse_ref(text) == ref


@pytest.mark.parametrize(
    "text",
    [
        "starter:train",
        "hub:org/name:validation",
        "hub:org/name@abc123:test",
        "file:a.csv",
        "file:/x/a.parquet:dev",
    ],
)
def test_a_data_argument_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_ref(text)) == text


def test_a_path_with_a_colon_is_a_path_where_the_file_exists(tmp_path: Path) -> None:
    (tmp_path / "12:30.csv").write_text("x")
    odd = tmp_path / "take:two"
    odd.write_text("x")
    assert parse_ref(f"file:{tmp_path}/12:30.csv") == DataRef("file", f"{tmp_path}/12:30.csv", None)
    assert parse_ref(f"file:{odd}") == DataRef("file", str(odd), None)
    assert parse_ref(f"file:{odd}:dev") == DataRef("file", str(odd), "dev")


def test_what_cannot_be_a_split_stays_part_of_the_path() -> None:
    assert parse_ref("file:12:30.csv") == DataRef("file", "12:30.csv", None)


@pytest.mark.parametrize(
    "text", ["", "starters", "hub:", "hub", "file:", "file", "https://x/y", "medmcqa", "hub::dev"]
)
def test_what_names_no_dataset_is_refused_with_the_three_forms(text: str) -> None:
    with pytest.raises(DataError, match="names no dataset") as caught:
        parse_ref(text)
    assert caught.value.expected == "starter[:split], hub:ORG/NAME[:split] or file:PATH[:split]"


def test_an_unknown_starter_split_names_the_splits() -> None:
    with pytest.raises(DataError, match="starter:dev: no such split") as caught:
        parse_ref("starter:dev")
    assert caught.value.expected == "train or recall or transfer"


def test_the_starter_is_read_line_by_line() -> None:
    rows = list(read_rows(parse_ref("starter:recall")))
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


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
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
    for name, shown in (("a.xlsx", r"\.xlsx"), ("a", r"\(no suffix\)"), ("a.csv.gz", r"\.gz")):
        (tmp_path / name).write_text("x")
        with pytest.raises(DataError, match=f"unknown format {shown}") as caught:
            read(tmp_path / name)
        assert caught.value.expected == ".parquet, .csv, .tsv, .jsonl, .json"


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
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


# The Hub

Hub = Callable[[object], list[dict[str, Any]]]


class DatasetNotFoundError(FileNotFoundError):
    pass


class HfHubHTTPError(OSError):
    pass


class OfflineModeIsEnabled(ConnectionError):
    pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Put stand-ins for `datasets` and the Hub's errors in place; give what the Hub answers."""
    calls: list[dict[str, Any]] = []

    def answering(answer: object) -> list[dict[str, Any]]:
        def load_dataset(place: str, **options: Any) -> object:
            calls.append({"place": place, **options})
            if isinstance(answer, BaseException):
                raise answer
            return answer

        contents: dict[str, dict[str, object]] = {
            "datasets": {"load_dataset": load_dataset},
            "datasets.exceptions": {"DatasetNotFoundError": DatasetNotFoundError},
            "huggingface_hub": {},
            "huggingface_hub.errors": {"HfHubHTTPError": HfHubHTTPError},
        }
        for name, content in contents.items():
            module = ModuleType(name)
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, name, module)
        return calls

    return answering


def test_rows_of_the_hub_are_asked_for_by_split_and_revision(hub: Hub) -> None:
    calls = hub([{"n": 1}, {"n": 2}])
    rows = list(read_rows(parse_ref("hub:org/name@abc:dev")))
    assert rows == [("row 0", {"n": 1}), ("row 1", {"n": 2})]
    assert calls == [{"place": "org/name", "split": "dev", "revision": "abc"}]


@pytest.mark.parametrize(
    "raised",
    [
        ConnectionError("Couldn't reach the Hub"),
        OfflineModeIsEnabled("offline"),
        TimeoutError("slow"),
        HfHubHTTPError("503 Server Error\nfor url: https://example.org"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_a_hub_that_cannot_be_reached_is_told_in_one_sentence(hub: Hub, raised: OSError) -> None:
    hub(raised)
    with pytest.raises(HubError) as caught:
        list(read_rows(parse_ref("hub:org/name:dev")))
    assert caught.value.found == (
        "hub:org/name:dev: the Hub cannot be reached and the dataset is not in the local cache"
    )
    assert "file:PATH" in caught.value.fix
    assert caught.value.__cause__ is raised


def test_a_dataset_that_the_hub_does_not_have_is_a_fault_of_the_data(hub: Hub) -> None:
    hub(DatasetNotFoundError("org/name"))
    with pytest.raises(DataError, match="the Hub has no dataset org/name that you may read"):
        list(read_rows(parse_ref("hub:org/name")))


def test_a_split_that_the_dataset_does_not_have_passes_on_what_the_hub_says(hub: Hub) -> None:
    hub(ValueError("Unknown split \"dev\". Should be one of ['train', 'test']."))
    with pytest.raises(EmptySplitError, match=r"Unknown split .dev.\. Should be one of"):
        list(read_rows(parse_ref("hub:org/name:dev")))
