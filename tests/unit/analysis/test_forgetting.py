from __future__ import annotations

from typing import Any

import pytest
from scipy.stats import ttest_rel

from medtune.analysis.forgetting import (
    compare_text_losses,
    describe_forgetting,
    list_forgetting_caveats,
)
from medtune.core.intervals import tango_interval, wilson_interval
from medtune.core.records import (
    ComparisonRecord,
    ForgettingRecord,
    ModelDescription,
    TextLoss,
    TextLossComparison,
)

MODEL = ModelDescription(source="m", fingerprint="f", parameters=1, dtype="none", device="cpu")


def loss(*losses: float) -> TextLoss:
    return TextLoss(inputs="i", model=MODEL, losses=losses, duration_s=1.0)


def answers(
    only_a: int = 5, only_b: int = 5, right: int = 60, p: float = 1.0, **more: Any
) -> ComparisonRecord:
    n = 120
    low, high = tango_interval(only_a, only_b, n)
    return ComparisonRecord.model_construct(
        a="base",
        b="tuned",
        n=n,
        only_a=only_a,
        only_b=only_b,
        accuracy_a=wilson_interval(right, n),
        accuracy_b=wilson_interval(right - only_a + only_b, n),
        difference=(only_b - only_a) / n,
        difference_low=low,
        difference_high=high,
        p_value=p,
        **{"method": "cloze", **more},
    )


def text(rise: float = 0.0, p: float = 1.0) -> TextLossComparison:
    return TextLossComparison(
        n=40,
        loss_a=1.0,
        loss_b=1.0 + rise,
        difference=rise,
        difference_low=rise - 0.01,
        difference_high=rise + 0.01,
        p_value=p,
    )


def record(
    *found: ComparisonRecord, rise: float = 0.0, p: float = 1.0, trained_on: int | None = 0
) -> ForgettingRecord:
    return ForgettingRecord.model_construct(
        answers=found, chance=0.25, trained_on=trained_on, text_loss=text(rise, p)
    )


def test_losses_are_paired_by_text() -> None:
    before, after = (0.9, 1.1, 1.0, 0.8, 1.3), (0.92, 1.15, 1.01, 0.85, 1.31)
    found = compare_text_losses(loss(*before), loss(*after))
    reference = ttest_rel(after, before)
    low, high = reference.confidence_interval(0.95)
    assert found.p_value == pytest.approx(reference.pvalue)
    assert (found.difference_low, found.difference_high) == pytest.approx((low, high))
    assert found.difference == pytest.approx(found.loss_b - found.loss_a)
    assert found.n == 5


def test_equal_losses_differ_by_nothing() -> None:
    found = compare_text_losses(loss(1.0, 2.0), loss(1.0, 2.0))
    assert (found.difference_low, found.difference, found.difference_high) == (0, 0, 0)
    assert found.p_value == 1
    # Every text worse by the same amount is no accident.
    assert compare_text_losses(loss(1.0, 2.0), loss(1.5, 2.5)).p_value == 0


def test_losses_of_different_texts_are_not_compared() -> None:
    with pytest.raises(ValueError, match="zip"):
        compare_text_losses(loss(1.0, 2.0), loss(1.0, 2.0, 3.0))


@pytest.mark.parametrize(
    ("found", "forgot"),
    [
        (record(answers(), answers(method="letter")), False),
        (record(answers(30, 10, p=0.002), answers()), True),
        (record(answers(10, 30, p=0.002), answers()), False),  # it learned
        (record(answers(30, 16, p=0.03), answers()), False),  # one of three tests, after Holm
        (record(answers(), answers(), rise=0.2, p=1e-9), True),
        (record(answers(), answers(), rise=-0.2, p=1e-9), False),
    ],
)
def test_forgetting_is_said_only_where_it_is_shown(found: ForgettingRecord, forgot: bool) -> None:
    said = describe_forgetting(found)
    assert said.startswith("tuned has forgotten something") == forgot
    assert said.startswith("tuned: no forgetting is shown") != forgot


def test_the_sentence_has_every_figure() -> None:
    said = describe_forgetting(record(answers(9, 3, p=0.146), rise=0.021, p=0.0004))
    for words in (
        "50.0 to 45.0 % by cloze (-5.0 points", "p = 0.1460", "(n = 120)",
        "1.000 to 1.021 bits per byte (+0.021, 95 % interval +0.011 to +0.031, p = 0.0004, n = 40)",
    ):  # fmt: skip
        assert words in said


def test_a_base_at_chance_has_nothing_to_lose() -> None:
    guessing = answers(right=36, method="letter")
    (caveat,) = list_forgetting_caveats(record(answers(), guessing))
    assert caveat.startswith("By letter base is not shown to be above chance (25.0 %)")
    assert list_forgetting_caveats(record(answers())) == []
    (seen,) = list_forgetting_caveats(record(answers(), trained_on=3))
    assert seen == "3 of the general questions were trained on."
