from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import pstdev
from typing import Any

import pytest

from medtune.analysis.order_flips import measure_order_flips
from medtune.core.errors import PredictionsError
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.records import (
    OrderAnswer,
    Orders,
    Outcome,
    Prediction,
    Question,
    SplitDescription,
)
from medtune.core.schemas.analysis import Flips
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.fake import FakeModel


def mixed(n: int = 400) -> list[Question]:
    """Questions with 2, 3, 4 and 5 options, n of each."""
    return [
        Question(
            id=f"{k}-{number}",
            stem=f"Which of {k}?",
            options=tuple(f"option {place} of {number}" for place in range(k)),
            answer=number % k,
        )
        for k in (2, 3, 4, 5)
        for number in range(n)
    ]


@pytest.fixture(scope="module")
def four() -> list[Question]:
    return list(load_split("starter:train").questions)


def predicted(
    kind: str, questions: Sequence[Question], orders: Orders = "cyclic"
) -> list[Prediction]:
    model = FakeModel(kind, {q.id: q.answer_text for q in questions})
    data = SplitDescription(source="file:own", n=len(questions), excluded={}, hash="h")
    exam = Exam(questions, data, PromptStyle(), "letter", "byte", orders=orders)
    return list(evaluate_model(model, exam, kind, STRICT_PARSER, NoProgress())[1])


def found(kind: str, questions: Sequence[Question]) -> Flips:
    measured = measure_order_flips(predicted(kind, questions))
    assert measured is not None
    return measured


def asked(answer: int, *chosen: int, **changes: Any) -> Prediction:
    """One question, asked in as many cyclic orders as there are contents chosen."""
    k = changes.pop("options", len(chosen))
    orders = tuple(
        OrderAnswer(
            order=tuple((i + r) % k for i in range(k)), chosen=content, probabilities=(1 / k,) * k
        )
        for r, content in enumerate(chosen)
    )
    return Prediction(
        id="q",
        stem="Which?",
        options=tuple(f"option {place}" for place in range(k)),
        answer=answer,
        chosen=chosen[0],
        outcome=Outcome.CORRECT if chosen[0] == answer else Outcome.WRONG,
        orders=orders,
        **changes,
    )


def deviation(predictions: Sequence[Prediction]) -> float:
    """RStd of answers in one order, as the paper has it."""
    recalls = []
    for place in range(4):
        here = [p for p in predictions if p.answer == place]
        recalls.append(sum(p.chosen == place for p in here) / len(here))
    return pstdev(recalls)


def accuracy(predictions: Sequence[Prediction]) -> float:
    return sum(p.chosen == p.answer for p in predictions) / len(predictions)


def test_two_questions_by_hand() -> None:
    # Order 0 is ABC as given, 1 shows 1 2 0, 2 shows 2 0 1.
    # First question, 0 right: contents 0, 0, 1; displayed at 0, 2, 2.
    # Second question, 1 right: content 1 three times; displayed at 1, 0, 2.
    measured = measure_order_flips([asked(0, 0, 0, 1), asked(1, 1, 1, 1)])
    assert measured is not None
    assert measured.orders == 3
    assert (measured.any.value, measured.any.n) == (0.5, 2)
    assert measured.pairs == pytest.approx((2 / 3 + 0) / 2)
    assert [(p.value, p.n) for p in measured.accuracy] == [(1, 2), (1, 2), (0.5, 2)]
    assert measured.letters == {"A": 2, "B": 1, "C": 3}
    # Right at A: both times chosen; at B: question 2 yes, question 1 in order 2 no; at C: both.
    assert {c: (p.value, p.n) for c, p in measured.recalls.items()} == {
        "A": (1, 2),
        "B": (0.5, 2),
        "C": (1, 2),
    }
    assert measured.rstd == pytest.approx(pstdev([1, 0.5, 1]))


def test_the_oracle_never_flips(four: list[Question]) -> None:
    for questions in (four, mixed()):
        measured = found("oracle", questions)
        assert (measured.any.value, measured.pairs, measured.rstd) == (0, 0, 0)
        assert all(p.value == 1 for p in (*measured.accuracy, *measured.recalls.values()))


def test_the_constant_letter_always_flips(four: list[Question]) -> None:
    measured = found("constant", four)
    n = len(four)
    assert (measured.any.value, measured.pairs) == (1, 1)
    assert measured.letters == {"A": 4 * n}
    assert {c: p.value for c, p in measured.recalls.items()} == {"A": 1, "B": 0, "C": 0, "D": 0}
    assert measured.rstd == pytest.approx(math.sqrt(3) / 4)  # 0.433
    # Over all rotations every question is right exactly once.
    assert sum(round(p.value * p.n) for p in measured.accuracy) == n
    assert {p.n for p in measured.accuracy} == {n}


def test_the_constant_letter_with_mixed_numbers_of_options() -> None:
    measured = found("constant", mixed(60))
    assert measured.orders == 5
    assert (measured.any.value, measured.pairs) == (1, 1)
    assert [p.n for p in measured.accuracy] == [240, 240, 180, 120, 60]
    assert sum(round(p.value * p.n) for p in measured.accuracy) == 240
    # One recall of 1 among k: sqrt(k - 1) / k.
    assert measured.rstd == pytest.approx(sum(math.sqrt(k - 1) / k for k in (2, 3, 4, 5)) / 4)


def test_a_model_that_reads_contents_prefers_no_letter(four: list[Question]) -> None:
    for questions in (four, mixed()):
        measured = found("noisy", questions)
        assert (measured.any.value, measured.pairs) == (0, 0)
        # Each question is right under every letter, or under none.
        assert measured.rstd == pytest.approx(0, abs=1e-12)
        assert len({round(p.value * p.n) for p in found("noisy", four).accuracy}) == 1


def test_harder_questions_with_more_letters_are_no_preference() -> None:
    # Two options: always right. Three options: always wrong, whatever the order.
    measured = measure_order_flips([asked(0, 0, 0), asked(0, 1, 1, 1)])
    assert measured is not None
    assert {c: p.value for c, p in measured.recalls.items()} == {"A": 0.5, "B": 0.5, "C": 0}
    assert measured.rstd == 0


def test_a_leaning_model_flips_but_not_everywhere(four: list[Question]) -> None:
    measured = found("biased", four)
    assert measured.any.value > 0.5
    assert 0 < measured.pairs < 1
    assert measured.rstd is not None
    assert 0.2 < measured.rstd < math.sqrt(3) / 4
    assert measured.letters["A"] > measured.letters["B"]


def test_the_mean_over_orders_and_pride_undo_a_leaning(four: list[Question]) -> None:
    plain = predicted("biased", four, "given")
    assert deviation(plain) > 0.35
    for orders in ("cyclic", "pride"):
        mended = predicted("biased", four, orders)
        assert deviation(mended) < deviation(plain) / 4, orders
        assert accuracy(mended) > accuracy(plain) + 0.1, orders


def test_it_does_not_matter_in_which_order_the_options_came(four: list[Question]) -> None:
    turned = [q.permute_options((1, 2, 3, 0)) for q in four]
    one, other = found("biased", four), found("biased", turned)
    for name in ("any", "pairs", "letters", "recalls", "rstd"):
        assert getattr(one, name) == getattr(other, name), name
    assert other.accuracy == one.accuracy[1:] + one.accuracy[:1]


def test_one_order_is_none() -> None:
    assert measure_order_flips([asked(0, 0, 0).model_copy(update={"orders": None})]) is None
    assert measure_order_flips([]) is None


def test_some_with_orders_and_some_without_are_refused() -> None:
    one = asked(0, 0, 0)
    with pytest.raises(PredictionsError, match="1 of 2 predictions hold several orders"):
        measure_order_flips([one, one.model_copy(update={"orders": None})])
