"""MinHash signatures and their LSH index (Broder 1997; datasketch does both).

Hash function, seed and scheme are pinned: they are part of what makes a snapshot the same on
every machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasketch import MinHash

PERMUTATIONS = 64
CLOSEST = 50
"""Most candidates for one text: boilerplate would make them grow with the number of texts."""


class Index:
    """Finds earlier texts that are like a new one.

    Two texts of Jaccard similarity s become candidates with probability 1 - (1 - s^rows)^bands
    (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4).
    """

    def __init__(self, most: int, bands: int, rows: int, least: float) -> None:
        """Make an empty index.

        Args:
            most: How many texts it can hold.
            bands: Parts of a signature; sharing one makes a candidate.
            rows: Values in a band.
            least: Estimated similarity below which a candidate is dropped.
        """
        # datasketch takes a third of a second to import.
        from datasketch import MinHashLSH

        self._lsh = MinHashLSH(num_perm=PERMUTATIONS, params=(bands, rows))
        self._values = np.zeros((most, PERMUTATIONS), dtype=np.uint32)
        self._least = least

    def insert(self, number: int, signature: MinHash) -> None:
        """Add a text."""
        self._lsh.insert(number, signature, check_duplication=False)
        self._values[number] = signature.hashvalues

    def closest(self, signature: MinHash) -> list[int]:
        """List the numbers of texts that are alike enough, the most similar first."""
        places = np.sort(np.array(self._lsh.query(signature), dtype=np.int64))
        found = self._similarity(places, signature)
        order = np.argsort(-found, kind="stable")[:CLOSEST]
        return [int(place) for place in places[order[found[order] >= self._least]]]

    def _similarity(self, places: NDArray[np.int64], signature: MinHash) -> NDArray[np.float64]:
        own = np.asarray(signature.hashvalues, dtype=np.uint32)
        return np.asarray((self._values[places] == own).mean(axis=1))


def signatures(shingles: Iterable[Sequence[bytes]]) -> Iterator[MinHash]:
    """Sign texts, each given as the set of its shingles."""
    from datasketch import MinHash

    yield from MinHash.generator(
        shingles, num_perm=PERMUTATIONS, hashfunc=zlib.crc32, seed=1, scheme="affine32"
    )
