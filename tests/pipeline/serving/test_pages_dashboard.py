from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.serving.endpoint import HELD, QUESTION, Endpoint, endpoint
from tests.pipeline.serving.test_pages_browser import Browser
from tests.unit.serving.store_cases import entry

from medtune.core.schemas.guardrails import GuardVerdict
from medtune.serving.monitoring.activity import ReasonCount, summarize_activity
from medtune.serving.schemas import Decision, Feedback

DOSING = GuardVerdict(guard="sensitive", action="defer", reason="sensitive.dosing")
REDACTED = GuardVerdict(guard="privacy", action="annotate", reason="privacy.redacted")
PASSED = GuardVerdict(guard="size", action="allow")


def feedback(request_id: str, **said: Any) -> Feedback:
    return Feedback(request_id=request_id, time=datetime(2026, 5, 4, tzinfo=UTC), **said)


def test_requests_are_counted() -> None:
    entries = [
        entry("a", probabilities=(0.95, 0.05), chosen=0, reasons=(PASSED, REDACTED)),
        entry("b", probabilities=(0.0, 1.0), chosen=1, reasons=(PASSED,)),
        entry("c", status="deferred", probabilities=(0.5, 0.5), chosen=0),
        entry("d", status="refused", probabilities=None, chosen=None),
        entry("e", status="pending_review", reasons=(DOSING, REDACTED), probabilities=(0.3, 0.3)),
        entry("f", status="pending_review", reasons=(DOSING,), probabilities=(0.59, 0.41)),
        entry("g", status="pending_review", reasons=(DOSING,), probabilities=None),
    ]
    said = [
        feedback("a", helpful=True, corrected=0),
        feedback("b", helpful=False, corrected=0),
        feedback("d", helpful=False),
        feedback("elsewhere", helpful=True, corrected=0),
    ]
    found = summarize_activity(entries, {"e": "edit", "f": "reject", "elsewhere": "approve"}, said)
    assert found.n == 7
    assert found.by_status == {"answered": 2, "deferred": 1, "refused": 1, "pending_review": 3}
    assert found.decided == {"approve": 0, "edit": 1, "reject": 1}
    assert found.undecided == 1
    assert found.deferral is not None
    assert (found.deferral.value, found.deferral.n) == (4 / 7, 7)
    assert found.reasons == (
        ReasonCount(guard="sensitive", action="defer", reason="sensitive.dosing", n=3),
        ReasonCount(guard="privacy", action="annotate", reason="privacy.redacted", n=2),
    )
    assert found.confidence == (0, 0, 0, 1, 0, 2, 0, 0, 0, 2)  # 0.5 opens a bin, 1 closes the last
    assert found.scored == 5
    assert (found.helpful, found.unhelpful, found.corrected, found.confirmed) == (1, 2, 2, 1)


def test_of_nothing_there_is_no_rate() -> None:
    found = summarize_activity([], {}, [feedback("a", helpful=True)])
    assert found.n == found.scored == found.helpful == 0
    assert found.deferral is None
    assert found.reasons == ()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Endpoint]:
    with endpoint(tmp_path) as made:
        yield made


def test_a_day_without_questions_says_so(here: Endpoint) -> None:
    browser = Browser(here)
    browser.sign_in("review")
    text = browser.get("/dashboard?days=1")
    assert "Nothing was asked in the last day." in text
    assert "No feedback on requests of the last day." in text
    assert "Waiting 0 Claimed 0 Oldest wait –" in text


def test_numbers_stand_with_what_they_are_of(here: Endpoint) -> None:
    browser = Browser(here)
    browser.sign_in("review")
    browser.ask(QUESTION)
    browser.ask({**QUESTION, "subject": "Astrology"})
    browser.ask({"stem": "My knee hurts, what is it?", "options": []})
    held = browser.held()
    browser.held({**HELD, "stem": "Which drug is given in pregnancy?"})
    here.store.reviews.claim("ann", 60, held)
    here.store.reviews.decide(held, "ann", Decision(kind="edit", chosen=1))
    here.store.requests.set_feedback(feedback(held, helpful=True, corrected=1))
    text = browser.get("/dashboard")
    assert "Requests of the last week Asked 5 Answered 1 20.0 % Deferred 1 20.0 %" in text
    assert "Refused 1 20.0 % Held for a reviewer 2 40.0 % 1 undecided" in text
    assert "Deferral rate 60.0 % (95 % interval 23.1–88.2, n = 5)" in text
    assert "Waiting 1 Claimed 0 Oldest wait 0 s" in text
    assert (
        "Of the 2 answers held for a reviewer in the last week, "
        "reviewers approved 0, changed 1 and rejected 0." in text
    )
    assert "Helped 1 Did not help 0 Right letter given 1 0 the same as the model’s" in text
    assert "It is about doses sensitive.dosing held back 1 20.0" in text
    assert "where the model was asked (n = 4)" in text
    assert '<svg class="histogram"' in browser.source
    assert "90 to 100 2" in text or "90 to 100 4" in text


def test_a_period_has_what_fell_into_it(here: Endpoint) -> None:
    now = datetime.now(UTC)
    for number, days in enumerate((0.5, 3, 20, 29.9, 31)):
        here.store.requests.add(entry(f"{number:032x}", time=now - timedelta(days=days)), None)
    browser = Browser(here)
    browser.sign_in("review")
    for period, n in ((1, 1), (7, 2), (30, 4)):
        assert f"Asked {n} " in browser.get(f"/dashboard?days={period}")
        assert f'?days={period}" aria-current="page"' in browser.source


@pytest.mark.parametrize("days", ["0", "2", "-1", "week", "<b>"])
def test_there_are_no_other_periods(here: Endpoint, days: str) -> None:
    browser = Browser(here)
    browser.sign_in("review")
    browser.get(f"/dashboard?days={days}")
    assert browser.status == 422
    assert browser.answer.headers["content-type"].startswith("text/html")
