"""The protocol of a passage index, and the index in a folder.

A folder is written under a temporary name, renamed when it is complete, and never changed: its
manifest has a hash of every file, which is verified when it is opened.  Arrays and passages are
mapped into memory.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow
from numpy.typing import NDArray

from medtune.core.errors import RetrievalError
from medtune.core.progress import Progress, ProgressTask
from medtune.core.provenance import collect_provenance
from medtune.core.records import canonical_json
from medtune.core.run_folder import (
    hash_file,
    read_record,
    replace_folder,
    translate_disk_errors,
    write_record,
)
from medtune.retrieval.bm25 import Bm25
from medtune.retrieval.schema import (
    IndexManifest,
    OptionScorer,
    Part,
    Passage,
    PassageSource,
    SearchHit,
)
from medtune.retrieval.words import WordSplitter

VERSION = 1
"""Version of the format, and of the way words are made; another one cannot be opened."""
MANIFEST_FILE = "manifest.json"
SCORER_FILE = "scorer.json"
PASSAGES_FILE = "passages.arrow"
PARTS: tuple[Part, ...] = ("whole", "question")
PASSAGE_FIELDS = tuple(Passage.model_fields)
_TEXT = pyarrow.large_string()
_SCHEMA = pyarrow.schema(
    [(name, pyarrow.list_(_TEXT) if name == "options" else _TEXT) for name in PASSAGE_FIELDS]
)


class PassageIndex(Protocol):
    """An index of passages, searched by words."""

    @property
    def manifest(self) -> IndexManifest:
        """Return the description of the index."""
        ...

    def search(
        self,
        queries: Sequence[str],
        count: int,
        part: Part = "whole",
        excluded: Collection[int] = (),
    ) -> list[list[SearchHit]]:
        """Return the best passages of each query, the best first, without those that share no word.

        Args:
            queries: Texts to search for.
            count: Most hits for each query.
            part: Part of the passages to search.
            excluded: Rows of passages to leave out.
        """
        ...

    def passage(self, place: int) -> Passage:
        """Return the passage in a row."""
        ...


class ScorerFile:
    """The scorer in the folder of an index; base of the indexes that have a folder."""

    folder: Path
    manifest: IndexManifest

    def read_scorer(self) -> OptionScorer | None:
        """Read the fitted scorer; None if none was fitted.

        Raises:
            RetrievalError: It cannot be read, names an unknown feature, or is of another index.
        """
        path = self.folder / SCORER_FILE
        scorer = read_record(path, OptionScorer)
        if (scorer is None and path.exists()) or (scorer and scorer.index != self.manifest.hash):
            raise RetrievalError(
                f"{path} is " + ("no scorer" if scorer is None else "the scorer of another index"),
                expected="the scorer that was fitted to this index, with features that exist",
                fix="remove it, and build the index again: medtune index build DATA --out DIR",
            )
        return scorer

    def write_scorer(self, scorer: OptionScorer) -> OptionScorer:
        """Write a fitted scorer, marked as this index's; return it with the mark.

        Raises:
            FolderError: The folder cannot be written.
        """
        own = scorer.model_copy(update={"index": self.manifest.hash})
        write_record(self.folder / SCORER_FILE, own)
        return own

    def remove_scorer(self) -> None:
        """Remove the scorer, if there is one.

        Raises:
            FolderError: The folder cannot be written.
        """
        with translate_disk_errors(self.folder):
            (self.folder / SCORER_FILE).unlink(missing_ok=True)


@dataclass(frozen=True)
class FolderIndex(ScorerFile):
    """A passage index in a folder, searched by BM25."""

    folder: Path
    manifest: IndexManifest
    _table: pyarrow.Table
    _splitter: WordSplitter
    _parts: dict[Part, Bm25]

    @classmethod
    def open(cls, folder: Path) -> FolderIndex:
        """Open an index and verify its files.

        Raises:
            RetrievalError: The folder holds no index of this version, or a file was changed.
        """
        manifest = read_index_manifest(folder)
        for name, expected in {PASSAGES_FILE: "no hash", **manifest.files}.items():
            path = folder / name
            found = hash_file(path) if path.is_file() else None
            if found != expected:
                raise RetrievalError(
                    f"{path} " + ("was changed" if found else "is missing"),
                    expected=f"the file with sha256 {expected[:12]}, as it was built",
                    fix="build the index again: medtune index build DATA --out DIR",
                )
        table = pyarrow.ipc.open_file(pyarrow.memory_map(str(folder / PASSAGES_FILE))).read_all()
        parts = {part: Bm25.open(folder / part) for part in PARTS if (folder / part).is_dir()}
        return cls(folder, manifest, table, WordSplitter(manifest.stemmer), parts)

    def search(
        self,
        queries: Sequence[str],
        count: int,
        part: Part = "whole",
        excluded: Collection[int] = (),
    ) -> list[list[SearchHit]]:
        """Return the best passages of each query; see `PassageIndex.search`."""
        scores = self._parts.get(part, self._parts["whole"]).scores
        left_out = np.fromiter(excluded, dtype=np.int64, count=len(excluded))
        found = []
        for query in queries:
            values = scores(self._splitter.split(query))
            values[left_out] = 0.0
            found.append(best_hits(values, count, above=0.0))
        return found

    def passage(self, place: int) -> Passage:
        """Return the passage in a row."""
        cells = {name: self._table.column(name)[place].as_py() for name in PASSAGE_FIELDS}
        return Passage(**cells)


def best_hits(scores: NDArray[np.float32], count: int, above: float) -> list[SearchHit]:
    """Return the passages of the highest scores, the best first.

    Args:
        scores: Of every passage.
        count: Most hits.
        above: Score that a hit exceeds.
    """
    best = np.argpartition(-scores, min(2 * count, len(scores)) - 1)[: 2 * count]
    # Equal scores go to the earlier row, on every machine.
    best = best[np.lexsort((best, -scores[best]))][:count]
    return [
        SearchHit(place=int(row), score=float(scores[row])) for row in best if scores[row] > above
    ]


def read_index_manifest(folder: Path) -> IndexManifest:
    """Read the manifest of an index.

    Raises:
        RetrievalError: The folder holds no index of this version.
    """
    try:
        manifest = read_record(folder / MANIFEST_FILE, IndexManifest)
    except OSError as error:
        raise RetrievalError(
            f"{folder / MANIFEST_FILE} cannot be read: {error.strerror or error}",
            expected="a folder that you may read",
        ) from error
    if manifest is None or manifest.version != VERSION:
        version = f" of version {VERSION}" if manifest or (folder / MANIFEST_FILE).exists() else ""
        raise RetrievalError(
            f"{folder} holds no passage index{version}",
            expected=f"{MANIFEST_FILE}, as `medtune index build` writes it",
            fix="medtune index build DATA --out DIR",
        )
    return manifest


def hash_index(stemmer: str, passages: Iterable[Passage]) -> str:
    """Hash what determines the results of an index; 64 hex digits."""
    digest = hashlib.sha256(canonical_json([VERSION, stemmer]).encode())
    for passage in passages:
        digest.update(f"\n{canonical_json(passage.model_dump(mode='json'))}".encode())
    return digest.hexdigest()


def build_index(
    passages: Sequence[Passage],
    sources: Sequence[PassageSource],
    folder: Path,
    stemmer: str,
    progress: Progress,
) -> FolderIndex:
    """Build an index and write it to a folder, or reuse the one there if it has the same content.

    Raises:
        RetrievalError: There is no passage, two have one id, none has a word, or the folder holds
            something else.
        FolderError: The folder cannot be written.
    """
    splitter = WordSplitter(stemmer)
    check_passages(passages)
    hashed = hash_index(stemmer, passages)
    before = read_record(folder / MANIFEST_FILE, IndexManifest)
    if before is not None and before.hash == hashed:
        progress.log_message(f"{folder}: index {hashed[:12]} still valid")
        return FolderIndex.open(folder)
    check_replaceable(folder)
    start = time.perf_counter()
    # Texts without questions have one part: both would be the same.
    parts = PARTS if any(p.question is not None for p in passages) else PARTS[:1]
    # A link to a folder stays a link.
    with replace_folder(folder.resolve()) as staging:
        with progress.task("index", len(parts) * len(passages)) as task:
            for part in parts:
                texts = (p.full_text if part == "whole" else p.short_text for p in passages)
                Bm25.build(_split_all(texts, splitter, task)).save(staging / part)
        _write_passages(passages, staging / PASSAGES_FILE)
        files = sorted(path for path in staging.rglob("*") if path.is_file())
        write_record(
            staging / MANIFEST_FILE,
            IndexManifest(
                version=VERSION,
                hash=hashed,
                backend="bm25",
                passages=len(passages),
                sources=tuple(sources),
                stemmer=stemmer,
                files={path.relative_to(staging).as_posix(): hash_file(path) for path in files},
                size_bytes=sum(path.stat().st_size for path in files),
                build_s=time.perf_counter() - start,
                provenance=collect_provenance(),
            ),
        )
    return FolderIndex.open(folder)


def check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder that holds anything but an index.

    Raises:
        RetrievalError: It holds other files, or is a file.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    known: set[str] = set()
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        if manifest["kind"] == "index":
            known = {
                MANIFEST_FILE,
                SCORER_FILE,
                *(name.split("/")[0] for name in manifest["files"]),
            }
    others = sorted({path.name for path in folder.iterdir()} - known) if folder.is_dir() else []
    if others or not known:
        raise RetrievalError(
            f"{folder} holds something that is no index" + (f": {others[0]}" if others else ""),
            expected="a new folder, or one that holds an index and nothing else",
            fix="choose another folder with --out",
        )


def _split_all(
    texts: Iterable[str], splitter: WordSplitter, task: ProgressTask
) -> Iterator[list[str]]:
    for text in texts:
        yield splitter.split(text)
        task.advance()


def check_passages(passages: Sequence[Passage]) -> None:
    """Check that there are passages, and that their ids are distinct.

    Raises:
        RetrievalError: There is no passage, or two have one id.
    """
    if not passages:
        raise RetrievalError("there is no passage to index", expected="at least one text")
    seen: set[str] = set()
    for passage in passages:
        if passage.id in seen:
            raise RetrievalError(
                f"two passages have the id {passage.id}",
                expected="distinct ids",
                fix="rename one, or index one of the two sources alone",
            )
        seen.add(passage.id)


def _write_passages(passages: Sequence[Passage], path: Path) -> None:
    columns = {name: [getattr(p, name) for p in passages] for name in PASSAGE_FIELDS}
    table = pyarrow.table(columns, schema=_SCHEMA)
    with translate_disk_errors(path), pyarrow.ipc.new_file(str(path), _SCHEMA) as writer:
        writer.write_table(table)
