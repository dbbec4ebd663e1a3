"""Open a passage index of any kind by its folder."""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import UnknownModelError
from medtune.retrieval.dense import HybridIndex
from medtune.retrieval.index import FolderIndex, read_index_manifest
from medtune.retrieval.postgres_index import PostgresIndex

StoredIndex = FolderIndex | HybridIndex | PostgresIndex


def open_index(folder: Path) -> StoredIndex:
    """Open an index: in files, in files with vectors, or in PostgreSQL.

    Raises:
        RetrievalError: The folder holds no usable index, or its database cannot be reached.
        ModelError: The encoder of its vectors cannot be loaded.
    """
    manifest = read_index_manifest(folder)
    if manifest.backend == "postgres":
        return PostgresIndex.open(folder)
    if manifest.encoder is None:
        return FolderIndex.open(folder)
    from medtune.models.encoder import SentenceEncoder

    return HybridIndex.open(folder, SentenceEncoder.load(manifest.encoder.source))


def check_encoder_name(name: str) -> None:
    """Check that a name may be that of a sentence encoder.

    Raises:
        UnknownModelError: It may not.
    """
    if not name.startswith(("hub:", "path:")):
        raise UnknownModelError(
            f"{name} names no encoder", expected="hub:ORG/NAME[@REVISION] or path:DIR"
        )
