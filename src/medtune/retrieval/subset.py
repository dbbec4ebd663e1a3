"""Search a share of the passages of an index, to measure what its size is worth."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from medtune.core.records import content_hash
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.schema import IndexManifest, Part, Passage, SearchHit


@dataclass(frozen=True)
class IndexSubset:
    """A share of the passages of an index, as an index of its own.

    The passages are chosen by a hash of their rows: a smaller share lies within a larger one. Words
    keep the weights that they have in the whole index.
    """

    index: PassageIndex
    share: float
    """Above 0, at most 1."""

    @cached_property
    def manifest(self) -> IndexManifest:
        """Return the description of the whole index, with the hash and the size of the share."""
        whole = self.index.manifest
        return whole.model_copy(
            update={
                "hash": content_hash([whole.hash, self.share]),
                "passages": whole.passages - len(self._left_out),
            }
        )

    @cached_property
    def _left_out(self) -> frozenset[int]:
        whole = self.index.manifest
        kept = math.ceil(self.share * whole.passages)

        def lot(row: int) -> bytes:
            return hashlib.sha256(f"{whole.hash} {row}".encode()).digest()

        return frozenset(sorted(range(whole.passages), key=lot)[kept:])

    def search(
        self,
        queries: Sequence[str],
        count: int,
        part: Part = "whole",
        excluded: Collection[int] = (),
    ) -> list[list[SearchHit]]:
        """Return the best passages of each query; see `PassageIndex.search`."""
        return self.index.search(queries, count, part, self._left_out.union(excluded))

    def passage(self, place: int) -> Passage:
        """Return the passage in a row."""
        return self.index.passage(place)
