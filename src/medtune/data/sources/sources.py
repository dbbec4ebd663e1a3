"""Data sources: the starter questions, the Hub, a file or a folder.

`starter[:SPLIT]` · `hub:ORG/NAME[/CONFIG][@REVISION][:SPLIT]` · `file:PATH[:SPLIT]` ·
`snapshot:FOLDER[:SPLIT]`, which `data.load` reads.  The default split depends on the use of the
questions: see `data.load`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from medtune.core.errors import DataError, EmptySplitError, did_you_mean
from medtune.core.experiment import ColumnMapping
from medtune.core.records import Question, content_hash
from medtune.core.run_folder import expand_home, hash_file, translate_disk_errors
from medtune.data.own_questions import OWN_COLUMNS
from medtune.data.sources.files import (
    FILE_READERS,
    LocatedRow,
    find_data_files,
    has_split,
    read_file,
)
from medtune.data.sources.hub_catalogue import KNOWN_DATASETS
from medtune.hub.hub_errors import (
    TOKEN_HINT,
    HubRepository,
    explain_hub_error,
    find_refusal,
)

SOURCE_KINDS = ("starter", "hub", "file", "snapshot")
STARTER_SPLITS = ("train", "recall", "transfer", "general")
STARTER_COLUMNS = ColumnMapping(
    stem="stem",
    options=("options",),
    answer="answer",
    answer_base=0,
    subject="subject",
    topic="topic",
    explanation="explanation",
    group="group",
)


@dataclass(frozen=True, slots=True)
class DataRef:
    """A parsed DATA argument."""

    kind: str
    """starter, hub, file or snapshot."""
    place: str
    """Hub id or path; empty for the starter."""
    split: str | None
    """None if no split was named."""
    revision: str | None = None
    config: str | None = None
    """Configuration of a Hub dataset."""

    def __str__(self) -> str:
        """Return the reference as on the command line."""
        place = f":{self.place}" if self.place else ""
        config = f"/{self.config}" if self.config else ""
        revision = f"@{self.revision}" if self.revision else ""
        split = f":{self.split}" if self.split else ""
        return f"{self.kind}{place}{config}{revision}{split}"

    @property
    def slug(self) -> str:
        """File name for this source: `file:/x/val.parquet:dev` -> `val-dev`."""
        path = Path(self.place)
        stem = path.name.removesuffix(path.suffix) if self.place else self.kind
        parts = [stem, self.config or "", self.split or ""]
        return "-".join(part for part in parts if part).replace("/", "-")


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """Identity of a source: fingerprint, revision and licence."""

    fingerprint: str
    """Hash of the bytes of files, or commit of a Hub dataset."""
    revision: str | None
    """Commit of a Hub dataset."""
    licence: str | None
    """Licence, if medtune knows it."""


def parse_data_ref(text: str) -> DataRef:
    """Parse a DATA argument.

    Raises:
        DataError: The kind of source is unknown, or the starter split does not exist.
    """
    text = expand_home(text)
    kind, _, rest = text.partition(":")
    if kind not in SOURCE_KINDS and _is_file(text):
        kind, rest = "file", text
    if kind == "starter":
        if rest and rest not in STARTER_SPLITS:
            raise DataError(
                f"starter:{rest}: no such split{did_you_mean(rest, STARTER_SPLITS)}",
                expected=" or ".join(STARTER_SPLITS),
            )
        return DataRef("starter", "", rest or None)
    if kind == "hub" and rest:
        place, _, hub_split = rest.partition(":")
        name, _, revision = place.partition("@")
        parts = name.split("/")
        if all(parts) and len(parts) <= 3:
            config = parts[2] if len(parts) == 3 else None
            name = "/".join(parts[:2])
            return DataRef("hub", name, hub_split or None, revision or None, config)
    if kind in ("file", "snapshot") and rest:
        # A path may contain colons; the last part is a split only where no such file exists.
        head, colon, tail = rest.rpartition(":")
        if colon and not Path(rest).exists() and re.fullmatch(r"[\w-]+", tail):
            return DataRef(kind, head, tail)
        return DataRef(kind, rest, None)
    known = [f"{near}:{rest}" if rest else near for near in SOURCE_KINDS]
    known += [f"hub:{name}" for name in KNOWN_DATASETS]
    raise DataError(
        f"{text!r} names no dataset{did_you_mean(text, known)}",
        expected="starter[:split], hub:ORG/NAME[/CONFIG][:split], file:PATH[:split] "
        "or snapshot:FOLDER[:split]",
    )


def _is_file(text: str) -> bool:
    """Return whether a DATA argument is a path without the prefix `file:`."""
    head, _, split = text.rpartition(":")
    named = Path(head if head and not Path(text).exists() else text)
    bare = re.fullmatch(r"[\w-]*", split) is not None or not head
    return bare and (named.is_file() or named.suffix.lower() in FILE_READERS or named.is_dir())


def resolve_columns(ref: DataRef, given: ColumnMapping) -> ColumnMapping:
    """Return the column mapping of a source: the given one, else the catalogue's or default."""
    if ref.kind == "starter":
        return STARTER_COLUMNS
    if ref.kind == "hub" and given == ColumnMapping() and ref.place in KNOWN_DATASETS:
        return KNOWN_DATASETS[ref.place].columns
    if ref.kind == "file" and given == ColumnMapping() and _holds_own_questions(ref):
        return OWN_COLUMNS
    return given


def _holds_own_questions(ref: DataRef) -> bool:
    """Return whether a file has the columns that `to_frame` and `write_questions` give it."""
    first = find_data_files(Path(ref.place), ref.split)[0]
    _, row = next(read_file(first), ("", {}))
    return set(Question.model_fields) <= set(row)


def list_splits(ref: DataRef) -> tuple[str, ...]:
    """Return the splits of the starter questions or of a Hub dataset.

    Raises:
        DataError: The Hub has no such dataset.
        HubError: The Hub cannot be reached.
    """
    if ref.kind == "starter":
        return STARTER_SPLITS
    import datasets

    options = _hub_options(ref)
    if "name" in options:
        options["config_name"] = options.pop("name")
    with _translate_hub_errors(ref):
        return tuple(datasets.get_dataset_split_names(ref.place, **options))


def identify_source(ref: DataRef) -> SourceIdentity:
    """Return the identity of a source.

    Raises:
        DataError: The file is missing, or the Hub has no such dataset.
        HubError: The Hub cannot be reached.
    """
    if ref.kind == "starter":
        return SourceIdentity(hashlib.sha256(_starter_bytes(ref)).hexdigest(), None, "Apache-2.0")
    if ref.kind == "hub":
        import datasets

        with _translate_hub_errors(ref):
            commit = str(datasets.load_dataset_builder(ref.place, **_hub_options(ref)).hash)
        known = KNOWN_DATASETS.get(ref.place)
        return SourceIdentity(
            content_hash([ref.place, commit]), commit, known.licence if known else None
        )
    # The identity depends on the content of the files, not on their paths.
    hashes = [hash_file(path) for path in find_data_files(Path(ref.place), ref.split)]
    return SourceIdentity(content_hash(hashes), None, None)


def read_rows(ref: DataRef, split_column: str | None = None) -> Iterator[LocatedRow]:
    """Read the rows of a source, each with its position for messages ("row 17", "line 3").

    Args:
        ref: The source.
        split_column: Column of a file that names a row's split, "" for none; None ignores splits
            inside files.

    Raises:
        DataError: The file is missing, damaged, not UTF-8, or of an unknown format.
        EmptySplitError: The file or folder has no such split.
        HubError: The Hub cannot be reached.
    """
    if ref.kind == "starter":
        for number, line in enumerate(_starter_bytes(ref).decode().splitlines(), 1):
            yield f"line {number}", json.loads(line)
    elif ref.kind == "hub":
        yield from _read_hub(ref)
    else:
        yield from _read_files(ref, split_column)


def _starter_bytes(ref: DataRef) -> bytes:
    return (files("medtune.data") / "starter" / f"{ref.split}.jsonl").read_bytes()


def _read_files(ref: DataRef, split_column: str | None) -> Iterator[LocatedRow]:
    root = Path(ref.place)
    paths = find_data_files(root, ref.split)
    # For a single file, SPLIT may be just a label; for a folder, it must select files.
    chosen = ref.split is None or root.is_file() or has_split(root, ref.split)
    several = len(paths) > 1
    seen: set[str] = set()
    kept = 0
    for path in paths:
        for place, row in read_file(path):
            if ref.split is not None and split_column and split_column in row:
                value = str(row[split_column])
                seen.add(value)
                if value != ref.split:
                    continue
            elif not chosen and split_column is not None:
                raise EmptySplitError(
                    f"{root} has no split {ref.split!r}",
                    expected="a subfolder of that name, files whose names begin with it, or a "
                    "column that names the split of a row (split under [data.columns])",
                )
            kept += 1
            yield (f"{path.relative_to(root)} {place}" if several else place), row
    if not kept:
        raise EmptySplitError(
            f"{ref.place} has no row"
            + (f" of split {ref.split!r}{did_you_mean(ref.split, seen)}" if ref.split else ""),
            expected=f"one of {', '.join(sorted(seen))}" if seen else "at least one question",
        )


def _read_hub(ref: DataRef) -> Iterator[LocatedRow]:
    # Importing `datasets` takes a second, and only this needs it.
    import datasets

    with _translate_hub_errors(ref):
        table = datasets.load_dataset(ref.place, split=ref.split, **_hub_options(ref))
    for number, row in enumerate(table):
        yield f"row {number}", row


def _hub_options(ref: DataRef) -> dict[str, Any]:
    known = KNOWN_DATASETS.get(ref.place)
    config = ref.config or (known.configs[0] if known and known.configs else None)
    options: dict[str, Any] = {"revision": ref.revision or (known.revision if known else None)}
    if config:
        options["data_dir" if known and known.by_folder else "name"] = config
    return options


@contextmanager
def _translate_hub_errors(ref: DataRef) -> Iterator[None]:
    """Translate the errors of `datasets` and the Hub.

    Raises:
        DataError: There is no such dataset, or it cannot be read.
        EmptySplitError: The dataset has no such split or configuration.
        HubError: The Hub cannot be reached, or refuses.
        FolderError: The local cache cannot be written.
    """
    import httpx2
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import (
        DataFilesNotFoundError,
        DatasetNotFoundError,
        DatasetsError,
    )

    repository = HubRepository("dataset", ref.place, ref.revision, "pass the data as file:PATH")
    # huggingface_hub retries for half a minute; hide its log of that from the user.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        with translate_disk_errors(Path("the cache of datasets")):
            yield
    except DatasetNotFoundError as error:
        if (refusal := find_refusal(repository)) is not None:
            raise explain_hub_error(refusal, repository) from error
        raise DataError(
            f"the Hub has no dataset {ref.place} that you may read",
            fix=f"check the name and the revision; for a private or gated dataset {TOKEN_HINT}",
        ) from error
    except (DataFilesNotFoundError, EmptyDatasetError) as error:
        raise DataError(
            f"{ref}: the dataset has no data file in a format that can be read",
            fix="check the configuration and the revision, or pass the data as file:PATH",
        ) from error
    except DatasetsError as error:
        if isinstance(error.__cause__, httpx2.HTTPError):  # of a file's transfer
            raise explain_hub_error(error.__cause__, repository) from error
        # The message is generic; the cause has the details.
        raise DataError(
            f"{ref}: the dataset cannot be read: {error.__cause__ or error}",
            fix="try another revision, or pass the data as file:PATH",
        ) from error
    except (OSError, httpx2.HTTPError) as error:
        raise explain_hub_error(error, repository) from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise DataError(
            f"{ref}: this dataset needs a loading script, which medtune does not run",
            fix=f"try the Hub's parquet copy: hub:{ref.place}@refs/convert/parquet",
        ) from error
    except ValueError as error:
        raise EmptySplitError(
            f"{ref}: {error}",
            fix="name a split and a configuration that the dataset has: hub:ORG/NAME/CONFIG:SPLIT",
        ) from error
