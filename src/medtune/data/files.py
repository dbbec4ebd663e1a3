"""Rows of a file or a folder, one at a time: no format is read into memory whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from medtune.core.errors import DataError

Row = dict[str, Any]
Located = tuple[str, Row]
"""A row and where it stands, for messages: "row 17", "line 3", "b.csv line 3"."""

_CHUNK = 1 << 20
_LONGEST_CELL = 1 << 24
_DECODER = json.JSONDecoder()
# What `datasets` writes beside its Arrow files.
_DESCRIPTIONS = {"dataset_info.json", "dataset_dict.json", "state.json"}


def files_of(path: Path, split: str | None = None) -> list[Path]:
    """List the data files that a path names.

    Args:
        path: A file, or a folder with files of one format.
        split: Inside a folder, a subfolder of that name or the files whose names begin with it
            are meant, where there are any.

    Raises:
        DataError: There is no such path, no data file in it, or more than one format.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"{path} does not exist",
            expected=f"a file or a folder of {', '.join(READERS)}",
        )
    root = path / split if split and (path / split).is_dir() else path
    found = [
        file
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in READERS
        and file.name not in _DESCRIPTIONS
        and not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    ]
    if split and root == path:
        named = [file for file in found if _begins_with(file.stem, split)]
        found = named or found
    formats = sorted({file.suffix.lower() for file in found})
    if len(formats) != 1:
        raise DataError(
            f"{root} holds " + (f"files of {' and '.join(formats)}" if formats else "no data file"),
            expected=f"files of one format: {', '.join(READERS)}",
            fix="name one file, or move the others away",
        )
    return found


def read_file(path: Path) -> Iterator[Located]:
    """Read one file by its suffix.

    Raises:
        DataError: It is damaged, not UTF-8, or of an unknown format.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: unknown format {path.suffix or '(no suffix)'}",
            expected=", ".join(READERS),
        )
    return reader(path)


def _begins_with(name: str, split: str) -> bool:
    """Tell whether a file is of a split: train.csv, train-00000-of-00002.parquet, dev_1.json."""
    rest = name.removeprefix(split)
    return rest != name and not rest[:1].isalnum()


def _parquet(path: Path) -> Iterator[Located]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield from _numbered(batch.to_pylist() for batch in file.iter_batches(batch_size=4096))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as parquet: {error}",
            expected="a whole parquet file",
            fix="it may be truncated: fetch or write it again",
        ) from error


def _arrow(path: Path) -> Iterator[Located]:
    """Read Arrow's stream format, which `datasets` writes, or its file format."""
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as source:
            try:
                batches: Any = pyarrow.ipc.open_stream(source)
            except pyarrow.ArrowInvalid:
                source.seek(0)
                file = pyarrow.ipc.open_file(source)
                batches = (file.get_batch(n) for n in range(file.num_record_batches))
            # Batches may be large; rows are made a few thousand at a time.
            yield from _numbered(
                batch.slice(start, 4096).to_pylist()
                for batch in batches
                for start in range(0, batch.num_rows, 4096)
            )
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as Arrow: {error}",
            expected="a whole Arrow file or stream",
            fix="it may be truncated: fetch or write it again",
        ) from error


def _numbered(batches: Iterator[list[Row]]) -> Iterator[Located]:
    number = 0
    for batch in batches:
        for row in batch:
            yield f"row {number}", row
            number += 1


def _delimited(path: Path) -> Iterator[Located]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    # A cell may hold a long explanation; Python's own limit is 128 KiB.
    csv.field_size_limit(_LONGEST_CELL)
    begins = 1
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                begins = reader.line_num + 1
                if None in row:
                    raise DataError(
                        f"{path} line {reader.line_num}: more values than the header has columns",
                        expected=f"{len(reader.fieldnames or ())} values",
                        fix="quote values that contain the delimiter",
                    )
                # An absent value is missing, not the empty string.
                yield f"line {reader.line_num}", {k: v if v != "" else None for k, v in row.items()}
        except UnicodeDecodeError as error:
            raise _not_utf8(path) from error
        except csv.Error as error:
            raise DataError(f"{path} line {begins}: {error}") from error


def _jsonl(path: Path) -> Iterator[Located]:
    # Not text mode's lines: JSON leaves U+2028 and its kin inside a text as they are.
    with path.open(encoding="utf-8-sig", newline="\n") as handle:
        try:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise DataError(f"{path} line {number} is not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise DataError(
                        f"{path} line {number} is no JSON object", expected="one a line"
                    )
                yield f"line {number}", row
        except UnicodeDecodeError as error:
            raise _not_utf8(path) from error


def _json(path: Path) -> Iterator[Located]:
    """Read a list of objects, object by object."""
    with path.open(encoding="utf-8-sig") as handle:
        try:
            yield from _JsonList(path, handle).items()
        except UnicodeDecodeError as error:
            raise _not_utf8(path) from error


class _JsonList:
    """A list of objects in a text that is read chunk by chunk."""

    def __init__(self, path: Path, handle: IO[str]) -> None:
        self._path = path
        self._handle = handle
        self._text = ""

    def items(self) -> Iterator[Located]:
        opening = self._next()
        if opening != "[":
            raise self._damaged("it is empty") if not opening else _no_list(self._path)
        number = 0
        while (mark := self._next()) != "]":
            if not number:
                self._text = mark + self._text  # no comma stands before the first item
            elif mark != ",":
                raise self._damaged(f"expected a comma after item {number - 1}")
            yield f"item {number}", self._object(number)
            number += 1
        if self._next():
            raise self._damaged("there is text after the list")

    def _next(self) -> str:
        """Take the next character that is no white space; "" at the end."""
        self._text = self._text.lstrip()
        while not self._text and self._read():
            self._text = self._text.lstrip()
        first, self._text = self._text[:1], self._text[1:]
        return first

    def _object(self, number: int) -> Row:
        while True:
            self._text = self._text.lstrip()
            try:
                item, end = _DECODER.raw_decode(self._text)
            except json.JSONDecodeError as error:
                # Cut off by the end of the chunk, or wrong?
                cut = "Unterminated" in error.msg or error.pos >= len(self._text) - 16
                if cut and self._read():
                    continue
                raise self._damaged(f"item {number}: {error.msg}") from error
            if not isinstance(item, dict):
                raise _no_list(self._path)
            self._text = self._text[end:]
            return item

    def _read(self) -> bool:
        chunk = self._handle.read(_CHUNK)
        self._text += chunk
        return bool(chunk)

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self._path} is not JSON: {what}", fix="the file may be truncated")


def _no_list(path: Path) -> DataError:
    return DataError(f"{path} holds no list of objects", expected="[{...}, {...}]")


def _not_utf8(path: Path) -> DataError:
    """Say where: the reader's own error counts from the start of its buffer."""
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return DataError(
                    f"{path} is not UTF-8: byte 0x{line[error.start]:02x} in line {number}",
                    expected="UTF-8 text",
                    fix=f"convert it, for instance: iconv -f WINDOWS-1252 -t UTF-8 {path.name}",
                )
    raise AssertionError(f"{path} changed while it was read")


READERS: dict[str, Callable[[Path], Iterator[Located]]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".csv": _delimited,
    ".tsv": _delimited,
    ".jsonl": _jsonl,
    ".json": _json,
}
