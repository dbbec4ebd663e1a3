from __future__ import annotations

import csv
import json
import math
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.errors import DataError, InputError
from medtune.data.sources import files as module
from medtune.data.sources.files import (
    FILE_READERS,
    RawRow,
    describe_file_format,
    find_data_files,
    has_split,
    read_file,
)

NESTED: list[RawRow] = [
    {"q": 'Says "naïve",\nβ?', "options": ["a", "b"], "meta": {"topic": "x", "tags": [1, 2]}},
    {"q": "𝒢 \u2028?", "options": ["c"], "meta": {"topic": None, "tags": []}},
]


def write_csv(rows: list[RawRow], path: Path) -> None:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_jsonl(rows: list[RawRow], path: Path) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_json(rows: list[RawRow], path: Path) -> None:
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def write_parquet(rows: list[RawRow], path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def write_stream(rows: list[RawRow], path: Path) -> None:
    table = pyarrow.Table.from_pylist(rows)
    with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def write_arrow_file(rows: list[RawRow], path: Path) -> None:
    table = pyarrow.Table.from_pylist(rows)
    with pyarrow.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


Write = Callable[[list[RawRow], Path], None]
NESTING: dict[str, tuple[str, Write]] = {
    "jsonl": ("a.jsonl", write_jsonl),
    "json": ("a.json", write_json),
    "json lines in a .json": ("a.json", write_jsonl),
    "parquet": ("a.parquet", write_parquet),
    "arrow stream": ("a.arrow", write_stream),
    "arrow file": ("a.arrow", write_arrow_file),
}
FLAT: dict[str, tuple[str, Write]] = {
    **NESTING,
    "csv": ("a.csv", write_csv),
    "tsv": ("a.tsv", write_csv),
}


def rows_of(path: Path) -> list[RawRow]:
    return [row for _, row in read_file(path)]


# Every format


@pytest.mark.parametrize("kind", NESTING)
def test_nested_cells_are_read_as_they_were_written(tmp_path: Path, kind: str) -> None:
    name, write = NESTING[kind]
    write(NESTED, tmp_path / name)
    assert rows_of(tmp_path / name) == NESTED


@given(
    st.lists(
        st.fixed_dictionaries({"q": st.text(min_size=1), "opa": st.text(min_size=1)}), min_size=2
    )
)
@settings(max_examples=30)
def test_no_format_changes_a_text(
    tmp_path_factory: pytest.TempPathFactory, rows: list[RawRow]
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    for name, write in FLAT.values():
        if name.endswith("sv"):
            # A CSV reader ends lines at a lone \r, too, but only outside quotes.
            quoted = [{key: f'"{text}"' for key, text in row.items()} for row in rows]
            write(quoted, folder / name)
            assert rows_of(folder / name) == quoted
        else:
            write(rows, folder / name)
            assert rows_of(folder / name) == rows


def row_number(n: int) -> str:
    return f"row {n}"


@pytest.mark.parametrize("kind", FLAT)
def test_every_format_is_read_row_by_row_and_numbered(tmp_path: Path, kind: str) -> None:
    name, write = FLAT[kind]
    rows: list[RawRow] = [{"q": f"question {n}", "opa": "x"} for n in range(9000)]
    write(rows, tmp_path / name)
    read = list(read_file(tmp_path / name))
    assert [row for _, row in read] == rows
    places: dict[str, Callable[[int], str]] = {
        "csv": (lambda n: f"line {n + 2}"),
        "tsv": (lambda n: f"line {n + 2}"),
        "jsonl": (lambda n: f"line {n + 1}"),
        "json lines in a .json": (lambda n: f"line {n + 1}"),
        "json": (lambda n: f"item {n}"),
    }
    at = places.get(kind, row_number)
    assert [place for place, _ in read] == [at(n) for n in range(9000)]


@pytest.mark.parametrize("kind", FLAT)
def test_a_cell_of_a_million_characters_is_read_whole(tmp_path: Path, kind: str) -> None:
    name, write = FLAT[kind]
    rows: list[RawRow] = [{"q": "é\n" * 500_000, "opa": "x"}, {"q": "y", "opa": "z"}]
    write(rows, tmp_path / name)
    assert rows_of(tmp_path / name) == rows


def test_a_cell_without_end_is_refused_by_the_line_where_its_row_begins(tmp_path: Path) -> None:
    # A quote that nobody closed would else swallow the file.
    with (tmp_path / "a.csv").open("w") as handle:
        handle.write('id,q\n1,fine\n2,"open\n')
        handle.writelines("3,a line of text that is swallowed\n" for _ in range(600_000))
    with pytest.raises(DataError, match=r"a\.csv line 3: field larger than field limit"):
        rows_of(tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, name: str) -> None:
    write = {".json": write_json, ".jsonl": write_jsonl}.get(Path(name).suffix, write_csv)
    rows: list[RawRow] = [{"id": "1", "q": "why"}, {"id": "2", "q": "how"}]
    write(rows, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + whole)
    assert rows_of(tmp_path / name) == rows


def test_json_lines_in_a_json_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"n": 1}\r\n{"n": 2}\r\n')
    assert list(read_file(tmp_path / "a.json")) == [("line 1", {"n": 1}), ("line 2", {"n": 2})]


def test_types_of_other_programs_are_read(tmp_path: Path) -> None:
    row = {"when": datetime(2020, 2, 29), "raw": b"x", "share": 0.5, "empty": None}
    write_parquet([row], tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet") == [row]


def test_a_map_of_arrow_is_read_as_pairs(tmp_path: Path) -> None:
    kind = pyarrow.map_(pyarrow.string(), pyarrow.string())
    table = pyarrow.table({"options": pyarrow.array([[("B", "y"), ("A", "x")]], kind)})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert rows_of(tmp_path / "a.parquet") == [{"options": [("B", "y"), ("A", "x")]}]


def test_a_number_that_is_none_is_read_from_jsonl(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": NaN}\n')
    assert math.isnan(rows_of(tmp_path / "a.jsonl")[0]["n"])


# Damage


def damaged(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        rows_of(path)
    assert str(path) in caught.value.found
    return caught.value


@pytest.mark.parametrize("kind", ["parquet", "arrow file", "arrow stream"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_file_of_columns_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    name, write = FLAT[kind]
    path = tmp_path / name
    write([{"q": f"{n} {n * n}"} for n in range(5000)], path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    error = damaged(path)
    assert "cannot be read as" in error.found
    assert "truncated" in error.fix


@pytest.mark.parametrize("kind", ["parquet", "arrow file", "arrow stream"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, kind: str) -> None:
    name, _ = FLAT[kind]
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n" * 10)
    assert "cannot be read as" in damaged(tmp_path / name).found


@pytest.mark.parametrize("kind", ["parquet", "arrow stream"])
def test_a_column_of_texts_that_are_not_utf8_is_refused(tmp_path: Path, kind: str) -> None:
    name, _ = FLAT[kind]
    raw = pyarrow.array([b"fine", b"na\xefve"])
    texts = pyarrow.Array.from_buffers(pyarrow.string(), 2, raw.buffers())
    table = pyarrow.table({"q": texts})
    if kind == "parquet":
        pyarrow.parquet.write_table(table, tmp_path / name)
    else:
        with pyarrow.ipc.new_stream(str(tmp_path / name), table.schema) as writer:
            writer.write_table(table)
    assert "'utf-8' codec can't decode" in damaged(tmp_path / name).found


def test_jsonl_that_was_cut_off_names_the_line(tmp_path: Path) -> None:
    write_jsonl(NESTED, tmp_path / "a.jsonl")
    whole = (tmp_path / "a.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(whole[:-3])
    assert "a.jsonl line 2 is not JSON" in damaged(tmp_path / "a.jsonl").found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[", "item 0: Expecting value"),
        ('[{"n": 1},', "item 1: Expecting value"),
        ('[{"n": 1},]', "item 1: Expecting value"),
        ('[{"n": 1} {"n": 2}]', "expected a comma after item 0"),
        ('[{"n": 1}, {"n": 2]', "item 1: Expecting ',' delimiter"),
        ('[{"n": 1}, {"n" 2}]', "item 1: Expecting ':' delimiter"),
        ('[{"n": 1}, {"n": "x}]', "item 1: Unterminated string starting at"),
        ('[{"n": 1}] [', "there is text after the list"),
        ('[{"n": 1}', "expected a comma after item 0"),
        (",", None),
        ("null", None),
        ('"text"', None),
        ('{"data": [{"n": 1}]}', None),
        ('{"data": [\n{"n": 1},\n{"n": 2}\n]}', None),
        ("[[1, 2], [3, 4]]", None),
        ('["a", "b"]', None),
        ("[null]", None),
    ],
)
def test_a_damaged_json_list_names_the_item(tmp_path: Path, text: str, found: str | None) -> None:
    (tmp_path / "a.json").write_text(text)
    error = damaged(tmp_path / "a.json")
    if found is None:
        assert error.found == f"{tmp_path / 'a.json'} holds no list of objects"
        assert error.expected == "[{...}, {...}], or one object a line"
    else:
        assert error.found == f"{tmp_path / 'a.json'} is not JSON: {found}"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    ("value", "what"), [("1" * 5000, "Exceeds the limit"), ("[" * 100_000, "recursion")]
)
def test_what_python_cannot_read_is_refused_by_its_place(
    tmp_path: Path, name: str, value: str, what: str
) -> None:
    row = f'{{"n": {value}'
    row += "]" * value.count("[") + "}"
    ends = ("[", "]") if name == "a.json" else ("", "\n")
    (tmp_path / name).write_text(row.join(ends))
    error = damaged(tmp_path / name)
    assert ("item 0" if name == "a.json" else "line 1") in error.found
    assert what in error.found


def test_a_list_of_lists_is_refused_before_it_is_read(tmp_path: Path) -> None:
    # Each chunk would else be read again with the next.
    (tmp_path / "a.json").write_text("[[" + "1," * 20_000_000 + "1]]")
    tracemalloc.start()
    damaged(tmp_path / "a.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, name: str) -> None:
    header = "id,option,option,answer,answer,note".replace(",", "\t" if name == "a.tsv" else ",")
    (tmp_path / name).write_text(header + "\n")
    assert damaged(tmp_path / name).found.endswith(
        " line 1: option, answer names more than one column"
    )


def test_columns_without_a_name_are_no_columns(tmp_path: Path) -> None:
    # What a spreadsheet writes for its empty columns at the right.
    (tmp_path / "a.csv").write_text("id,q,,\n1,why,,\n")
    assert rows_of(tmp_path / "a.csv") == [{"id": "1", "q": "why", "": None}]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_spreadsheets_unicode_text_is_refused_with_its_encoding(
    tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "a.csv").write_bytes(("\ufeff" + "id,q\n1,why\n").encode(encoding))
    error = damaged(tmp_path / "a.csv")
    assert "is not UTF-8: byte 0xf" in error.found
    assert error.found.endswith(" in line 1")
    assert "iconv -f UTF-16 -t UTF-8 a.csv" in error.fix


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_byte_that_is_not_utf8_is_found_far_into_the_file(tmp_path: Path, name: str) -> None:
    lines = [b'{"id": %d, "q": "why"}' % n for n in range(60_000)]
    lines[54_321] = b'{"id": 1, "q": "na\xefve"}'
    if name == "a.json":
        text = b"[" + b",\n".join(lines) + b"]"
    else:
        text = b"\n".join(lines)
    (tmp_path / name).write_bytes(text)
    found = damaged(tmp_path / name).found
    assert found == f"{tmp_path / name} is not UTF-8: byte 0xef in line 54322"


def test_a_folder_with_a_files_name_is_refused_where_a_file_is_meant(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    assert damaged(tmp_path / "a.csv").found.endswith("a.csv cannot be read: Is a directory")


# A JSON list in chunks

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def read_in_chunks(path: Path, size: int) -> list[RawRow]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", size)
        return rows_of(path)


@given(
    st.lists(st.dictionaries(st.text(), VALUES, max_size=3), max_size=4),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([None, 0, 1]),
)
@settings(max_examples=100)
def test_a_list_is_the_same_wherever_its_chunks_end(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[RawRow],
    size: int,
    ascii_only: bool,
    indent: int | None,
) -> None:
    path = tmp_path_factory.mktemp("chunks") / "a.json"
    text = json.dumps(rows, ensure_ascii=ascii_only, indent=indent)
    path.write_text(text, encoding="utf-8", newline="")
    assert read_in_chunks(path, size) == rows


TEXT = '[{"a": "x\\ud83d\\ude00\\"y", "b": -1.25e+10, "c": true}, {"d": [null, {"é": "😀"}]}]'


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1))
def test_a_chunk_may_end_inside_anything(tmp_path: Path, size: int) -> None:
    # In an object, a key, an escape, half a surrogate pair, a number, a word.
    (tmp_path / "a.json").write_text(TEXT, encoding="utf-8")
    assert read_in_chunks(tmp_path / "a.json", size) == [
        {"a": 'x😀"y', "b": -12_500_000_000.0, "c": True},
        {"d": [None, {"é": "😀"}]},
    ]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_no_beginning_of_a_list_is_taken_for_all_of_it(tmp_path: Path, size: int) -> None:
    for end in range(len(TEXT)):
        (tmp_path / "a.json").write_text(TEXT[:end], encoding="utf-8")
        with pytest.raises(DataError, match="is not JSON"):
            read_in_chunks(tmp_path / "a.json", size)


# Memory


def large(n: int) -> RawRow:
    return {"id": str(n), "q": f"question {n} " + "x" * 5000, "opa": "y"}


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_a_text_file_of_50_mb_is_not_held_in_memory(tmp_path: Path, kind: str) -> None:
    name, write = FLAT[kind]
    write([large(n) for n in range(10_000)], tmp_path / name)
    assert (tmp_path / name).stat().st_size > 50_000_000
    tracemalloc.start()
    count = sum(1 for _ in read_file(tmp_path / name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 8_000_000


@pytest.fixture
def pool() -> Iterator[Any]:
    """Count what Arrow takes, which Python's own counter does not see."""
    counting = pyarrow.proxy_memory_pool(pyarrow.system_memory_pool())
    before = pyarrow.default_memory_pool()
    pyarrow.set_memory_pool(counting)
    yield counting
    pyarrow.set_memory_pool(before)


@pytest.mark.parametrize("kind", ["parquet", "arrow stream", "arrow file"])
def test_a_file_of_columns_of_50_mb_is_not_held_in_memory(
    tmp_path: Path, kind: str, pool: Any
) -> None:
    name, _ = FLAT[kind]
    path = tmp_path / name
    rows = 50_000
    # One row group and one batch: the worst case, and what pandas writes.
    table = pyarrow.table({"q": [f"{n:06} " + "x" * 1000 for n in range(rows)]})
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path, compression="none", use_dictionary=False)
        assert pyarrow.parquet.ParquetFile(path).num_row_groups == 1
    else:
        make = pyarrow.ipc.new_stream if kind == "arrow stream" else pyarrow.ipc.new_file
        with make(str(path), table.schema) as writer:
            writer.write_table(table.combine_chunks())
    assert path.stat().st_size > 50_000_000
    del table
    held = pool.bytes_allocated()
    peak = rows_peak = 0
    if kind == "arrow file":  # slow to count, and all three make their rows in one place
        tracemalloc.start()
    for n, (_, row) in enumerate(read_file(path)):
        assert row["q"].startswith(f"{n:06} ")
        if n % 1000 == 0:
            peak = max(peak, pool.bytes_allocated() - held)
    if kind == "arrow file":
        rows_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert n == rows - 1
    assert max(peak, rows_peak) < 16_000_000


# Files of a path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def names_of(folder: Path, split: str | None = None) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_data_files(folder, split)]


def test_a_file_is_its_own_list(tmp_path: Path) -> None:
    touch(tmp_path, "a.xlsx")
    assert find_data_files(tmp_path / "a.xlsx", "dev") == [tmp_path / "a.xlsx"]


def test_the_files_of_a_folder_are_listed_in_order_without_what_is_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "b.csv", "a.CSV", "sub/c.csv", "README.md", "notes.txt", "a.csv.gz")
    touch(tmp_path, ".hidden.csv", ".git/x.csv", "_SUCCESS", "_temporary/x.csv")
    assert names_of(tmp_path) == ["a.CSV", "b.csv", "sub/c.csv"]


def test_what_datasets_writes_beside_its_files_is_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "train/data-00000-of-00001.arrow", "train/state.json", "dataset_dict.json")
    touch(tmp_path, "train/dataset_info.json", "dataset_infos.json")
    assert names_of(tmp_path) == ["train/data-00000-of-00001.arrow"]


def test_a_folder_that_datasets_saved_is_read_by_split(tmp_path: Path) -> None:
    import datasets

    made = {
        name: datasets.Dataset.from_list([{"n": n, "q": ["a", name]}])
        for n, name in enumerate(["train", "test"])
    }
    datasets.DatasetDict(made).save_to_disk(tmp_path)
    (path,) = find_data_files(tmp_path, "test")
    assert rows_of(path) == [{"n": 1, "q": ["a", "test"]}]


def test_a_folder_with_a_files_name_is_entered(tmp_path: Path) -> None:
    # Spark writes its parts into a folder that is named like one file.
    touch(tmp_path, "train.csv/part-00000.csv", "train.csv/_SUCCESS")
    assert names_of(tmp_path) == ["train.csv/part-00000.csv"]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", ["train-00000-of-00002.csv", "train-00001-of-00002.csv"]),
        ("test", ["test/a.csv", "test/deep/b.csv"]),
        ("dev", ["dev.csv"]),
        ("dev2", ["dev2.csv"]),
    ],
)
def test_a_split_is_a_subfolder_or_the_files_of_its_name(
    tmp_path: Path, split: str, expected: list[str]
) -> None:
    touch(tmp_path, "train-00000-of-00002.csv", "train-00001-of-00002.csv", "dev.csv", "dev2.csv")
    touch(tmp_path, "test/a.csv", "test/deep/b.csv", "training.csv")
    assert names_of(tmp_path, split) == expected
    assert has_split(tmp_path, split)


def test_a_split_that_has_no_files_of_its_own_is_looked_for_in_all(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "training.csv")
    assert names_of(tmp_path, "train") == ["a.csv", "training.csv"]
    assert not has_split(tmp_path, "train")


def test_files_of_two_formats_are_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "b.jsonl", "c.jsonl")
    with pytest.raises(DataError) as caught:
        find_data_files(tmp_path)
    assert caught.value.found == f"{tmp_path} holds files of .csv and .jsonl"
    assert caught.value.expected == f"files of one format: {', '.join(FILE_READERS)}"


def test_a_split_of_one_format_may_stand_beside_others(tmp_path: Path) -> None:
    touch(tmp_path, "train.csv", "dev.jsonl", "test/x.json")
    assert names_of(tmp_path, "dev") == ["dev.jsonl"]
    assert names_of(tmp_path, "test") == ["test/x.json"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data file"):
        find_data_files(tmp_path)


# Files as people have them

GERMAN = "Frage;A;B;C;D;Antwort\nWelcher Erreger, häufig;Gruppe A, β;x;y;z;A\nWas, wann;a;b;c;d;B\n"


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_delimiters_are_found_and_said(tmp_path: Path, mark: str, name: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(GERMAN.replace(";", mark), encoding="utf-8")
    rows = rows_of(path)
    assert rows[1] == {"Frage": "Was, wann", "A": "a", "B": "b", "C": "c", "D": "d", "Antwort": "B"}
    assert describe_file_format(path) == (f"values are separated by {name}",)


@pytest.mark.parametrize(
    "text",
    [
        "q,a,b\nx; y; z,1,2\nu; v; w,3,4\n",  # semicolons in cells
        "q,a;b;c,d\n1;2,3;4;5,6\n",
        "q\nwhy; how\n",  # one column
        'q,a\n"x\ty",1\n',
    ],
)
def test_marks_inside_cells_are_no_delimiters(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert describe_file_format(tmp_path / "a.csv") == ()
    assert list(rows_of(tmp_path / "a.csv")[0]) == text.splitlines()[0].split(",")


@pytest.mark.parametrize("name", ["a.txt", "a.tsv"])
def test_a_text_is_read_by_its_delimiter(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("q\ta\nwhy\tx\n")
    assert rows_of(tmp_path / name) == [{"q": "why", "a": "x"}]


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("q,a\nMénière in 37 °C at 5 µg/m³,Sjögren\n", "latin-1", "Latin-1"),
        ("q,a\n“Crohn’s” – 5 €,Guérin\n", "cp1252", "Windows-1252"),
    ],
)
def test_western_encodings_are_read_and_said(
    tmp_path: Path, text: str, encoding: str, name: str
) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    assert list(rows_of(tmp_path / "a.csv")[0].values()) == text.splitlines()[1].split(",")
    (note,) = describe_file_format(tmp_path / "a.csv")
    assert f"not UTF-8, read as {name}" in note


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("вопрос,ответ", "cp1251"),
        ("qué,Guérin Ménière", "cp437"),
        ("q,Guérin Ménière Sjögren", "mac_roman"),
        ("質問,答え", "shift_jis"),
        ("pytanie,żołądek", "cp1250"),
    ],
)
def test_other_encodings_are_refused_not_guessed(tmp_path: Path, text: str, encoding: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match="is not UTF-8"):
        rows_of(tmp_path / "a.csv")


def test_without_a_header_line_columns_are_named_by_position(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Which is it then?,x,y,A\nAnd which is that?,u,v,B\n")
    assert rows_of(tmp_path / "a.csv")[0] == {
        "1": "Which is it then?",
        "2": "x",
        "3": "y",
        "4": "A",
    }
    assert (
        "no header line: the columns are named 1 to 4"
        in describe_file_format(tmp_path / "a.csv")[0]
    )


@pytest.mark.parametrize("header", ["question,opa,opb", "Is it correct,a,b", "0,1,2", "Why?,a,b"])
def test_a_header_line_is_no_question(tmp_path: Path, header: str) -> None:
    (tmp_path / "a.csv").write_text(header + "\nWhich of these is it?,x,y\n")
    assert list(rows_of(tmp_path / "a.csv")[0]) == header.split(",")


@pytest.mark.parametrize("suffix", [".xlsx", ".XLS", ".ods"])
def test_a_spreadsheet_says_how_to_convert_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"PK")
    with pytest.raises(DataError, match="is a spreadsheet") as caught:
        rows_of(path)
    assert "save it as CSV UTF-8" in caught.value.fix


def test_a_spreadsheet_that_is_called_csv_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    with pytest.raises(DataError, match="is a spreadsheet"):
        rows_of(tmp_path / "a.csv")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_excels_first_line_says_the_delimiter(tmp_path: Path, end: str) -> None:
    text = "sep=;\nq;a\nx, y;1\n".replace("\n", end)
    (tmp_path / "a.csv").write_text(text, encoding="utf-8-sig", newline="")
    assert list(read_file(tmp_path / "a.csv")) == [("line 3", {"q": "x, y", "a": "1"})]


# What only fills memory and disk


@pytest.mark.parametrize("kind", ["parquet", "arrow file"])
def test_a_bomb_is_refused_before_it_fills_memory(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 60_000, pyarrow.int32()), pyarrow.array(["x" * 50_000])
    )
    path = tmp_path / ("bomb.parquet" if kind == "parquet" else "bomb.arrow")
    table = pyarrow.table({"question": texts})
    if kind == "parquet":
        plain = pyarrow.schema(
            [("question", pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))]
        )
        pyarrow.parquet.write_table(table.cast(plain), path, compression="zstd", store_schema=False)
    else:
        with pyarrow.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    assert path.stat().st_size < 400_000  # 3 GB of texts
    seen: list[str] = []
    with pytest.raises(DataError, match="once it is read") as caught:
        seen.extend(place for place, _ in read_file(path))
    assert 50_000 * len(seen) <= 1 << 28
    assert "MEDTUNE_DATA_LIMIT" in caught.value.fix
    monkeypatch.setenv("MEDTUNE_DATA_LIMIT", "1000")
    with pytest.raises(DataError, match="holds more than 1,000"):
        next(read_file(path))


def test_the_limit_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet([{"q": "x"}], tmp_path / "a.parquet")
    monkeypatch.setenv("MEDTUNE_DATA_LIMIT", "much")
    with pytest.raises(InputError, match="MEDTUNE_DATA_LIMIT=much"):
        rows_of(tmp_path / "a.parquet")
