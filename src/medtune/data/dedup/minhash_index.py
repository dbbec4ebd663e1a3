"""MinHash signatures (Broder 1997; by datasketch) and an LSH index that limits frequent bands.

Hash function, seed and scheme are fixed, so that a snapshot is the same on every machine.
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

NUM_PERMUTATIONS = 64
MAX_NEIGHBOURS = 50
"""Most similar texts that are returned; with boilerplate they would grow with the data."""
MAX_CANDIDATES = 1000
"""Most candidates per text; those that share the rarest bands come first."""


class MinHashIndex:
    """LSH index of MinHash signatures, which finds earlier texts similar to a new one.

    Two texts of Jaccard similarity s become candidates with probability 1 - (1 - s^rows)^bands
    (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4).
    """

    def __init__(self, capacity: int, bands: int, rows: int, min_similarity: float) -> None:
        """Create an empty index.

        Args:
            capacity: Number of texts.
            bands: Number of bands; a text that shares one is a candidate.
            rows: Values per band.
            min_similarity: Estimated similarity below which a candidate is dropped.
        """
        assert bands * rows <= NUM_PERMUTATIONS
        self._rows = rows
        self._bands: list[dict[bytes, list[int]]] = [defaultdict(list) for _ in range(bands)]
        self._values = np.zeros((capacity, NUM_PERMUTATIONS), dtype=np.uint32)
        self._min_similarity = min_similarity

    def insert(self, number: int, signature: MinHash) -> None:
        """Insert the signature of text `number`."""
        for band, key in zip(self._bands, self._band_keys(signature), strict=True):
            band[key].append(number)
        self._values[number] = signature.hashvalues

    def find_similar(self, signature: MinHash) -> list[int]:
        """Return the numbers of the similar texts, the most similar first."""
        places = np.array(sorted(self._find_candidates(signature)), dtype=np.int64)
        found = self._estimate_similarity(places, signature)
        order = np.argsort(-found, kind="stable")[:MAX_NEIGHBOURS]
        return [int(place) for place in places[order[found[order] >= self._min_similarity]]]

    def _find_candidates(self, signature: MinHash) -> set[int]:
        """Return texts that share a band, starting with the bands that the fewest texts share."""
        keys = zip(self._bands, self._band_keys(signature), strict=True)
        sharing = sorted((band[key] for band, key in keys if key in band), key=len)
        found: set[int] = set()
        for numbers in sharing:
            room = MAX_CANDIDATES - len(found)
            if room <= 0:
                break
            found.update(numbers[-room:])
        return found

    def _band_keys(self, signature: MinHash) -> list[bytes]:
        values, rows = signature.hashvalues, self._rows
        return [values[n * rows : (n + 1) * rows].tobytes() for n in range(len(self._bands))]

    def _estimate_similarity(
        self, places: NDArray[np.int64], signature: MinHash
    ) -> NDArray[np.float64]:
        own = np.asarray(signature.hashvalues, dtype=np.uint32)
        return np.asarray((self._values[places] == own).mean(axis=1))


def compute_signatures(shingles: Iterable[Sequence[bytes]]) -> Iterator[MinHash]:
    """Compute the MinHash signatures of texts, each given as the set of its shingles."""
    from datasketch import MinHash  # takes a third of a second to import

    yield from MinHash.generator(
        shingles, num_perm=NUM_PERMUTATIONS, hashfunc=zlib.crc32, seed=1, scheme="affine32"
    )
