"""Read the rows of a file or folder one at a time, without loading whole files into memory."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from medtune.core.errors import DataError, InputError

RawRow = dict[str, Any]
LocatedRow = tuple[str, RawRow]
"""A row with its position, for messages: "row 17", "line 3", "part/b.csv line 3"."""

SIZE_LIMIT_VARIABLE = "MEDTUNE_DATA_LIMIT"
"""Environment variable with the largest decompressed size of a file, in bytes."""
_MIN_SIZE_LIMIT = 1 << 28
_MAX_COMPRESSION_RATIO = 100
"""Largest allowed compression ratio (texts have about 10); more suggests a zip bomb."""
_DECODED_ROWS = 256
"""Rows that are decoded at a time, so that the size limit is checked before decoding."""
_CHUNK = 1 << 20
_MAX_CELL_LENGTH = 1 << 24
_SNIFFED_ROWS = 50
"""Number of rows from which the delimiter is detected."""
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_MAX_WESTERN_BYTES = 1 << 28
_ONLY_WINDOWS = re.compile("[€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
# Signs that another encoding was read as Windows-1252: runs of accented letters (Cyrillic, Greek,
# Japanese), a capital after a small letter, or a symbol inside a word.
_NOT_WESTERN = re.compile(
    "[^\\x00-\\x7f]{4}|[a-zà-ÿ][ŠŽŒŸÀ-ÖØ-Þ][a-zà-ÿ]|[A-Za-z][¢£¤¥¦¨©ª«¬¯³¶¸¹º¿‚ƒ„†‡ˆ‰‹•›˜]+[a-z]"
)
_SAID = re.compile(r"sep=([,;\t|])\r?\n")
_DECODER = json.JSONDecoder()
_NOT_SPACE = re.compile(r"[^ \t\n\r]")
# Metadata files that `datasets` writes beside Arrow files, and the Hub beside parquet files.
_METADATA_FILES = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}


def find_data_files(path: Path, split: str | None = None) -> list[Path]:
    """Find the data files of a path.

    Args:
        path: A file, or a folder with files of one format.
        split: In a folder, selects the subfolder of that name or the files whose names begin
            with it, if there are any.

    Raises:
        DataError: There is no such path, no data file in it, or more than one format.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(
            f"{path} does not exist",
            expected=f"a file or a folder of {', '.join(FILE_READERS)}",
        )
    root = path / split if split and (path / split).is_dir() else path
    found = _list_data_files(root)
    if split and root == path:
        named = [file for file in found if _has_split_prefix(file.stem, split)]
        found = named or found
    formats = sorted({file.suffix.lower() for file in found})
    if len(formats) != 1:
        raise DataError(
            f"{root} holds " + (f"files of {' and '.join(formats)}" if formats else "no data file"),
            expected=f"files of one format: {', '.join(FILE_READERS)}",
            fix="name one file, or move the others away",
        )
    return found


def has_split(path: Path, split: str) -> bool:
    """Return whether a folder has a subfolder or files named after a split."""
    if (path / split).is_dir():
        return True
    return any(_has_split_prefix(file.stem, split) for file in _list_data_files(path))


def read_file(path: Path) -> Iterator[LocatedRow]:
    """Read the rows of one file; the suffix selects the reader.

    Raises:
        DataError: The file is damaged, in an unknown encoding or format, or not readable.
    """
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise _spreadsheet(path)
    reader = FILE_READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: unknown format {path.suffix or '(no suffix)'}",
            expected=", ".join(FILE_READERS),
        )
    try:
        yield from reader(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def read_text(path: Path) -> str:
    """Read a whole file of plain text, in UTF-8 or plausible Windows-1252.

    Raises:
        DataError: The file is too large, in another encoding, or not readable.
    """
    try:
        _check_decompressed_size(path, path.stat().st_size)
        encoding, _ = _detect_encoding(path)
        return path.read_text(encoding=encoding)
    except OSError as error:
        raise _unreadable(path, error) from error


def describe_file_format(path: Path) -> tuple[str, ...]:
    """Return notes on an unusual format of a file, such as its encoding or delimiter."""
    delimited = FILE_READERS.get(path.suffix.lower()) is _read_delimited and path.is_file()
    return detect_csv_dialect(path).notes if delimited else ()


def _list_data_files(root: Path) -> list[Path]:
    return [
        file
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in FILE_READERS
        and file.suffix.lower() != ".txt"  # in a folder, a .txt file is a note
        and file.is_file()  # Spark gives folders names with a suffix
        and file.name not in _METADATA_FILES
        and not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    ]


def _has_split_prefix(name: str, split: str) -> bool:
    """Return whether a file is of a split: train.csv, train-00000-of-00002.parquet, dev_1.json."""
    rest = name.removeprefix(split)
    return rest != name and not rest[:1].isalnum()


def _read_parquet(path: Path) -> Iterator[LocatedRow]:
    import pyarrow.parquet

    with (
        _translate_arrow_errors(path, "parquet", "file"),
        pyarrow.parquet.ParquetFile(path) as file,
    ):
        groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
        _check_decompressed_size(path, sum(group.total_byte_size for group in groups))
        yield from _decode_rows(path, file.iter_batches(batch_size=_DECODED_ROWS))


def _read_arrow(path: Path) -> Iterator[LocatedRow]:
    """Read Arrow's stream format, which `datasets` writes, or its file format."""
    import pyarrow

    with (
        _translate_arrow_errors(path, "Arrow", "file or stream"),
        pyarrow.memory_map(str(path)) as source,
    ):
        try:
            batches: Any = pyarrow.ipc.open_stream(source)
        except pyarrow.ArrowInvalid:
            source.seek(0)
            file = pyarrow.ipc.open_file(source)
            batches = (file.get_batch(n) for n in range(file.num_record_batches))
        # Batches may be large, so they are decoded in slices.
        yield from _decode_rows(
            path,
            (
                batch.slice(start, _DECODED_ROWS)
                for batch in batches
                for start in range(0, batch.num_rows, _DECODED_ROWS)
            ),
        )


@contextmanager
def _translate_arrow_errors(path: Path, kind: str, form: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except DataError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        # ValueError: a text that is not UTF-8, a date that Python cannot hold.
        raise DataError(
            f"{path} cannot be read as {kind}: {error}",
            expected=f"a whole {kind} {form}",
            fix="it may be truncated: fetch or write it again",
        ) from error


def _decode_rows(path: Path, batches: Iterable[Any]) -> Iterator[LocatedRow]:
    size = number = 0
    for batch in batches:
        # A dictionary-encoded text is stored once, but repeated in the rows.
        size += sum(
            (column.dictionary_decode() if hasattr(column, "dictionary") else column).nbytes
            for column in batch.columns
        )
        _check_decompressed_size(path, size)
        for row in batch.to_pylist():
            yield f"row {number}", row
            number += 1


def _check_decompressed_size(path: Path, size: int) -> None:
    """Refuse a file that holds more bytes than its limit once it is read."""
    own = os.environ.get(SIZE_LIMIT_VARIABLE, "")
    if own and not own.isdecimal():
        raise InputError(f"{SIZE_LIMIT_VARIABLE}={own}", expected="a number of bytes")
    stored = path.stat().st_size
    limit = int(own) if own else max(_MIN_SIZE_LIMIT, _MAX_COMPRESSION_RATIO * stored)
    if size > limit:
        raise DataError(
            f"{path} is {stored:,} bytes and holds more than {limit:,} once it is read",
            expected=(
                f"at most {_MAX_COMPRESSION_RATIO} times the file, or {_MIN_SIZE_LIMIT >> 20} MiB"
            ),
            fix=f"if the file is trusted, allow more bytes with {SIZE_LIMIT_VARIABLE}",
        )


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """Encoding, delimiter and header of a file of delimited values."""

    encoding: str
    delimiter: str
    header: bool
    """Whether the first line names the columns; otherwise they are named 1, 2, 3, ..."""
    said: bool
    """Whether a line before all others says what the delimiter is ("sep=;"), as Excel reads it."""
    notes: tuple[str, ...]
    """Notes for the user on an unusual format."""


def detect_csv_dialect(path: Path) -> CsvDialect:
    """Detect encoding, delimiter and header of a file of delimited values.

    Raises:
        DataError: The encoding cannot be detected.
    """
    with path.open("rb") as start:
        if start.read(4) == b"PK\x03\x04":  # a zip archive, which no text begins with
            raise _spreadsheet(path)
    encoding, notes = _detect_encoding(path)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding=encoding, newline="") as handle:
        sample = handle.read(_CHUNK)
    whole = len(sample) < _CHUNK
    if said := _SAID.match(sample):
        sample = sample[said.end() :]
    delimiter = said[1] if said else _detect_delimiter(sample, usual, whole)
    if delimiter != usual:
        notes.append(f"values are separated by {_DELIMITERS[delimiter]}")
    first = next(_sample_records(sample, delimiter), [])
    header = not _lacks_header(first)
    if not header:
        notes.append(f"no header line: the columns are named 1 to {len(first)}, by position")
    return CsvDialect(encoding, delimiter, header, said is not None, tuple(notes))


def _sample_records(text: str, delimiter: str) -> Iterator[list[str]]:
    """Read the records of a sample up to the first damaged one."""
    csv.field_size_limit(_MAX_CELL_LENGTH)
    with suppress(csv.Error):
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _detect_delimiter(sample: str, usual: str, whole: bool) -> str:
    """Return the usual delimiter, unless only another one gives rows of equal length."""
    counts = {}
    for mark in _DELIMITERS:
        found = [len(row) for row in islice(_sample_records(sample, mark), _SNIFFED_ROWS) if row]
        # The last row of a sample may be cut off.
        counts[mark] = found if whole or len(found) == _SNIFFED_ROWS else found[:-1]
    if counts[usual] and counts[usual][0] > 1 and len(set(counts[usual])) == 1:
        return usual
    alike = [m for m, found in counts.items() if found and found[0] > 1 and len(set(found)) == 1]
    best = max(alike, key=lambda mark: counts[mark][0], default=usual)
    return best if counts[best] and counts[best][0] > counts[usual][0] else usual


def _lacks_header(first: Sequence[str]) -> bool:
    """Return whether the first line is data: column names are not sentences."""
    return len(first) > 2 and any(
        len(words := cell.split()) >= 6 or (len(words) >= 3 and cell.rstrip().endswith("?"))
        for cell in first
    )


def _detect_encoding(path: Path) -> tuple[str, list[str]]:
    """Detect the encoding of a text: UTF-8, or plausible Windows-1252 (including Latin-1).

    Raises:
        DataError: The encoding is neither.
    """
    with suppress(UnicodeDecodeError), path.open(encoding="utf-8", newline="") as handle:
        while handle.read(_CHUNK):
            pass
        return "utf-8-sig", []
    if path.stat().st_size > _MAX_WESTERN_BYTES:
        raise _not_utf8_error(path)
    text = path.read_bytes().decode("cp1252", errors="replace")
    if "\ufffd" in text or "\0" in text or _NOT_WESTERN.search(text):
        raise _not_utf8_error(path)
    name = "Windows-1252" if _ONLY_WINDOWS.search(text) else "Latin-1"
    seen = next(word for word in text.split() if not word.isascii())
    return "cp1252", [f"not UTF-8, read as {name} (such as {seen[:40]!r})"]


def _read_delimited(path: Path) -> Iterator[LocatedRow]:
    form = detect_csv_dialect(path)
    # A cell may hold a long explanation; Python's own limit is 128 KiB.
    csv.field_size_limit(_MAX_CELL_LENGTH)
    begins = 1
    with path.open(encoding=form.encoding, newline="") as handle:
        reader = csv.reader(handle, delimiter=form.delimiter, strict=True)
        names: list[str] | None = None
        try:
            for cells in reader:
                if not cells or (form.said and reader.line_num == 1):
                    continue
                if names is None:
                    names = cells if form.header else [str(n + 1) for n in range(len(cells))]
                    _check_header(path, names)
                    if form.header:
                        begins = reader.line_num + 1
                        continue
                begins = reader.line_num + 1
                if len(cells) > len(names):
                    raise DataError(
                        f"{path} line {reader.line_num}: more values than the header has columns",
                        expected=f"{len(names)} values",
                        fix="quote values that contain the delimiter",
                    )
                # An absent value is missing, not the empty string.
                values = [*cells, *([""] * (len(names) - len(cells)))]
                row = dict(zip(names, (value or None for value in values), strict=True))
                yield f"line {reader.line_num}", row
        except UnicodeDecodeError as error:
            raise _not_utf8_error(path) from error
        except csv.Error as error:
            raise DataError(f"{path} line {begins}: {error}") from error


def _check_header(path: Path, names: Sequence[str]) -> None:
    """Refuse duplicate column names, of which only the last would be read."""
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise DataError(
            f"{path} line 1: {', '.join(twice)} names more than one column",
            expected="unique column names",
        )


def _read_jsonl(path: Path) -> Iterator[LocatedRow]:
    # Split at "\n" only: JSON does not escape U+2028 and similar line separators inside a text.
    with path.open(encoding="utf-8-sig", newline="\n") as handle:
        try:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    # Also raised for too many digits in a number, or too deeply nested lists.
                    raise DataError(f"{path} line {number} is not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise DataError(
                        f"{path} line {number} is no JSON object", expected="one a line"
                    )
                yield f"line {number}", row
        except UnicodeDecodeError as error:
            raise _not_utf8_error(path) from error


def _read_json(path: Path) -> Iterator[LocatedRow]:
    """Read a list of objects one by one, or JSON lines, as in MedMCQA's .json files."""
    if _is_json_lines(path):
        yield from _read_jsonl(path)
        return
    with path.open(encoding="utf-8-sig") as handle:
        try:
            yield from _JsonList(path, handle).iter_objects()
        except UnicodeDecodeError as error:
            raise _not_utf8_error(path) from error


def _is_json_lines(path: Path) -> bool:
    """Return whether each of the first two lines looks like an object."""
    with path.open("rb") as handle:
        if handle.peek(4).removeprefix(codecs.BOM_UTF8)[:1] != b"{":
            return False
        first = handle.readline(_MAX_CELL_LENGTH).rstrip()
        return first[-1:] == b"}" and handle.readline(_MAX_CELL_LENGTH).lstrip()[:1] == b"{"


class _JsonList:
    """Reader of a JSON list of objects, chunk by chunk."""

    def __init__(self, path: Path, handle: IO[str]) -> None:
        self._path = path
        self._handle = handle
        self._text = ""
        self._at = 0

    def iter_objects(self) -> Iterator[LocatedRow]:
        opening = self._next_character()
        if opening != "[":
            raise self._damaged_error("it is empty") if not opening else _no_list_error(self._path)
        number = 0
        while (mark := self._next_character()) != "]":
            if not number:
                self._at -= 1  # there is no comma before the first item
            elif mark != ",":
                raise self._damaged_error(f"expected a comma after item {number - 1}")
            yield f"item {number}", self._read_object(number)
            number += 1
        if self._next_character():
            raise self._damaged_error("there is text after the list")

    def _next_character(self) -> str:
        """Return the next character that is not white space; "" at the end."""
        while (found := _NOT_SPACE.search(self._text, self._at)) is None:
            self._at = len(self._text)
            if not self._read_chunk():
                break
        self._at = (found.start() if found else 0) + 1
        return found[0] if found else ""

    def _read_object(self, number: int) -> RawRow:
        first = self._next_character()
        if first and first in '"[-0123456789tfnNI':
            raise _no_list_error(self._path)
        self._at -= 1
        while True:
            try:
                item, self._at = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Cut off by the end of the chunk, or wrong?
                cut = "Unterminated" in error.msg or error.pos >= len(self._text) - 16
                if cut and self._read_chunk():
                    continue
                raise self._damaged_error(f"item {number}: {error.msg}") from error
            except (ValueError, RecursionError) as error:
                raise self._damaged_error(f"item {number}: {error}") from error
            return item  # type: ignore[no-any-return]

    def _read_chunk(self) -> bool:
        chunk = self._handle.read(_CHUNK)
        self._text = self._text[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _damaged_error(self, what: str) -> DataError:
        return DataError(f"{self._path} is not JSON: {what}", fix="the file may be truncated")


def _no_list_error(path: Path) -> DataError:
    return DataError(
        f"{path} holds no list of objects", expected="[{...}, {...}], or one object a line"
    )


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read: {error.strerror or error}", expected="a file that you may read"
    )


def _spreadsheet(path: Path) -> DataError:
    return DataError(
        f"{path} is a spreadsheet, which is not read",
        expected=", ".join(FILE_READERS),
        fix="save it as CSV UTF-8 in the spreadsheet's own program",
    )


def _not_utf8_error(path: Path) -> DataError:
    """Return an error with the line number; the decoder counts from the start of its buffer."""
    with path.open("rb") as handle:
        for number, line in enumerate(handle, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                wide = number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
                encoding = "UTF-16" if wide else "WINDOWS-1252"
                return DataError(
                    f"{path} is not UTF-8: byte 0x{line[error.start]:02x} in line {number}",
                    expected="UTF-8 text",
                    fix=f"convert it, for instance: iconv -f {encoding} -t UTF-8 {path.name}",
                )
    raise AssertionError(f"{path} changed while it was read")


FILE_READERS: dict[str, Callable[[Path], Iterator[LocatedRow]]] = {
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".txt": _read_delimited,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
}
