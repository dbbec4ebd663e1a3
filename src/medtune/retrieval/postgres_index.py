"""A passage index in PostgreSQL, searched by its full-text search, where one machine is outgrown.

The folder of the index holds its manifest and its scorer; the passages and their words are in the
database, in two tables named after the index's hash.  They are written in one transaction, never
changed, and verified when the index is opened.

PostgreSQL's rank counts a word's repetitions with saturation, but not how rare the word is.  So
every word is stored with one of four labels by the number of passages that contain it, and the
labels weigh about as much as BM25 would.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medtune.core.errors import RetrievalError
from medtune.core.progress import Progress
from medtune.core.provenance import collect_provenance
from medtune.core.run_folder import replace_folder, write_record
from medtune.retrieval.index import (
    MANIFEST_FILE,
    PASSAGE_FIELDS,
    VERSION,
    ScorerFile,
    check_passages,
    check_replaceable,
    hash_index,
    read_index_manifest,
)
from medtune.retrieval.schema import (
    IndexManifest,
    Part,
    Passage,
    PassageSource,
    SearchHit,
)
from medtune.retrieval.words import WordSplitter

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

CONNECT_TIMEOUT_S = 5
CACHED_PASSAGES = 16_384
ROWS_PER_INSERT = 1_000
MOST_POSITIONS = 255
"""PostgreSQL stores no more positions of one word."""
LAST_POSITION = 16_383
LABEL_SHARES = {"A": 0.001, "B": 0.005, "C": 0.03}
"""Largest share of the passages that contain a word of this label; D is any other word."""
LABEL_WEIGHTS = [0.2, 0.45, 0.65, 1.0]
"""Weights of the labels D, C, B and A: BM25's weight of a typical word, relative to a rare one."""
RANK_FLAGS = 1
"""Divide the rank by 1 + log of the passage's length."""
COMMON_SHARE = 0.05
"""A word in a larger share of the passages does not make a passage a candidate."""

_DIGEST = (
    "SELECT count(*), md5(string_agg(md5(p.*::text || v.*::text), '' ORDER BY p.place))"
    " FROM {passages} p JOIN {vectors} v USING (place)"
)


@dataclass(frozen=True)
class PostgresIndex(ScorerFile):
    """A passage index in PostgreSQL; its folder holds the manifest and the scorer."""

    folder: Path
    manifest: IndexManifest
    _engine: Engine
    _place: str
    """Address of the database for messages, without a password."""
    _splitter: WordSplitter
    _common: frozenset[str] = field(repr=False)
    _parts: frozenset[str]

    @classmethod
    def open(cls, folder: Path) -> PostgresIndex:
        """Open an index and verify its tables.

        The password comes from PGPASSWORD or ~/.pgpass.

        Raises:
            RetrievalError: The folder or the database holds no such index, its tables were
                changed, or the database cannot be reached.
        """
        manifest = read_index_manifest(folder)
        if manifest.database is None:
            raise RetrievalError(
                f"{folder} holds an index in files, not in PostgreSQL",
                expected="an index built with --postgres URL",
            )
        engine, place = _connect(manifest.database)
        try:
            with _translated(place), engine.connect() as connection:
                entry = _find_entry(connection, manifest.hash)
                if entry is None or _digest(connection, manifest.hash) != entry["digest"]:
                    what = "holds no" if entry is None else "was changed: it does not match"
                    raise RetrievalError(
                        f"{place} {what} index {manifest.hash[:12]}",
                        expected=f"the tables as they were built for {folder}",
                        fix="build the index again: medtune index build --postgres URL",
                    )
        except RetrievalError:
            engine.dispose()
            raise
        return cls(
            folder,
            manifest,
            engine,
            place,
            WordSplitter(manifest.stemmer),
            frozenset(entry["common"]),
            frozenset(entry["parts"]),
        )

    def search(
        self,
        queries: Sequence[str],
        count: int,
        part: Part = "whole",
        excluded: Collection[int] = (),
    ) -> list[list[SearchHit]]:
        """Return the best passages of each query; see `PassageIndex.search`.

        Raises:
            RetrievalError: The database cannot be reached.
        """
        from sqlalchemy import text

        column = part if part in self._parts else "whole"
        statement = text(
            f"SELECT place, ts_rank(CAST(:weights AS real[]), {column}, CAST(:query AS tsquery),"
            f" {RANK_FLAGS}) * :size AS score FROM {_table('vectors', self.manifest.hash)}"
            f" WHERE {column} @@ CAST(:candidates AS tsquery)"
            " AND place <> ALL(CAST(:excluded AS integer[]))"
            " ORDER BY score DESC, place LIMIT :count"
        )
        found: list[list[SearchHit]] = []
        with self._reading() as connection:
            for query in queries:
                words = list(dict.fromkeys(self._splitter.split(query)))
                if not words:
                    found.append([])
                    continue
                rare = [word for word in words if word not in self._common] or words
                values = {
                    "weights": LABEL_WEIGHTS,
                    "query": _any_of(words),
                    "candidates": _any_of(rare),
                    # The rank is a mean over the query's words: a sum compares with other queries.
                    "size": float(len(words)),
                    "excluded": list(excluded),
                    "count": count,
                }
                rows = connection.execute(statement, values)
                found.append([SearchHit(place=row.place, score=row.score) for row in rows])
        return found

    def passage(self, place: int) -> Passage:
        """Return the passage in a row.

        Raises:
            RetrievalError: The database cannot be reached.
        """
        return self._passage_cached(place)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @cached_property
    def _passage_cached(self) -> Callable[[int], Passage]:
        return lru_cache(CACHED_PASSAGES)(self._read_passage)

    def _read_passage(self, place: int) -> Passage:
        from sqlalchemy import text

        statement = text(
            f"SELECT {', '.join(PASSAGE_FIELDS)} FROM {_table('passages', self.manifest.hash)}"
            " WHERE place = :place"
        )
        with self._reading() as connection:
            row = connection.execute(statement, {"place": place}).mappings().one()
        return Passage(**row)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _translated(self._place), self._engine.connect() as connection:
            yield connection


def build_postgres_index(
    passages: Sequence[Passage],
    sources: Sequence[PassageSource],
    folder: Path,
    stemmer: str,
    url: str,
    progress: Progress,
) -> PostgresIndex:
    """Write an index to a database, or reuse the one there if it has the same content.

    Args:
        passages: Passages of the index.
        sources: Where they are from.
        folder: Folder for the manifest.
        stemmer: Name of a Snowball stemmer, or "none".
        url: Address of the database: postgresql://user@host/database.
        progress: Progress to report to.

    Raises:
        RetrievalError: There is no passage, two have one id, the folder holds something else, or
            the database cannot be used.
        FolderError: The folder cannot be written.
    """
    check_passages(passages)
    check_replaceable(folder)
    engine, place = _connect(url)
    hashed = hash_index(stemmer, passages)
    start = time.perf_counter()
    try:
        with _translated(place), engine.begin() as connection:
            _create_registry(connection)
            entry = _find_entry(connection, hashed)
            if entry is not None and _digest(connection, hashed) == entry["digest"]:
                progress.log_message(f"{place}: index {hashed[:12]} still valid")
            else:
                _write_tables(connection, hashed, passages, WordSplitter(stemmer), progress)
            size = sum(
                connection.exec_driver_sql(
                    "SELECT pg_total_relation_size(%s::regclass)", (_table(name, hashed),)
                ).scalar_one()
                for name in ("passages", "vectors")
            )
    finally:
        engine.dispose()
    manifest = IndexManifest(
        version=VERSION,
        hash=hashed,
        backend="postgres",
        passages=len(passages),
        sources=tuple(sources),
        stemmer=stemmer,
        database=_without_password(url),
        files={},
        size_bytes=size,
        build_s=time.perf_counter() - start,
        provenance=collect_provenance(),
    )
    with replace_folder(folder.resolve()) as staging:
        write_record(staging / MANIFEST_FILE, manifest)
    return PostgresIndex.open(folder)


def _write_tables(
    connection: Connection,
    hashed: str,
    passages: Sequence[Passage],
    splitter: WordSplitter,
    progress: Progress,
) -> None:
    from sqlalchemy import text

    passage_table, vector_table = _table("passages", hashed), _table("vectors", hashed)
    columns = ", ".join(
        f"{name} text[]" if name == "options" else f"{name} text" for name in PASSAGE_FIELDS
    )
    for statement in (
        "DELETE FROM medtune_indexes WHERE hash = %(hash)s",
        f"DROP TABLE IF EXISTS {passage_table}, {vector_table}",
        f"CREATE TABLE {passage_table} (place integer PRIMARY KEY, {columns})",
        f"CREATE TABLE {vector_table}"
        " (place integer PRIMARY KEY, whole tsvector NOT NULL, question tsvector)",
    ):
        connection.exec_driver_sql(statement, {"hash": hashed})
    split = [splitter.split(_storable(passage.full_text)) for passage in passages]
    shares = Counter(word for words in split for word in set(words))
    labels = {word: _label(n / len(passages)) for word, n in shares.items()}
    # Texts without questions have one part: both would be the same.
    has_questions = any(passage.question is not None for passage in passages)
    values = ", ".join(f":{name}" for name in PASSAGE_FIELDS)
    insert_passage = text(f"INSERT INTO {passage_table} VALUES (:place, {values})")
    insert_vector = text(
        f"INSERT INTO {vector_table} VALUES"
        " (:place, CAST(:whole AS tsvector), CAST(:question AS tsvector))"
    )
    with progress.task("index", len(passages)) as task:
        for first in range(0, len(passages), ROWS_PER_INSERT):
            batch = [
                (row, passages[row], split[row])
                for row in range(first, min(first + ROWS_PER_INSERT, len(passages)))
            ]
            connection.execute(
                insert_passage,
                [{"place": row, **_storable_fields(passage)} for row, passage, _ in batch],
            )
            vectors = [
                {
                    "place": row,
                    "whole": _vector(words, labels),
                    "question": _vector(splitter.split(_storable(passage.short_text)), labels)
                    if has_questions
                    else None,
                }
                for row, passage, words in batch
            ]
            connection.execute(insert_vector, vectors)
            task.advance(len(batch))
    parts = ["whole", "question"] if has_questions else ["whole"]
    for part in parts:
        connection.exec_driver_sql(f"CREATE INDEX ON {vector_table} USING gin ({part})")
    connection.exec_driver_sql(f"ANALYZE {vector_table}")
    common = [word for word, n in shares.items() if n > COMMON_SHARE * len(passages)]
    connection.execute(
        text("INSERT INTO medtune_indexes VALUES (:hash, :digest, :common, :parts)"),
        {
            "hash": hashed,
            "digest": _digest(connection, hashed),
            "common": sorted(common),
            "parts": parts,
        },
    )


def _create_registry(connection: Connection) -> None:
    """Create the table of indexes, and hold a lock until the transaction ends."""
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('medtune_indexes'))")
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS medtune_indexes (hash text PRIMARY KEY, digest text NOT NULL,"
        " common text[] NOT NULL, parts text[] NOT NULL)"
    )


def _find_entry(connection: Connection, hashed: str) -> dict[str, Any] | None:
    """Return the row of an index; None if the database has no such index."""
    registry, *tables = connection.exec_driver_sql(
        "SELECT to_regclass('medtune_indexes'), to_regclass(%s), to_regclass(%s)",
        (_table("passages", hashed), _table("vectors", hashed)),
    ).one()
    if registry is None or None in tables:
        return None
    statement = "SELECT digest, common, parts FROM medtune_indexes WHERE hash = %s"
    row = connection.exec_driver_sql(statement, (hashed,)).mappings().one_or_none()
    return dict(row) if row is not None else None


def _digest(connection: Connection, hashed: str) -> str:
    """Return a digest of the rows of both tables."""
    names = {name: _table(name, hashed) for name in ("passages", "vectors")}
    count, digest = connection.exec_driver_sql(_DIGEST.format(**names)).one()
    return f"{count} {digest}"


def _table(kind: str, hashed: str) -> str:
    return f"medtune_{kind}_{hashed[:16]}"


def _label(share: float) -> str:
    return next((label for label, most in LABEL_SHARES.items() if share <= most), "D")


def _vector(words: Sequence[str], labels: dict[str, str]) -> str:
    """Return a tsvector as text: every word with its labelled positions."""
    positions: dict[str, list[int]] = {}
    for position, word in enumerate(words, 1):
        positions.setdefault(word, []).append(min(position, LAST_POSITION))
    return " ".join(
        f"'{word}':" + ",".join(f"{at}{labels.get(word, 'A')}" for at in found[:MOST_POSITIONS])
        for word, found in positions.items()
    )


def _any_of(words: Sequence[str]) -> str:
    """Return a tsquery as text: any of the words, which consist of letters and digits."""
    return " | ".join(f"'{word}'" for word in words)


def _storable(text: str) -> str:
    """Replace every NUL: PostgreSQL's text cannot hold one."""
    return text.replace("\0", "\ufffd")


def _storable_fields(passage: Passage) -> dict[str, Any]:
    fields = passage.model_dump()
    return {
        name: _storable(value) if isinstance(value, str) else value
        for name, value in fields.items()
    } | {"options": [_storable(option) for option in passage.options]}


def _connect(url: str) -> tuple[Engine, str]:
    """Return an engine, and the address of its database for messages.

    Raises:
        RetrievalError: The address cannot be used, or the driver is not installed.
    """
    expected = "postgresql://user@host/database"
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError
    except ImportError as error:
        raise _missing_driver() from error
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        # The address is not repeated: it may contain a password.
        raise RetrievalError("the database's URL cannot be parsed", expected=expected) from error
    if address.get_backend_name() != "postgresql":
        raise RetrievalError(
            f"an index cannot be written to {address.drivername}", expected=expected
        )
    address = address.set(drivername="postgresql+psycopg")
    settings = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "medtune"}
    try:
        engine = create_engine(
            address,
            hide_parameters=True,
            pool_pre_ping=True,  # detects connections that broke with a restart of the server
            connect_args={k: v for k, v in settings.items() if k not in address.query},
        )
    except ImportError as error:
        raise _missing_driver() from error
    return engine, address.set(query={}).render_as_string(hide_password=True)


def _missing_driver() -> RetrievalError:
    return RetrievalError(
        "the driver for PostgreSQL is not installed",
        expected="SQLAlchemy and psycopg 3",
        fix="pip install 'medtune[serve,postgres]', or build the index in a folder",
    )


def _without_password(url: str) -> str:
    from sqlalchemy import make_url

    address = make_url(url)
    return address._replace(password=None).render_as_string()


@contextmanager
def _translated(place: str) -> Iterator[None]:
    """Raise every database error as a RetrievalError about `place`."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        lines = str(getattr(error, "orig", None) or error).strip().splitlines() or [""]
        raise RetrievalError(
            f"{place}: the index cannot be read or written ({lines[0]})",
            expected="a running PostgreSQL server, and a user that may use the index's tables",
            fix="start the server; check the address, the user and PGPASSWORD or ~/.pgpass",
        ) from error
