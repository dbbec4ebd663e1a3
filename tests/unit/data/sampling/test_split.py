from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.errors import DataError
from medtune.core.records import Question
from medtune.core.schemas.dataset import Role
from medtune.data.arrow_table import QuestionTable
from medtune.data.hash_sampling import sampling_hash
from medtune.data.sampling.split import cluster_questions, stratified_group_split

SUBJECTS = ("Anatomy", "Surgery", None)


def table(subjects: Sequence[str | None], names: list[str] | None = None) -> QuestionTable:
    names = names or [f"q{n}" for n in range(len(subjects))]
    return QuestionTable.from_questions(
        Question(id=name, stem=f"stem {name}", options=("a", "b"), answer=0, subject=subject)
        for name, subject in zip(names, subjects, strict=True)
    )


def made(
    subjects: Sequence[str | None],
    clusters: list[int] | None = None,
    seed: int = 17,
    /,
    **sizes: int,
) -> tuple[list[int], dict[str, list[int]]]:
    numbers = np.array(range(len(subjects)) if clusters is None else clusters, dtype=np.int64)
    wanted: Any = sizes
    left, splits = stratified_group_split(table(subjects), numbers, wanted, seed, "file:x")
    return left.tolist(), {name: places.tolist() for name, places in splits.items()}


def subjects_of(places: list[int], subjects: list[str | None]) -> Counter[str | None]:
    return Counter(subjects[place] for place in places)


# Clusters


def test_questions_that_are_alike_are_one_cluster_numbered_by_first_appearance() -> None:
    alike = np.array([9, 4, 9, 7, 4])
    assert cluster_questions(alike, [None] * 5).tolist() == [0, 1, 0, 2, 1]


def test_a_declared_group_joins_what_is_not_alike() -> None:
    alike = np.array([0, 1, 2, 3])
    assert cluster_questions(alike, ["g", None, "g", "h"]).tolist() == [0, 1, 0, 2]


def test_groups_and_likeness_chain() -> None:
    # 0 ~ 1 by likeness, 1 and 2 by group, 2 ~ 4 by likeness; 3 stands alone.
    alike = np.array([5, 5, 6, 7, 6])
    assert cluster_questions(alike, [None, "g", "g", None, None]).tolist() == [0, 0, 0, 1, 0]


def test_a_group_named_like_a_number_is_not_that_likeness() -> None:
    assert cluster_questions(np.array([0, 1]), ["1", None]).tolist() == [0, 1]


def test_questions_without_a_group_are_not_one_group() -> None:
    assert cluster_questions(np.array([0, 1, 2]), [None, None, ""]).tolist() == [0, 1, 2]


def test_nothing_has_no_clusters() -> None:
    assert cluster_questions(np.array([], dtype=np.int64), []).tolist() == []


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from(["g", "h", "i", None])), max_size=15))
def test_clusters_are_as_small_as_may_be(rows: list[tuple[int, str | None]]) -> None:
    found = cluster_questions(np.array([a for a, _ in rows], dtype=np.int64), [g for _, g in rows])
    parts = [{n} for n in range(len(rows))]
    for _ in rows:
        for x, (a, g) in enumerate(rows):
            for y, (b, h) in enumerate(rows):
                if a == b or (g is not None and g == h):
                    parts[x] |= parts[y]
    for x in range(len(rows)):
        assert {y for y in range(len(rows)) if found[y] == found[x]} == parts[x]
    seen = list(dict.fromkeys(found.tolist()))
    assert seen == list(range(len(seen)))


# Sizes


def test_without_sizes_everything_stays() -> None:
    assert made(["Anatomy"] * 3) == ([0, 1, 2], {})


def test_the_splits_have_the_sizes_asked_for_and_share_nothing() -> None:
    left, splits = made(["Anatomy"] * 20, validation=5, calibration=8)
    assert [len(left), len(splits["validation"]), len(splits["calibration"])] == [7, 5, 8]
    assert sorted(left + splits["validation"] + splits["calibration"]) == list(range(20))


def test_the_lowest_lots_are_taken_first_then_the_next() -> None:
    order = sorted(range(10), key=lambda n: sampling_hash(17, f"cut q{n}"))
    _, splits = made(["Anatomy"] * 10, validation=2, calibration=3)
    assert splits == {"validation": sorted(order[:2]), "calibration": sorted(order[2:5])}


def test_a_seed_decides() -> None:
    assert made(["Anatomy"] * 30, validation=9) == made(["Anatomy"] * 30, validation=9)
    assert made(["Anatomy"] * 30, validation=9) != made(["Anatomy"] * 30, None, 18, validation=9)


CUTS = st.integers(2, 25).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from(SUBJECTS), min_size=n, max_size=n),
        st.lists(st.integers(0, n), min_size=n, max_size=n),
        st.integers(0, n),
        st.integers(0, n),
    )
)


@given(CUTS, st.integers(0, 99))
@settings(max_examples=120)
def test_whole_clusters_make_exact_sizes_or_none(
    case: tuple[list[str | None], list[int], int, int], seed: int
) -> None:
    subjects, clusters, validation, calibration = case
    try:
        left, splits = made(
            subjects, clusters, seed, validation=validation, calibration=calibration
        )
    except DataError:
        # With room to spare and nothing but single questions there is always a way.
        alone = len(set(clusters)) == len(subjects)
        assert not alone or validation + calibration >= len(subjects)
        return
    parts = [left, splits["validation"], splits["calibration"]]
    assert [len(part) for part in parts[1:]] == [validation, calibration]
    assert sorted(place for part in parts for place in part) == list(range(len(subjects)))
    assert all(part == sorted(part) for part in parts)
    owners: dict[int, set[int]] = {}
    for number, part in enumerate(parts):
        for place in part:
            owners.setdefault(clusters[place], set()).add(number)
    assert all(len(owner) == 1 for owner in owners.values())
    assert left or not validation + calibration


def test_declared_groups_stay_together() -> None:
    groups = [f"g{n // 2}" for n in range(40)]
    clusters = cluster_questions(np.arange(40), groups).tolist()
    _, splits = made(["Anatomy"] * 40, clusters, validation=10)
    assert all(place ^ 1 in splits["validation"] for place in splits["validation"])


def test_a_cluster_belongs_to_the_subject_of_its_first_question() -> None:
    # Anatomy has 3 questions in one cluster, of which two call themselves surgery.
    subjects: list[str | None] = ["Anatomy", "Surgery", "Surgery", "Surgery", "Surgery", "Surgery"]
    _, splits = made(subjects, [0, 0, 0, 1, 2, 3], validation=2)
    # One from either subject; anatomy has only all three, so surgery gives both.
    assert set(splits["validation"]) < {3, 4, 5}


def test_a_cluster_that_is_too_large_is_passed_over() -> None:
    left, splits = made(["Anatomy"] * 9, [0] * 6 + [1, 2, 3], validation=2)
    assert set(splits["validation"]) < {6, 7, 8}
    assert set(range(6)) < set(left)


# Strata


@given(st.lists(st.sampled_from(SUBJECTS), min_size=2, max_size=60), st.data())
@settings(max_examples=120)
def test_every_subject_gives_its_share_to_within_one(
    subjects: list[str | None], data: st.DataObject
) -> None:
    validation = data.draw(st.integers(0, len(subjects) - 1))
    calibration = data.draw(st.integers(0, len(subjects) - 1 - validation))
    _, splits = made(subjects, validation=validation, calibration=calibration)
    pool = list(range(len(subjects)))
    for name, size in (("validation", validation), ("calibration", calibration)):
        there, taken = subjects_of(pool, subjects), subjects_of(splits[name], subjects)
        for subject, count in there.items():
            assert abs(taken[subject] - size * count / len(pool)) < 1
        pool = [place for place in pool if place not in splits[name]]


def test_shares_by_hand() -> None:
    subjects: list[str | None] = ["Anatomy"] * 60 + ["Surgery"] * 30 + [None] * 10
    _, splits = made(subjects, validation=10, calibration=20)
    assert subjects_of(splits["validation"], subjects) == {"Anatomy": 6, "Surgery": 3, None: 1}
    # Of 54, 27 and 9 that are left.
    assert subjects_of(splits["calibration"], subjects) == {"Anatomy": 12, "Surgery": 6, None: 2}


@given(st.integers(5, 40), st.integers(5, 40), st.integers(1, 9), st.integers(0, 50))
def test_a_question_that_joins_one_subject_moves_others_by_their_share_only(
    anatomy: int, surgery: int, size: int, seed: int
) -> None:
    before: list[str | None] = [*["Anatomy"] * anatomy, *["Surgery"] * surgery]
    first = set(made(before, None, seed, validation=size)[1]["validation"])
    second = set(made([*before, "Surgery"], None, seed, validation=size)[1]["validation"])
    old, new = ({place for place in some if place < anatomy} for some in (first, second))
    # A subject's draw is the start of one order: the smaller is part of the larger.
    assert old <= new or new <= old
    assert len(old ^ new) <= 1
    assert len(second - first) <= 2


def test_the_order_of_the_data_does_not_choose() -> None:
    names: list[str] = [f"n{n}" for n in range(30)]
    subjects: list[str | None] = [SUBJECTS[n % 2] for n in range(30)]
    sizes: dict[Role, int] = {"validation": 7}
    chosen = []
    for step in (1, -1):
        one = table(subjects[::step], names[::step])
        _, splits = stratified_group_split(one, np.arange(30), sizes, 17, "file:x")
        chosen.append({one.ids[place] for place in splits["validation"]})
    assert chosen[0] == chosen[1]


# Errors


@pytest.mark.parametrize("sizes", [{"validation": 4, "calibration": 6}, {"validation": 11}])
def test_cutting_off_everything_is_refused_with_all_numbers(sizes: dict[str, int]) -> None:
    with pytest.raises(DataError) as caught:
        made(["Anatomy"] * 10, **sizes)
    asked = ", ".join(f"{name} {size}" for name, size in sizes.items())
    assert caught.value.found == (
        f"file:x: {sum(sizes.values())} questions are to be split off ({asked}), 10 are there"
    )
    assert caught.value.expected == "some left to train on"
    assert caught.value.fix == "lower data.validation_size or data.calibration_size"


@pytest.mark.parametrize(
    ("clusters", "sizes", "message"),
    [
        ([0, 0, 1, 1, 2, 2], {"validation": 3}, "only 2 of 3 questions could be split off for v"),
        ([0] * 6, {"validation": 3}, "only 0 of 3 questions could be split off for validat"),
        ([0, 0, 0, 1, 2, 3], {"validation": 3, "calibration": 2}, "only 0 of 2 questions could be"),
    ],
)
def test_sizes_that_whole_clusters_cannot_make_are_refused(
    clusters: list[int], sizes: dict[str, int], message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(f"file:x: {message}")) as caught:
        made(["Anatomy"] * 6, clusters, **sizes)
    assert "without dividing a cluster of questions" in caught.value.found
    assert caught.value.fix == f"lower data.{list(sizes)[-1]}_size"
