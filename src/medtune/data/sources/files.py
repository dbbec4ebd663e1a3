"""Rows of a file or a folder, one at a time: no format is read into memory whole."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from medtune.core.errors import DataError, InputError

Row = dict[str, Any]
Located = tuple[str, Row]
"""A row and where it stands, for messages: "row 17", "line 3", "part/b.csv line 3"."""

LIMIT = "MEDTUNE_DATA_LIMIT"
"""Environment variable: most bytes that one compressed file may hold once it is read."""
_LEAST_LIMIT = 1 << 28
_EXPANSION = 100
"""Texts are compressed to a tenth; what grows a hundredfold is made to fill memory and disk."""
_BATCH = 256
"""Rows that are decoded at a time: what is refused has not been decoded first."""
_CHUNK = 1 << 20
_LONGEST_CELL = 1 << 24
_SNIFFED = 50
"""Rows that tell the delimiter."""
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LARGEST_WESTERN = 1 << 28
_ONLY_WINDOWS = re.compile("[€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
# What another encoding looks like when it is read as Windows-1252: runs of letters with marks
# (Cyrillic, Greek, Japanese), a capital after a small letter, or a sign inside a word.
_NOT_WESTERN = re.compile(
    "[^\\x00-\\x7f]{4}|[a-zà-ÿ][ŠŽŒŸÀ-ÖØ-Þ][a-zà-ÿ]|[A-Za-z][¢£¤¥¦¨©ª«¬¯³¶¸¹º¿‚ƒ„†‡ˆ‰‹•›˜]+[a-z]"
)
_SAID = re.compile(r"sep=([,;\t|])\r?\n")
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
# What `datasets` writes beside its Arrow files, and the Hub beside its parquet files.
_DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}


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
    found = _data_files(root)
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


def has_split(path: Path, split: str) -> bool:
    """Tell whether a folder has a subfolder or files of a split's name."""
    if (path / split).is_dir():
        return True
    return any(_begins_with(file.stem, split) for file in _data_files(path))


def read_file(path: Path) -> Iterator[Located]:
    """Read one file by its suffix.

    Raises:
        DataError: It is damaged, in an unknown encoding or format, or may not be read.
    """
    if path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise _spreadsheet(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: unknown format {path.suffix or '(no suffix)'}",
            expected=", ".join(READERS),
        )
    try:
        yield from reader(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}",
            expected="a file that you may read",
        ) from error


def notes_on(path: Path) -> tuple[str, ...]:
    """Say what is unusual about how a file is written."""
    delimited = READERS.get(path.suffix.lower()) is _delimited and path.is_file()
    return form_of(path).notes if delimited else ()


def _data_files(root: Path) -> list[Path]:
    return [
        file
        for file in sorted(root.rglob("*"))
        if file.suffix.lower() in READERS
        and file.suffix.lower() != ".txt"  # beside data, a text is a note
        and file.is_file()  # Spark names folders like files
        and file.name not in _DESCRIPTIONS
        and not any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    ]


def _begins_with(name: str, split: str) -> bool:
    """Tell whether a file is of a split: train.csv, train-00000-of-00002.parquet, dev_1.json."""
    rest = name.removeprefix(split)
    return rest != name and not rest[:1].isalnum()


def _parquet(path: Path) -> Iterator[Located]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
            held = _Held(path)
            held.check(sum(group.total_byte_size for group in groups))
            yield from _numbered(map(held.rows, file.iter_batches(batch_size=_BATCH)))
    except DataError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        # ValueError: a text that is not UTF-8, a date that Python cannot hold.
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
            # Batches may be large; rows are made a few hundred at a time.
            held = _Held(path)
            yield from _numbered(
                held.rows(batch.slice(start, _BATCH))
                for batch in batches
                for start in range(0, batch.num_rows, _BATCH)
            )
    except DataError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as Arrow: {error}",
            expected="a whole Arrow file or stream",
            fix="it may be truncated: fetch or write it again",
        ) from error


class _Held:
    """Counts what a compressed file holds, and refuses what only fills memory and disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        own = os.environ.get(LIMIT, "")
        if own and not own.isdecimal():
            raise InputError(f"{LIMIT}={own}", expected="a number of bytes")
        self._limit = int(own) if own else max(_LEAST_LIMIT, _EXPANSION * path.stat().st_size)
        self._bytes = 0

    def rows(self, batch: Any) -> list[Row]:
        """Make rows of a batch, unless it is too much.

        Raises:
            DataError: It is.
        """
        # A text of a dictionary stands in it once, and in the rows as often as it is named.
        self._bytes += sum(
            (column.dictionary_decode() if hasattr(column, "dictionary") else column).nbytes
            for column in batch.columns
        )
        self.check(self._bytes)
        return batch.to_pylist()  # type: ignore[no-any-return]

    def check(self, size: int) -> None:
        """Refuse more bytes than the limit.

        Raises:
            DataError: There are more.
        """
        if size > self._limit:
            raise DataError(
                f"{self._path} is {self._path.stat().st_size:,} bytes and holds more than "
                f"{self._limit:,} once it is read",
                expected=f"at most {_EXPANSION} times the file, or {_LEAST_LIMIT >> 20} MiB",
                fix=f"if it is what it should be, allow more bytes with {LIMIT}",
            )


def _numbered(batches: Iterator[list[Row]]) -> Iterator[Located]:
    number = 0
    for batch in batches:
        for row in batch:
            yield f"row {number}", row
            number += 1


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """How a file of delimited values is written."""

    encoding: str
    delimiter: str
    header: bool
    """Whether its first line names the columns; else they are named 1, 2, 3, ..."""
    said: bool
    """Whether a line before all others says what the delimiter is ("sep=;"), as Excel reads it."""
    notes: tuple[str, ...]
    """What is unusual about it, for people."""


def form_of(path: Path) -> CsvDialect:
    """Find out how a file of delimited values is written: encoding, delimiter, header.

    Raises:
        DataError: Its encoding cannot be told.
    """
    with path.open("rb") as start:
        if start.read(4) == b"PK\x03\x04":  # a zip archive, which no text begins with
            raise _spreadsheet(path)
    encoding, notes = _encoding(path)
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding=encoding, newline="") as handle:
        sample = handle.read(_CHUNK)
    whole = len(sample) < _CHUNK
    if said := _SAID.match(sample):
        sample = sample[said.end() :]
    delimiter = said[1] if said else _delimiter(sample, usual, whole)
    if delimiter != usual:
        notes.append(f"values are separated by {_DELIMITERS[delimiter]}")
    first = next(_records(sample, delimiter), [])
    header = not _is_data(first)
    if not header:
        notes.append(f"no header line: the columns are named 1 to {len(first)}, by position")
    return CsvDialect(encoding, delimiter, header, said is not None, tuple(notes))


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    """Read the records of a sample; what is damaged ends it."""
    csv.field_size_limit(_LONGEST_CELL)
    with suppress(csv.Error):
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)


def _delimiter(sample: str, usual: str, whole: bool) -> str:
    """Choose the usual delimiter, unless only another one makes columns that are alike."""
    counts = {}
    for mark in _DELIMITERS:
        found = [len(row) for row in islice(_records(sample, mark), _SNIFFED) if row]
        # The last row of a sample may be cut off.
        counts[mark] = found if whole or len(found) == _SNIFFED else found[:-1]
    if counts[usual] and counts[usual][0] > 1 and len(set(counts[usual])) == 1:
        return usual
    alike = [m for m, found in counts.items() if found and found[0] > 1 and len(set(found)) == 1]
    best = max(alike, key=lambda mark: counts[mark][0], default=usual)
    return best if counts[best] and counts[best][0] > counts[usual][0] else usual


def _is_data(first: Sequence[str]) -> bool:
    """Tell whether a file begins with a question: no name of a column is a sentence."""
    return len(first) > 2 and any(
        len(words := cell.split()) >= 6 or (len(words) >= 3 and cell.rstrip().endswith("?"))
        for cell in first
    )


def _encoding(path: Path) -> tuple[str, list[str]]:
    """Find a text's encoding: UTF-8, or what is surely Windows-1252 or its part Latin-1.

    Raises:
        DataError: It is neither.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as handle:
            while chunk := handle.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8-sig", []
    if path.stat().st_size > _LARGEST_WESTERN:
        raise _not_utf8(path)
    text = path.read_bytes().decode("cp1252", errors="replace")
    if "\ufffd" in text or "\0" in text or _NOT_WESTERN.search(text):
        raise _not_utf8(path)
    name = "Windows-1252" if _ONLY_WINDOWS.search(text) else "Latin-1"
    seen = next(word for word in text.split() if not word.isascii())
    return "cp1252", [f"not UTF-8, read as {name} (such as {seen[:40]!r})"]


def _delimited(path: Path) -> Iterator[Located]:
    form = form_of(path)
    # A cell may hold a long explanation; Python's own limit is 128 KiB.
    csv.field_size_limit(_LONGEST_CELL)
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
            raise _not_utf8(path) from error
        except csv.Error as error:
            raise DataError(f"{path} line {begins}: {error}") from error


def _check_header(path: Path, names: Sequence[str]) -> None:
    """Refuse two columns of one name: only the last would be read."""
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise DataError(
            f"{path} line 1: {', '.join(twice)} names more than one column",
            expected="a name of its own for every column",
        )


def _jsonl(path: Path) -> Iterator[Located]:
    # Not text mode's lines: JSON leaves U+2028 and its kin inside a text as they are.
    with path.open(encoding="utf-8-sig", newline="\n") as handle:
        try:
            for number, line in enumerate(handle, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    # Also a number of more digits, or lists in lists, than Python reads.
                    raise DataError(f"{path} line {number} is not JSON: {error}") from error
                if not isinstance(row, dict):
                    raise DataError(
                        f"{path} line {number} is no JSON object", expected="one a line"
                    )
                yield f"line {number}", row
        except UnicodeDecodeError as error:
            raise _not_utf8(path) from error


def _json(path: Path) -> Iterator[Located]:
    """Read a list of objects, object by object; or JSON lines, which MedMCQA's own .json are."""
    if _holds_lines(path):
        yield from _jsonl(path)
        return
    with path.open(encoding="utf-8-sig") as handle:
        try:
            yield from _JsonList(path, handle).items()
        except UnicodeDecodeError as error:
            raise _not_utf8(path) from error


def _holds_lines(path: Path) -> bool:
    """Tell whether the first two lines each look like an object."""
    with path.open("rb") as handle:
        if handle.peek(4).removeprefix(codecs.BOM_UTF8)[:1] != b"{":
            return False
        first = handle.readline(_LONGEST_CELL).rstrip()
        return first[-1:] == b"}" and handle.readline(_LONGEST_CELL).lstrip()[:1] == b"{"


class _JsonList:
    """A list of objects in a text that is read chunk by chunk."""

    def __init__(self, path: Path, handle: IO[str]) -> None:
        self._path = path
        self._handle = handle
        self._text = ""
        self._at = 0

    def items(self) -> Iterator[Located]:
        opening = self._next()
        if opening != "[":
            raise self._damaged("it is empty") if not opening else _no_list(self._path)
        number = 0
        while (mark := self._next()) != "]":
            if not number:
                self._at -= 1  # no comma stands before the first item
            elif mark != ",":
                raise self._damaged(f"expected a comma after item {number - 1}")
            yield f"item {number}", self._object(number)
            number += 1
        if self._next():
            raise self._damaged("there is text after the list")

    def _next(self) -> str:
        """Take the next character that is no white space; "" at the end."""
        self._skip_space()
        while self._at == len(self._text) and self._read():
            self._skip_space()
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _object(self, number: int) -> Row:
        first = self._next()
        if first and first in '"[-0123456789tfnNI':
            raise _no_list(self._path)
        self._at -= 1
        while True:
            try:
                item, self._at = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Cut off by the end of the chunk, or wrong?
                cut = "Unterminated" in error.msg or error.pos >= len(self._text) - 16
                if cut and self._read():
                    continue
                raise self._damaged(f"item {number}: {error.msg}") from error
            except (ValueError, RecursionError) as error:
                raise self._damaged(f"item {number}: {error}") from error
            return item  # type: ignore[no-any-return]

    def _skip_space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _read(self) -> bool:
        chunk = self._handle.read(_CHUNK)
        self._text = self._text[self._at :] + chunk
        self._at = 0
        return bool(chunk)

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self._path} is not JSON: {what}", fix="the file may be truncated")


def _no_list(path: Path) -> DataError:
    return DataError(
        f"{path} holds no list of objects", expected="[{...}, {...}], or one object a line"
    )


def _spreadsheet(path: Path) -> DataError:
    return DataError(
        f"{path} is a spreadsheet, which is not read",
        expected=", ".join(READERS),
        fix="save it as CSV UTF-8 in the spreadsheet's own program",
    )


def _not_utf8(path: Path) -> DataError:
    """Say where: the reader's own error counts from the start of its buffer."""
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


READERS: dict[str, Callable[[Path], Iterator[Located]]] = {
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".csv": _delimited,
    ".tsv": _delimited,
    ".txt": _delimited,
    ".jsonl": _jsonl,
    ".json": _json,
}
