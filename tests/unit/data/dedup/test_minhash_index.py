from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.data.dedup.minhash_index import (
    MAX_CANDIDATES,
    MAX_NEIGHBOURS,
    NUM_PERMUTATIONS,
    MinHashIndex,
    compute_signatures,
)

BANDS, ROWS = 16, 4


def signed(*words: str) -> Any:
    """Sign one text, given as its shingles."""
    (signature,) = compute_signatures([[word.encode() for word in words]])
    return signature


def signature(*values: int) -> Any:
    """Write a signature out, each value PERMUTATIONS / len(values) times."""
    each = NUM_PERMUTATIONS // len(values)
    return SimpleNamespace(hashvalues=np.repeat(np.array(values, dtype=np.uint64), each))


def index(*known: Any, least: float = 0.0, bands: int = BANDS, rows: int = ROWS) -> MinHashIndex:
    made = MinHashIndex(len(known), bands, rows, least)
    for number, one in enumerate(known):
        made.insert(number, one)
    return made


# Signatures


def test_signatures_are_the_same_on_every_machine() -> None:
    assert signed("scurvy", "beriberi").hashvalues[:3].tolist() == [73410363, 884348719, 871013147]
    assert signed("").hashvalues[:3].tolist() == [4114104213, 1768615473, 2289927481]


def test_a_signature_has_as_many_values_as_there_are_permutations() -> None:
    assert signed("a").hashvalues.shape == (NUM_PERMUTATIONS,)
    assert int(signed("a").hashvalues.max()) < 2**32


def test_order_and_repetition_of_shingles_do_not_count() -> None:
    assert (signed("a", "b", "c").hashvalues == signed("c", "a", "b", "a").hashvalues).all()


def test_texts_are_signed_one_by_one() -> None:
    both = list(compute_signatures([[b"a", b"b"], [b"c"]]))
    assert (both[0].hashvalues == signed("a", "b").hashvalues).all()
    assert (both[1].hashvalues == signed("c").hashvalues).all()
    assert list(compute_signatures([])) == []


@given(st.integers(0, 60))
@settings(max_examples=30)
def test_equal_values_estimate_the_jaccard_similarity(shared: int) -> None:
    common = [f"common {n}" for n in range(shared)]
    a, b = ([f"{side} {n}" for n in range(60 - shared)] for side in "ab")
    equal = (signed(*common, *a).hashvalues == signed(*common, *b).hashvalues).mean()
    # 64 draws: the standard error is at most 1/16; five of them.
    assert abs(equal - shared / (120 - shared)) < 5 / 16


# The index


def test_the_most_similar_comes_first() -> None:
    known = (signature(1, 2, 3, 9), signature(1, 2, 3, 4), signature(1, 9, 9, 9))
    assert index(*known).find_similar(signature(1, 2, 3, 4)) == [1, 0, 2]


def test_equally_similar_ones_come_in_their_order() -> None:
    known = (signature(1, 9), signature(8, 2), signature(1, 7), signature(1, 2))
    assert index(*known).find_similar(signature(1, 2)) == [3, 0, 1, 2]


@pytest.mark.parametrize(("least", "expected"), [(0.5, [1, 0]), (0.51, [1]), (1.0, [1])])
def test_the_least_similarity_is_enough(least: float, expected: list[int]) -> None:
    known = (signature(1, 9), signature(1, 2))
    assert index(*known, least=least).find_similar(signature(1, 2)) == expected


def test_a_text_that_shares_no_band_is_no_candidate() -> None:
    # Three values of four in every band: similarity 0.75, and no band of four in common.
    values = np.arange(NUM_PERMUTATIONS, dtype=np.uint64)
    other = values.copy()
    other[::ROWS] += 1000
    known = SimpleNamespace(hashvalues=values)
    asked: Any = SimpleNamespace(hashvalues=other)
    assert index(known).find_similar(asked) == []
    assert index(known, bands=64, rows=1).find_similar(asked) == [0]


def test_one_shared_band_is_enough_and_must_be_the_same_one() -> None:
    values = np.arange(NUM_PERMUTATIONS, dtype=np.uint64)
    known = SimpleNamespace(hashvalues=values)
    last = np.full(NUM_PERMUTATIONS, 999, dtype=np.uint64)
    last[-ROWS:] = values[-ROWS:]
    moved = np.full(NUM_PERMUTATIONS, 999, dtype=np.uint64)
    moved[:ROWS] = values[-ROWS:]
    found = index(known)
    assert found.find_similar(SimpleNamespace(hashvalues=last)) == [0]
    assert found.find_similar(SimpleNamespace(hashvalues=moved)) == []


def test_an_empty_index_knows_nothing() -> None:
    assert index().find_similar(signature(1)) == []


def test_a_text_is_found_after_it_was_inserted_only() -> None:
    found = MinHashIndex(2, BANDS, ROWS, 0.0)
    assert found.find_similar(signature(1)) == []
    found.insert(1, signature(1))
    assert found.find_similar(signature(1)) == [1]


def test_no_more_than_the_closest_are_listed() -> None:
    known = [signature(1, 2 if n % 2 else 9) for n in range(4 * MAX_NEIGHBOURS)]
    assert index(*known).find_similar(signature(1, 2)) == list(range(1, 2 * MAX_NEIGHBOURS, 2))


def test_of_too_many_candidates_the_latest_are_looked_at() -> None:
    known = [signature(1)] * (MAX_CANDIDATES + 7)
    assert index(*known).find_similar(signature(1)) == list(range(7, 7 + MAX_NEIGHBOURS))


def test_boilerplate_does_not_hide_a_twin() -> None:
    # All share 15 bands of 16; the first one shares the last band too.
    boilerplate = [signature(*range(15), 1000 + n) for n in range(2 * MAX_CANDIDATES)]
    found = index(signature(*range(15), 7), *boilerplate)
    assert found.find_similar(signature(*range(15), 7))[0] == 0


def test_boilerplate_does_not_slow_a_look_down() -> None:
    known = [signature(*range(15), 1000 + n) for n in range(20_000)]
    found = index(*known)
    start = time.thread_time()
    for n in range(200):
        assert len(found.find_similar(signature(*range(15), 50_000 + n))) == MAX_NEIGHBOURS
    assert time.thread_time() - start < 2


@given(st.lists(st.lists(st.integers(0, 3), min_size=16, max_size=16), max_size=12))
def test_what_is_found_is_what_a_comparison_with_all_finds(rows: list[list[int]]) -> None:
    *known, asked = [signature(*row) for row in rows] or [signature(0)]
    equal = [(one.hashvalues == asked.hashvalues).mean() for one in known]
    expected = [n for n in range(len(known)) if equal[n] > 0 and equal[n] >= 0.3]
    found = index(*known, least=0.3).find_similar(asked)
    assert sorted(found) == expected
    assert [equal[n] for n in found] == sorted((equal[n] for n in found), reverse=True)
