"""Read training batches from files, folders of datasets, and Python iterables."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from medtune.batch_audit.token_rows import RowCollector, TokenRows
from medtune.core.errors import DataError, InputError
from medtune.core.run_folder import as_path

_JSONL = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
_FORMATS = (
    f"{', '.join(_JSONL)}, .safetensors, or a folder that datasets' save_to_disk wrote (a prepared "
    "dataset of Axolotl or LLaMA-Factory)"
)
_STATE = "state.json"
_SPLITS = "dataset_dict.json"


def read_batches(batches: str | Path | Iterable[Any]) -> tuple[TokenRows, str]:
    """Read batches of ids and labels; return them and the name of their source.

    Args:
        batches: A file (JSON lines or safetensors), a folder of `datasets`, or an iterable of
            dictionaries with lists or tensors, such as a DataLoader.

    Raises:
        DataError: They cannot be read, or have no ids or labels.
        InputError: It is none of these.
    """
    collector = RowCollector()
    if isinstance(batches, str | Path):
        source = str(batches)
        _read_path(as_path(batches), collector)
    elif isinstance(batches, Mapping):
        source = "1 batch"
        collector.add(batches, "the batch")
    elif isinstance(batches, Iterable):
        source = type(batches).__name__
        for number, batch in enumerate(batches, 1):
            collector.add(batch, f"batch {number}")
    else:
        raise InputError(
            f"{type(batches).__name__} is no iterable of batches",
            expected=f"an iterable of dictionaries, or {_FORMATS}",
        )
    return collector.build(source), source


def _read_path(path: Path, collector: RowCollector) -> None:
    name = path.name.lower()
    if path.is_dir():
        _read_dataset(path, collector)
    elif not path.exists():
        raise DataError(f"{path} does not exist", expected=_FORMATS)
    elif name.endswith(_JSONL):
        for place, batch in _read_json_lines(path):
            collector.add(batch, place)
    elif name.endswith(".safetensors"):
        for place, batch in _read_safetensors(path):
            collector.add(batch, place)
    else:
        raise DataError(f"{path}: unknown format", expected=_FORMATS)


def _read_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        with _open_text(path) as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    yield f"line {number}", json.loads(line)
                except ValueError as error:
                    cut = not line.endswith("\n")
                    raise DataError(
                        f"{path} line {number} is no JSON object"
                        + (": the file is cut off" if cut else f": {error}"),
                        expected="one JSON object in each line",
                        fix="write the file again" if cut else "",
                    ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is cut off or no gzip file: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text: {error}", expected="JSON lines in UTF-8") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _open_text(path: Path) -> IO[str]:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _read_safetensors(path: Path) -> Iterator[tuple[str, Any]]:
    """Read tensors; several batches have a prefix each, such as "0.input_ids"."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        try:
            tensors: Mapping[str, Any] = load_file(path)
        except TypeError:  # numpy has no bfloat16
            from safetensors.torch import load_file as load_tensors

            tensors = load_tensors(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read: {error}", expected="a whole file of safetensors, of integers"
        ) from error
    groups: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        prefix, _, key = name.replace("/", ".").rpartition(".")
        groups.setdefault(prefix, {})[key] = tensor
    order = sorted(groups, key=lambda prefix: (len(prefix), prefix))
    yield from ((f"batch {prefix}".strip(), groups[prefix]) for prefix in order)


def _read_dataset(path: Path, collector: RowCollector) -> None:
    """Read a folder of `datasets`: its train split, or its only part."""
    folder = _find_dataset(path)
    try:
        import datasets

        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:  # pyarrow's, fsspec's and datasets' own
        first = str(error).partition("\n")[0]
        raise DataError(f"{folder} cannot be read: {first}", expected=_FORMATS) from error
    if isinstance(loaded, Mapping):
        if not loaded:
            raise DataError(f"{folder} has no split", expected=_FORMATS)
        loaded = loaded["train"] if "train" in loaded else next(iter(loaded.values()))
    if not len(loaded):
        raise DataError(f"{folder} has no row", expected="examples with input_ids and labels")
    for number, example in enumerate(_iterate_examples(loaded), 1):
        collector.add(example, f"row {number}")


def _iterate_examples(dataset: Any) -> Iterator[dict[str, Any]]:
    """Iterate over examples as arrays, a thousand at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for table in dataset.with_format("arrow").iter(batch_size=1000):
        columns = {}
        for name in table.column_names:
            column = table.column(name).combine_chunks()
            if not hasattr(column, "flatten") or pa.types.is_struct(column.type):
                continue  # no lists: a length, a source
            flat = column.flatten().to_numpy(zero_copy_only=False)
            # Of lists of a fixed size as well, which have neither offsets nor value_lengths.
            lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
            columns[name] = np.split(flat, np.cumsum(lengths)[:-1])
        names = list(columns)
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(names, values, strict=True))
        if not names:
            yield {}


def _find_dataset(path: Path) -> Path:
    """Return the folder of a dataset: the given one, or the only one inside of it."""
    if (path / _STATE).is_file() or (path / _SPLITS).is_file():
        return path
    inner = [p for p in sorted(path.iterdir()) if p.is_dir()]
    found = [p for p in inner if (p / _STATE).is_file() or (p / _SPLITS).is_file()]
    if len(found) != 1:
        raise DataError(
            f"{path} holds {len(found) or 'no'} prepared dataset{'s' if len(found) != 1 else ''}",
            expected=_FORMATS,
            fix="name one of " + ", ".join(map(str, found)) if found else "",
        )
    return found[0]
