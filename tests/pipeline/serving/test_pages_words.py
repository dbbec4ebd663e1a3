from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace as Some
from typing import get_args

import pytest

from medtune.core.schemas.guardrails import Action, GuardName, GuardVerdict
from medtune.serving.pages import labels
from medtune.serving.pages.templating import format_duration, format_probability, render_template
from medtune.serving.schemas import DecisionKind, ReviewState, Status


def test_everything_has_words() -> None:
    assert set(labels.STATUSES) == set(labels.SHORT_STATUSES) == set(get_args(Status))
    assert set(labels.GUARDS) == set(labels.GUARD_DESCRIPTIONS) == set(get_args(GuardName))
    assert set(labels.ACTIONS) == set(get_args(Action))
    assert set(labels.STATES) == set(get_args(ReviewState))
    assert set(labels.DECISIONS) == set(get_args(DecisionKind))


def test_every_reason_that_a_guard_gives_has_words() -> None:
    code = re.compile(rf'"((?:{"|".join(get_args(GuardName))})\.[a-z_]+)"')
    sources = [path.read_text() for path in Path(str(files("medtune.guardrails"))).rglob("*.py")]
    given = {found for source in sources for found in code.findall(source)}
    assert "sensitive.dosing" in given
    assert given - {"classifier.json"} == set(labels.REASONS)


def test_a_reason_without_words_is_its_own() -> None:
    assert labels.reason_label("scope.new_kind") == "scope.new_kind"
    assert labels.reason_label(None) == "Nothing to remark"


def test_the_strictest_verdict_is_the_reason() -> None:
    verdicts = [
        GuardVerdict(guard="privacy", action="annotate", reason="privacy.redacted"),
        GuardVerdict(guard="sensitive", action="defer", reason="sensitive.dosing"),
        GuardVerdict(guard="confidence", action="defer", reason="confidence.low"),
    ]
    assert labels.strictest_reason(verdicts) == "sensitive.dosing"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (0.0004, "< 0.1"), (0.0005, "0.1"), (0.5, "50.0"), (0.9996, "> 99.9"),
     (1, "100.0")],
)  # fmt: skip
def test_what_is_not_quite_certain_is_not_written_as_certain(value: float, text: str) -> None:
    assert format_probability(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3660, "1 h 1 min"),
     (90000, "1 d 1 h")],
)  # fmt: skip
def test_time_spans(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_what_is_put_into_a_page_is_escaped() -> None:
    page = Some(services=Some(store=None), session=None, caller="", may=lambda role: False)
    text = render_template("problem.html", page=page, error=Some(sentence="<script>", status=500))
    assert "&lt;script&gt;" in text
