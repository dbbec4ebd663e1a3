from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from medtune.analysis.examine import Exam, summarize
from medtune.analysis.figures import accuracy_figure, letters_figure, loss_figure
from medtune.core.prompt import PromptStyle
from medtune.core.records import (
    EvaluationRecord,
    LossPoint,
    Outcome,
    Prediction,
    SplitDescription,
)
from medtune.models.fake import FakeModel


def record(label: str, chosen: Sequence[int | None], **changes: Any) -> EvaluationRecord:
    predictions = [
        Prediction(
            id=str(n),
            subject=None,
            options=("Yes", "No", "Maybe"),
            answer=n % 3,
            chosen=given,
            outcome=Outcome.UNPARSED
            if given is None
            else (Outcome.CORRECT if given == n % 3 else Outcome.WRONG),
        )
        for n, given in enumerate(chosen)
    ]
    exam = Exam(
        questions=(),
        data=SplitDescription(source="starter:recall", n=len(chosen), excluded={}, hash="h"),
        style=PromptStyle(),
        method="letter",
        normalization="byte",
    )
    made = summarize(FakeModel("noisy", {}), exam, label, predictions, 1.0)
    return made.model_copy(update=changes)


BASE = record("base", [0, 0, 0, 0, 1, 2, 0])
TUNED = record("tuned", [0, 1, 2, 0, 1, 2, 0])
LOST = record("tuned", [None] * 7)
LOSSES = [LossPoint(step=s, loss=2.0 / s, learning_rate=1e-3) for s in range(1, 30)]

FIGURES: list[Callable[[], str]] = [
    lambda: accuracy_figure([BASE, TUNED]),
    lambda: accuracy_figure([LOST]),
    lambda: letters_figure([BASE, TUNED]),
    lambda: letters_figure([LOST, LOST]),
    lambda: loss_figure(LOSSES),
    lambda: loss_figure(LOSSES[:1]),
]


def texts(svg: str) -> list[str]:
    space = "{http://www.w3.org/2000/svg}"
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{space}text")]


@pytest.mark.parametrize("draw", FIGURES)
def test_a_figure_is_one_svg_that_never_changes(draw: Callable[[], str]) -> None:
    svg = draw()
    assert svg == draw()
    assert svg.startswith("<svg")
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert not re.search(r"\b(nan|inf)\b", svg, re.IGNORECASE)
    assert "dc:date" not in svg
    # transparent, so that it reads on light and dark pages
    assert not re.search(r"fill: ?#ffffff(?!; opacity: 0)", svg)


def test_accuracies_are_labelled_and_written() -> None:
    found = texts(accuracy_figure([BASE, TUNED]))
    assert "starter:recall · letter · base" in found
    assert "starter:recall · letter · tuned" in found
    # base: places 0, 3, 4, 5, 6 are right, 5 / 7 = 71.4 %; tuned: all
    assert {"71.4", "100.0"} <= set(found)
    assert any("Wilson 95 %" in text and "chance" in text for text in found)


def test_letters_that_anyone_gave_or_that_were_right_are_shown() -> None:
    found = texts(letters_figure([BASE, record("tuned", [0] * 7, letters_chosen={"J": 7})]))
    assert {"A", "B", "C", "J"} <= set(found)
    assert {"right", "base", "tuned"} <= set(found)


def test_other_losses_draw_other_curves() -> None:
    assert loss_figure(LOSSES) != loss_figure(LOSSES[:-1])


def test_no_figure_is_kept_open() -> None:
    from matplotlib import pyplot

    loss_figure(LOSSES)
    assert pyplot.get_fignums() == []
