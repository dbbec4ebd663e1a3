"""Where rows come from: the starter questions, the Hub, or a file.

`starter[:SPLIT]` · `hub:ORG/NAME[@REVISION][:SPLIT]` · `file:PATH[:SPLIT]`
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from medtune.core.errors import DataError, EmptySplitError, HubError

STARTER_SPLITS = ("train", "recall", "transfer")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DataRef:
    """A parsed DATA argument."""

    kind: str
    """starter, hub or file."""
    place: str
    """Hub id or path; empty for the starter."""
    split: str | None
    revision: str | None = None

    def __str__(self) -> str:
        """Write it as on the command line."""
        place = f":{self.place}" if self.place else ""
        revision = f"@{self.revision}" if self.revision else ""
        split = f":{self.split}" if self.split else ""
        return f"{self.kind}{place}{revision}{split}"


def parse_ref(text: str) -> DataRef:
    """Read a DATA argument.

    Raises:
        DataError: It names no known kind of source, or a starter split that does not exist.
    """
    kind, _, rest = text.partition(":")
    if kind == "starter":
        split = rest or "train"
        if split not in STARTER_SPLITS:
            raise DataError(f"starter:{split}: no such split", expected=" or ".join(STARTER_SPLITS))
        return DataRef("starter", "", split)
    if kind == "hub" and rest:
        place, _, hub_split = rest.partition(":")
        name, _, revision = place.partition("@")
        if name:
            return DataRef("hub", name, hub_split or "train", revision or None)
    if kind == "file" and rest:
        # A path may contain colons; the last part is a split only where no such file exists.
        head, colon, tail = rest.rpartition(":")
        if colon and not Path(rest).exists() and tail.replace("_", "").isalnum():
            return DataRef("file", head, tail)
        return DataRef("file", rest, None)
    raise DataError(
        f"{text!r} names no dataset",
        expected="starter[:split], hub:ORG/NAME[:split] or file:PATH[:split]",
    )


def read_rows(ref: DataRef, split_column: str = "") -> Iterator[tuple[str, Row]]:
    """Read the rows of a source, each with its place for messages ("row 17", "line 3").

    Raises:
        DataError: The file is missing, damaged, not UTF-8, or of an unknown format.
        EmptySplitError: The file has no such split.
        HubError: The Hub cannot be reached.
    """
    if ref.kind == "starter":
        yield from _starter(ref.split or "train")
    elif ref.kind == "hub":
        yield from _hub(ref)
    else:
        yield from _file(ref, split_column)


def _starter(split: str) -> Iterator[tuple[str, Row]]:
    text = (files("medtune.data") / "starter" / f"{split}.jsonl").read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        yield f"line {number}", json.loads(line)


def _hub(ref: DataRef) -> Iterator[tuple[str, Row]]:
    # `datasets` takes a second to import and is needed for nothing else.
    import datasets
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import HfHubHTTPError

    # It retries an unreachable Hub for half a minute; its log of that is not the user's.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        table = datasets.load_dataset(ref.place, split=ref.split, revision=ref.revision)
    except DatasetNotFoundError as error:
        raise DataError(
            f"the Hub has no dataset {ref.place} that you may read",
            fix="check the name and the revision; a gated dataset needs `hf auth login`",
        ) from error
    except ValueError as error:
        raise EmptySplitError(f"{ref}: {error}", fix="name a split that the dataset has") from error
    except (ConnectionError, OSError, HfHubHTTPError) as error:
        raise HubError(
            f"{ref}: the Hub cannot be reached and the dataset is not in the local cache",
            fix="go online once, or hand the data over as file:PATH",
        ) from error
    for number, row in enumerate(table):
        yield f"row {number}", row


def _file(ref: DataRef, split_column: str) -> Iterator[tuple[str, Row]]:
    path = Path(ref.place)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}", expected="a .parquet, .csv, .tsv, .jsonl or .json file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: unknown format {path.suffix or '(no suffix)'}",
            expected=", ".join(_READERS),
        )
    seen: set[str] = set()
    kept = 0
    for place, row in reader(path):
        # Without a split column, SPLIT is only a name for the whole file.
        if ref.split is not None and split_column and split_column in row:
            value = str(row[split_column])
            seen.add(value)
            if value != ref.split:
                continue
        kept += 1
        yield place, row
    if not kept:
        raise EmptySplitError(
            f"{path} has no row" + (f" of split {ref.split!r}" if ref.split else ""),
            expected=f"one of {', '.join(sorted(seen))}" if seen else "at least one question",
        )


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                yield f"row {number}", row
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as parquet: {error}",
            expected="a whole parquet file",
            fix="it may be truncated: fetch or write it again",
        ) from error


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path} is not UTF-8: byte 0x{data[error.start]:02x} in line {line}",
            expected="UTF-8 text",
            fix=f"convert it, for instance: iconv -f WINDOWS-1252 -t UTF-8 {path.name}",
        ) from error


def _delimited(path: Path) -> Iterator[tuple[str, Row]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    begins = 1
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
    except csv.Error as error:
        raise DataError(f"{path} line {begins}: {error}") from error


def _jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number} is no JSON object", expected="one per line")
        yield f"line {number}", row


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        rows = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} holds no list of objects", expected="[{...}, {...}]")
    for number, row in enumerate(rows):
        yield f"item {number}", row


_READERS: dict[str, Callable[[Path], Iterator[tuple[str, Row]]]] = {
    ".parquet": _parquet,
    ".csv": _delimited,
    ".tsv": _delimited,
    ".jsonl": _jsonl,
    ".json": _json,
}
