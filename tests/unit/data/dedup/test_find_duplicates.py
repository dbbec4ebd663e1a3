from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.records import Question
from medtune.core.schemas.dataset import DuplicateKind
from medtune.data.dedup import find_duplicates as module
from medtune.data.dedup.canonical_form import CanonicalQuestion
from medtune.data.dedup.find_duplicates import MAX_SAME_STEM, DuplicateLink, Overlap, find_overlap
from medtune.data.dedup.is_duplicate import duplicate_kind
from medtune.data.dedup.minhash_index import MAX_NEIGHBOURS

NERVES = ("Axillary nerve", "Radial nerve", "Ulnar nerve", "Median nerve")
DELTOID = "Which nerve supplies the deltoid muscle"
SPELLED = "Which nerves supplies the deltoid muscle"
TOLD = f"{DELTOID} of the shoulder girdle here"
KOPLIK = "Koplik spots in the mouth are an early sign of"
EVERYTHING = """
import json
from medtune.core.progress import NoProgress
from medtune.data.load import load_split
from medtune.data.dedup.find_duplicates import find_overlap
from medtune.data.dedup.decontaminate import CleanedSource, decontaminate
from medtune.data.sampling.split import cluster_questions, stratified_group_split
from medtune.data.dedup.wording_clusters import rank_in_wording_clusters

train, recall = (load_split(f"starter:{name}").questions for name in ("train", "recall"))
pool = [*train, *recall]
twins = [q.model_copy(update={"stem": q.stem.replace("the ", "a ")}) for q in pool]
found = find_overlap([*pool, *twins])
separated = decontaminate(
    CleanedSource("a", train), [CleanedSource("b", recall)], near=True, within=True,
    progress=NoProgress()
)
clusters = cluster_questions(separated.alike, train.take(separated.kept).read_column("group"))
rest, splits = stratified_group_split(
    train, clusters, {"validation": 30, "calibration": 50}, 17, "a"
)
print(json.dumps([
    found.classes.tolist(),
    [[link.first, link.second, link.conflict] for link in found.links],
    sorted(found.torn),
    found.duplicate_groups().tolist(),
    [count.model_dump(mode="json") for count in separated.counts],
    [example.model_dump(mode="json") for example in separated.examples],
    rest.tolist(),
    {name: places.tolist() for name, places in splits.items()},
    rank_in_wording_clusters(pool, range(len(pool))),
]))
"""


def question(
    stem: str,
    answer: int | None = 0,
    options: tuple[str, ...] = NERVES,
    name: str = "q",
) -> Question:
    return Question(id=name, stem=stem, options=options, answer=answer)


def pairs_of(found: Overlap, names: Sequence[str]) -> tuple[set[frozenset[str]], Any]:
    """List exact pairs, and near ones with their conflict, by name."""
    members: dict[int, list[str]] = {}
    for name, number in zip(names, found.classes, strict=True):
        members.setdefault(int(number), []).append(name)
    exact = {frozenset(two) for some in members.values() for two in combinations(some, 2)}
    near = {
        (frozenset(two), link.conflict)
        for link in found.links
        for two in product(members[link.first], members[link.second])
    }
    return exact, near


# Classes


def test_nothing_overlaps_in_nothing() -> None:
    found = find_overlap([])
    assert found.classes.tolist() == []
    assert (found.links, found.torn) == ((), frozenset())
    assert found.duplicate_groups().tolist() == []


def test_one_question_overlaps_with_nothing() -> None:
    found = find_overlap([question(DELTOID)])
    assert found.classes.tolist() == found.duplicate_groups().tolist() == [0]
    assert (found.links, found.torn) == ((), frozenset())


def test_equal_questions_are_one_class_numbered_by_first_appearance() -> None:
    turned = tuple(reversed(NERVES))
    found = find_overlap(
        [
            question(KOPLIK),
            question(DELTOID),
            question(f"{DELTOID.upper()}?", 3, turned),
            question(f"{KOPLIK}: (AIIMS 2010)"),
            question(DELTOID),
        ]
    )
    assert found.classes.tolist() == [0, 1, 1, 0, 1]
    assert (found.links, found.torn) == ((), frozenset())


def test_another_option_is_another_class() -> None:
    other = question(DELTOID, options=(*NERVES[:3], "Vagus"))
    assert find_overlap([question(DELTOID), other]).classes.tolist() == [0, 1]


def test_a_class_with_two_right_answers_is_torn() -> None:
    found = find_overlap([question(KOPLIK), question(DELTOID, 0), question(DELTOID, 2)])
    assert found.classes.tolist() == [0, 1, 1]
    assert found.torn == {1}


def test_the_answer_is_its_text_not_its_letter() -> None:
    turned = question(DELTOID, 3, tuple(reversed(NERVES)))
    assert find_overlap([question(DELTOID, 0), turned]).torn == frozenset()
    assert find_overlap([question(DELTOID, 3), turned]).torn == {0}


@pytest.mark.parametrize("answers", [(None, 0), (0, None), (None, None), (None, 0, None, 0)])
def test_an_unlabelled_member_tears_nothing(answers: tuple[int | None, ...]) -> None:
    found = find_overlap(question(DELTOID, answer) for answer in answers)
    assert found.classes.tolist() == [0] * len(answers)
    assert found.torn == frozenset()


@pytest.mark.parametrize("answers", [(None, 0, 1), (0, None, 1), (0, 1, None), (0, 0, 1)])
def test_a_class_is_torn_whoever_comes_first(answers: tuple[int | None, ...]) -> None:
    assert find_overlap(question(DELTOID, answer) for answer in answers).torn == {0}


# Links


def test_near_questions_are_linked_the_earlier_one_first() -> None:
    found = find_overlap([question(KOPLIK), question(SPELLED), question(DELTOID)])
    assert found.classes.tolist() == [0, 1, 2]
    assert found.links == (DuplicateLink(1, 2, conflict=False),)
    assert list(found.linked_classes(1)) == [(2, False)]
    assert list(found.linked_classes(2)) == [(1, False)]
    assert list(found.linked_classes(0)) == []


def test_classes_are_linked_once_however_many_members_they_have() -> None:
    found = find_overlap([question(SPELLED), question(DELTOID)] * 3)
    assert found.classes.tolist() == [0, 1] * 3
    assert found.links == (DuplicateLink(0, 1, conflict=False),)


def test_a_link_tells_a_conflict() -> None:
    found = find_overlap([question(SPELLED, 0), question(DELTOID, 1)])
    assert found.links == (DuplicateLink(0, 1, conflict=True),)
    assert found.torn == frozenset()


def test_without_near_there_are_classes_only() -> None:
    found = find_overlap([question(SPELLED), question(DELTOID), question(DELTOID, 1)], near=False)
    assert found.classes.tolist() == [0, 1, 1]
    assert (found.links, found.torn) == ((), frozenset([1]))


@pytest.mark.parametrize("answers", [(None, 0), (0, None), (0,)])
def test_a_class_is_judged_by_its_labelled_member(answers: tuple[int | None, ...]) -> None:
    # Deficiency of one vitamin and of another: without labels nobody could part them.
    vitamins = ("Vitamin A", "Vitamin B1", "Vitamin C", "Vitamin D")
    scurvy, beriberi = (f"Deficiency of which vitamin causes {x}" for x in ("scurvy", "beriberi"))
    some = [question(scurvy, answer, vitamins) for answer in answers]
    assert find_overlap([*some, question(beriberi, 1, vitamins)]).links == ()
    assert find_overlap([question(beriberi, 1, vitamins), *some]).links == ()
    unlabelled = question(scurvy, None, vitamins)
    assert len(find_overlap([unlabelled, question(beriberi, 1, vitamins)]).links) == 1


@pytest.mark.parametrize("answers", [(0, 1), (1, 0), (None, 1, 0), (2, 1, 0)])
def test_a_torn_class_conflicts_whoever_comes_first(answers: tuple[int | None, ...]) -> None:
    some = [question(DELTOID, answer) for answer in answers]
    assert find_overlap([*some, question(SPELLED, 0)]).links == (
        DuplicateLink(0, 1, conflict=True),
    )
    assert find_overlap([question(SPELLED, 0), *some]).links == (
        DuplicateLink(0, 1, conflict=True),
    )


# Components


def test_components_hang_together_through_classes_and_links() -> None:
    # A and C are not near: they differ in stem and in options; B has A's stem and C's options.
    others = ("Axillary nerve", "Vagus nerve", "Sural nerve", "Phrenic nerve")
    a, b, c = question(SPELLED), question(DELTOID, options=others), question(SPELLED, 0, others)
    found = find_overlap([question(KOPLIK), a, b, question(KOPLIK), c])
    assert found.classes.tolist() == [0, 1, 2, 0, 3]
    parts = found.duplicate_groups().tolist()
    assert parts[0] == parts[3]
    assert len({parts[1], parts[2], parts[4]}) == 1
    assert parts[0] != parts[1]


@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(
            st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))
        )
    )
)
def test_components_are_those_of_the_graph(graph: tuple[int, list[tuple[int, int]]]) -> None:
    size, edges = graph
    links = tuple(
        DuplicateLink(min(two), max(two), conflict=False) for two in edges if two[0] != two[1]
    )
    import numpy as np

    parts = Overlap(np.arange(size), links, frozenset()).duplicate_groups().tolist()
    reach = {n: {n} for n in range(size)}
    for link in links * size:
        reach[link.first] |= reach[link.second]
        reach[link.second] |= reach[link.first]
    for x, y in product(range(size), repeat=2):
        assert (parts[x] == parts[y]) == (y in reach[x])


# Of any order


def labelled() -> list[Question]:
    lines = Path(__file__).with_name("labelled_pairs.jsonl").read_text().splitlines()
    return [
        Question.model_validate({"id": f"{row['id']}{side}", **row[side]})
        for row in map(json.loads, lines)
        for side in "ab"
    ]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_is_found_does_not_depend_on_the_order(seed: int) -> None:
    questions = labelled()
    expected = pairs_of(find_overlap(questions), [q.id for q in questions])
    assert len(expected[0]) > 150
    assert len(expected[1]) > 50
    random.Random(seed).shuffle(questions)
    assert pairs_of(find_overlap(questions), [q.id for q in questions]) == expected


POOL = [
    question(stem, answer, options)
    for stem in (DELTOID, SPELLED, KOPLIK, f"Not {DELTOID}")
    for options in (NERVES, (*NERVES[:3], "Vagus"), NERVES[::-1])
    for answer in (0, 1, None)
]


@given(st.lists(st.sampled_from(POOL), max_size=8), st.randoms(use_true_random=False))
def test_of_a_few_questions_in_any_order_the_same_ones_overlap(
    some: list[Question], lots: random.Random
) -> None:
    some = [q.model_copy(update={"id": f"{n}"}) for n, q in enumerate(some)]
    expected = pairs_of(find_overlap(some), [q.id for q in some])
    lots.shuffle(some)
    assert pairs_of(find_overlap(some), [q.id for q in some]) == expected


def test_nothing_depends_on_the_seed_of_pythons_hashes() -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", EVERYTHING],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0] for process in running)
    assert [process.returncode for process in running] == [0, 0]
    found = json.loads(first)
    assert len(found[1]) > 50
    assert first == second


# At any size


class Counted:
    """The verdict, with a count of how often it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        monkeypatch.setattr(module, "duplicate_kind", self)

    def __call__(self, a: CanonicalQuestion, b: CanonicalQuestion) -> DuplicateKind | None:
        self.calls += 1
        return duplicate_kind(a, b)


def test_thousands_of_equal_rows_are_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    start = time.process_time()
    found = find_overlap(question(DELTOID, n % 4) for n in range(5000))
    assert time.process_time() - start < 10
    assert counted.calls == 0
    assert set(found.classes.tolist()) == {0}
    assert found.torn == {0}


def boilerplate(count: int) -> list[Question]:
    return [
        question(
            f"What is {17 + n % 7} + {4 + n % 11} of patient {n}?",
            n % 4,
            (f"{n}", f"{n + 1}", f"{n + 2}", f"{n + 3}"),
        )
        for n in range(count)
    ]


def test_boilerplate_is_compared_with_few(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    start = time.process_time()
    found = find_overlap(boilerplate(3000))
    assert time.process_time() - start < 20
    assert counted.calls <= 3000 * (MAX_NEIGHBOURS + MAX_SAME_STEM)
    assert found.links == ()
    assert found.classes.tolist() == list(range(3000))


def test_a_twin_in_boilerplate_is_found() -> None:
    some = boilerplate(2000)
    twin = some[700].model_copy(update={"stem": some[700].stem.replace("What is", "What's the")})
    assert find_overlap([*some, twin]).links == (DuplicateLink(700, 2000, conflict=False),)


def test_a_common_stem_is_compared_with_the_latest_only(monkeypatch: pytest.MonkeyPatch) -> None:
    # Options that share no five letters: only the stem brings these together.
    counted = Counted(monkeypatch)
    some = [
        question("True is", 0, tuple(f"{chr(97 + (n * 7 + k) % 26) * 40}{n}" for k in range(4)))
        for n in range(200)
    ]
    find_overlap(some)
    assert MAX_SAME_STEM * 150 <= counted.calls <= 200 * (MAX_NEIGHBOURS + MAX_SAME_STEM)


class Bar:
    """A task that counts."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, amount: int = 1, **figures: str) -> None:
        self.done += amount


@pytest.mark.parametrize(("near", "steps"), [(True, 5), (False, 3)])
def test_a_bar_moves_by_question_and_by_class(near: bool, steps: int) -> None:
    bar = Bar()
    find_overlap([question(DELTOID), question(KOPLIK), question(DELTOID)], near, bar)
    assert bar.done == steps
