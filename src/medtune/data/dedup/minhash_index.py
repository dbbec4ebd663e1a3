"""MinHash signatures (Broder 1997; by datasketch) and an LSH index that boilerplate can't clog.

Hash function, seed and scheme are pinned: they are part of what makes a snapshot the same on
every machine.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasketch import MinHash

PERMUTATIONS = 64
CLOSEST = 50
"""Most texts that are like one: boilerplate would make them grow with the number of texts."""
CANDIDATES = 1000
"""Most texts to estimate a similarity for; those that share the rarest bands come first."""


class MinHashIndex:
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
        assert bands * rows <= PERMUTATIONS
        self._rows = rows
        self._bands: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in range(bands)]
        self._values = np.zeros((most, PERMUTATIONS), dtype=np.uint32)
        self._least = least

    def insert(self, number: int, signature: MinHash) -> None:
        """Add a text."""
        for band, key in zip(self._bands, self._keys(signature), strict=True):
            band[key].append(number)
        self._values[number] = signature.hashvalues

    def closest(self, signature: MinHash) -> list[int]:
        """List the numbers of texts that are alike enough, the most similar first."""
        places = np.array(sorted(self._candidates(signature)), dtype=np.int64)
        found = self._similarity(places, signature)
        order = np.argsort(-found, kind="stable")[:CLOSEST]
        return [int(place) for place in places[order[found[order] >= self._least]]]

    def _candidates(self, signature: MinHash) -> set[int]:
        """Collect what shares a band; a band that thousands share says least."""
        keys = zip(self._bands, self._keys(signature), strict=True)
        sharing = sorted((band[key] for band, key in keys if key in band), key=len)
        found: set[int] = set()
        for numbers in sharing:
            room = CANDIDATES - len(found)
            if room <= 0:
                break
            found.update(numbers[-room:])
        return found

    def _keys(self, signature: MinHash) -> list[bytes]:
        values, rows = signature.hashvalues, self._rows
        return [values[n * rows : (n + 1) * rows].tobytes() for n in range(len(self._bands))]

    def _similarity(self, places: NDArray[np.int64], signature: MinHash) -> NDArray[np.float64]:
        own = np.asarray(signature.hashvalues, dtype=np.uint32)
        return np.asarray((self._values[places] == own).mean(axis=1))


def signatures(shingles: Iterable[Sequence[bytes]]) -> Iterator[MinHash]:
    """Sign texts, each given as the set of its shingles."""
    from datasketch import MinHash  # takes a third of a second to import

    yield from MinHash.generator(
        shingles, num_perm=PERMUTATIONS, hashfunc=zlib.crc32, seed=1, scheme="affine32"
    )
