from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.analysis.synthetic import free, predictions

from medtune.analysis.paired_slices import compare_slices, find_changed_answers
from medtune.core.errors import PredictionsError
from medtune.core.intervals import tango_interval, wilson_interval
from medtune.core.records import Outcome, Prediction
from medtune.core.schemas.analysis import PairedSlice


def answers(rights: Sequence[bool | None], **changes: Any) -> list[Prediction]:
    """One answer per mark: right, wrong, or none."""
    return [
        Prediction(
            id=f"q{number}",
            stem="Which one?",
            options=("yes", "no"),
            answer=0,
            chosen=None if right is None else 1 - right,
            outcome=Outcome.UNPARSED
            if right is None
            else (Outcome.CORRECT if right else Outcome.WRONG),
        ).model_copy(update=changes)
        for number, right in enumerate(rights)
    ]


def joined(*parts: Sequence[Prediction]) -> list[Prediction]:
    """Number the answers anew."""
    flat = [p for part in parts for p in part]
    return [p.model_copy(update={"id": f"q{number}"}) for number, p in enumerate(flat)]


def by_name(slices: Sequence[PairedSlice], dimension: str) -> dict[str, PairedSlice]:
    return {s.name: s for s in slices if s.dimension == dimension}


def test_a_slice_is_compared_by_hand() -> None:
    # Anatomy: both right 2, only a 1, only b 9; Skin: only a 2, neither 8; ENT: too small
    a = joined(
        answers([True] * 3 + [False] * 9, subject="Anatomy"),
        answers([True] * 2 + [False] * 8, subject="Skin"),
        answers([False] * 9, subject="ENT"),
    )
    b = joined(
        answers([True] * 2 + [False] + [True] * 9, subject="Anatomy"),
        answers([False] * 10, subject="Skin"),
        answers([True] * 9, subject="ENT"),
    )
    found = by_name(compare_slices(a, b), "subject")
    assert list(found) == ["Anatomy", "Skin", "ENT"]
    anatomy, skin, ent = found.values()
    assert (anatomy.only_a, anatomy.only_b) == (1, 9)
    assert anatomy.accuracy_a == wilson_interval(3, 12)
    assert anatomy.accuracy_b == wilson_interval(11, 12)
    assert anatomy.difference == pytest.approx(8 / 12)
    # 2 (C(10, 0) + C(10, 1)) / 2^10, and 2 (1 / 2^2) that is more than it can be said to be
    assert anatomy.p_value == pytest.approx(22 / 1024)
    assert skin.p_value == pytest.approx(0.5)
    # Holm over the two that were tested: 2 p, then max(2 p, 1 p)
    assert anatomy.p_holm == pytest.approx(44 / 1024)
    assert skin.p_holm == pytest.approx(0.5)
    assert (ent.p_value, ent.p_holm) == (None, None)
    assert ent.difference == 1.0
    assert (anatomy.difference_low, anatomy.difference_high) == tango_interval(1, 9, 12)


def test_letters_and_negation_come_in_their_order_and_what_is_alike_is_left_out() -> None:
    a = joined(
        answers([True] * 10, answer=1, chosen=1, stem="All of these except?"),
        answers([True] * 12),
    )
    found = compare_slices(a, a)
    assert [(s.dimension, s.name) for s in found] == [
        ("negation", "negated"),
        ("negation", "plain"),
        ("letter", "A"),
        ("letter", "B"),
    ]
    assert all(s.p_value == s.p_holm == 1.0 and s.difference == 0 for s in found)
    assert compare_slices(answers([True]), answers([False])) == ()


def test_answers_are_paired_by_question_and_not_by_place() -> None:
    a, b = predictions(150, 0.3, 1), predictions(150, 0.9, 2)
    mixed = list(b)
    random.Random(0).shuffle(mixed)
    assert mixed != b
    assert compare_slices(a, mixed) == compare_slices(a, b)
    assert {(c.kind, c.a.id) for c in find_changed_answers(a, mixed, 150)} == {
        (c.kind, c.a.id) for c in find_changed_answers(a, b, 150)
    }


marks = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1)


@settings(max_examples=25)
@given(marks)
def test_slices_add_up_and_exchanging_the_models_turns_the_sign(
    rows: list[tuple[bool, bool, int]],
) -> None:
    subjects = [f"subject {kind}" for *_, kind in rows]
    a, b = (
        [p.model_copy(update={"subject": s}) for p, s in zip(answers(x), subjects, strict=True)]
        for x in ([r[0] for r in rows], [r[1] for r in rows])
    )
    found, turned = compare_slices(a, b), compare_slices(b, a)
    if found:
        assert sum(s.only_a for s in found) == sum(x and not y for x, y, _ in rows)
        assert sum(s.only_b for s in found) == sum(y and not x for x, y, _ in rows)
        assert sum(s.accuracy_a.n for s in found) == len(rows)
    for s, t in zip(found, turned, strict=True):
        assert (s.name, s.p_value, s.p_holm) == (t.name, t.p_value, t.p_holm)
        assert s.difference == -t.difference
        assert s.accuracy_a == t.accuracy_b
        if s.p_holm is not None and s.p_value is not None:
            assert s.p_holm >= s.p_value


@pytest.mark.parametrize(
    "other",
    [
        answers([True]),
        answers([True, True, True]),
        answers([True, True], options=("yes", "maybe")),
        answers([True, True], answer=1),
        [],
    ],
)
@pytest.mark.parametrize("compute", [compare_slices, find_changed_answers])
def test_other_questions_are_refused(compute: Any, other: list[Prediction]) -> None:
    asked = answers([True, False])
    with pytest.raises(PredictionsError, match="2 questions"):
        compute(asked, other)
    with pytest.raises(PredictionsError, match=f"answered {len(other)} questions"):
        compute(other, asked)


def test_nothing_is_refused() -> None:
    with pytest.raises(PredictionsError, match="0 questions"):
        compare_slices([], [])


def sure(p: Prediction, share: float) -> Prediction:
    return p.model_copy(update={"probabilities": (share, 1 - share)})


def test_changed_questions_come_by_how_far_the_right_option_moved() -> None:
    a = [
        sure(p, s) for p, s in zip(answers([True] * 3 + [False]), (0.6, 0.9, 0.8, 0.2), strict=True)
    ]
    b = [
        sure(p, s)
        for p, s in zip(answers([False] * 2 + [True] * 2), (0.4, 0.1, 0.9, 0.7), strict=True)
    ]
    found = find_changed_answers(a, b)
    # q2 is right in both; q1 moved by 0.8, q0 by 0.2; q3 is gained
    assert [(c.kind, c.a.id, c.b.id) for c in found] == [
        ("lost", "q1", "q1"),
        ("lost", "q0", "q0"),
        ("gained", "q3", "q3"),
    ]
    assert found[0].a == a[1]
    assert found[0].b == b[1]
    assert [c.a.id for c in find_changed_answers(a, b, most=1)] == ["q1", "q3"]


def test_free_answers_keep_their_order_and_an_unparsed_one_is_lost() -> None:
    a, b = answers([True] * 4), answers([False, None, True, None])
    assert [(c.kind, c.a.id) for c in find_changed_answers(a, b)] == [
        ("lost", "q0"),
        ("lost", "q1"),
        ("lost", "q3"),
    ]
    # unparsed before and after, or wrong before and unparsed after: nothing is gained or lost
    assert find_changed_answers(answers([None, False]), answers([None, None])) == ()
    many = predictions(60, 0.5, 1)
    assert all(c.kind == "lost" for c in find_changed_answers(many, free(many)))
