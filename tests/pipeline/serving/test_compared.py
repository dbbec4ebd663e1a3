"""A shadow held against its champion: by hand, on the dashboard and in the report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine
from tests.pipeline.serving.endpoint import endpoint
from tests.pipeline.serving.test_pages_browser import Browser
from tests.unit.serving.store_cases import entry, item, shadow, silent

from medtune.core.intervals import wilson_interval
from medtune.core.schemas.guardrails import GuardVerdict
from medtune.serving.monitoring.activity import compare_shadows
from medtune.serving.monitoring.schema import ShadowComparison, ShadowReviewed
from medtune.serving.schemas import Decision, Reviewed
from medtune.serving.storage.store import Store

LOW = GuardVerdict(guard="confidence", action="defer", reason="confidence.low")
DOSING = GuardVerdict(guard="sensitive", action="defer", reason="sensitive.dosing")
APPROVED = Decision(kind="approve")


def decided(request_id: str, final: Decision | None) -> Reviewed:
    return Reviewed(item=item(request_id, proposed=2), opinions=(), final=final)


@pytest.mark.parametrize(
    ("final", "answer"),
    [
        (None, None),
        (APPROVED, 2),
        (Decision(kind="edit", chosen=1), 1),
        (Decision(kind="reject"), None),
    ],
)
def test_what_reviewers_answer(final: Decision | None, answer: int | None) -> None:
    assert decided("a", final).answer == answer


def other(request_id: str, chosen: int = 1, **changes: Any) -> Any:
    return shadow(request_id, outcome="other", chosen=chosen, **changes)


def test_shadows_are_held_against_their_champions() -> None:
    shadowed = [
        (entry("a"), shadow("a")),
        (entry("b", reasons=(LOW,)), shadow("b", unsure=True)),
        (entry("c", reasons=(DOSING,)), other("c")),
        (entry("d", reasons=(LOW, DOSING)), other("d", unsure=True)),
        (entry("e"), other("e", unsure=True)),
        (entry("f"), silent("f")),
        (entry("g"), silent("g", "failed")),
        (entry("h", release="r-0"), silent("h")),
        (entry("i"), other("i", 3)),
    ]
    finals = [
        decided("a", APPROVED),  # both chose 2
        decided("b", Decision(kind="edit", chosen=0)),  # neither
        decided("c", Decision(kind="edit", chosen=1)),  # the shadow
        decided("d", APPROVED),  # the champion
        decided("e", Decision(kind="reject")),  # no answer is known
        decided("f", APPROVED),  # the shadow said nothing
        decided("i", Decision(kind="edit", chosen=0)),  # neither, each with its own
        decided("elsewhere", APPROVED),
    ]
    found, beside_another = compare_shadows(shadowed, finals)
    assert found == ShadowComparison(
        release="r-2",
        champion="r-1",
        same=2,
        agreement=wilson_interval(2, 6),
        skipped=1,
        failed=1,
        unsure=wilson_interval(3, 6),
        unsure_champion=wilson_interval(2, 6),
        reviewed=ShadowReviewed(both=1, only_champion=1, only_shadow=1, neither=2),
    )
    assert found.reviewed is not None
    assert found.reviewed.n == 5
    assert beside_another == ShadowComparison(
        release="r-2",
        champion="r-0",
        same=0,
        agreement=None,
        skipped=1,
        failed=0,
        unsure=None,
        unsure_champion=None,
        reviewed=None,
    )


def test_without_a_shadow_there_is_nothing_to_compare() -> None:
    assert compare_shadows([], [decided("a", APPROVED)]) == ()


def fill(store: Store, now: datetime) -> None:
    """Keep a period of 30 requests, of which 20 had a shadow, and one before it."""
    for n in range(60):
        days = 0.5 if n < 30 else 3.0
        waits: dict[str, Any] = {"status": "pending_review"} if n < 3 else {}
        one = entry(f"{n:032x}", time=now - timedelta(days=days), **waits)
        store.requests.add(
            one, item(one.request_id, proposed=2, options=tuple("abcd")) if waits else None
        )
    store.requests.add_shadow_answers(
        [
            *(shadow(f"{n:032x}") for n in range(15)),
            *(other(f"{n:032x}") for n in range(15, 18)),
            silent(f"{18:032x}"),
            silent(f"{19:032x}", "failed"),
        ]
    )
    for n, decision in enumerate((APPROVED, Decision(kind="edit", chosen=0))):
        assert store.reviews.claim("ann", 60, f"{n:032x}") is not None
        store.reviews.decide(f"{n:032x}", "ann", decision)


def test_the_dashboard_shows_it_only_where_there_was_one(tmp_path: Path) -> None:
    with endpoint(tmp_path) as made:
        browser = Browser(made)
        browser.sign_in("review")
        assert "Shadow" not in browser.get("/dashboard")
        fill(made.store, datetime.now(UTC))
        text = browser.get("/dashboard")
    assert (
        "Shadow r-2 chose the same option as the champion r-1 on 15 of 18 : 83.3 % "
        "(95 % interval 60.8–94.2) . Too unsure to answer: shadow 0.0 %, champion 0.0 %. "
        "Skipped 1, failed 1." in text
    )
    assert (
        "Of 2 that reviewers answered, both agreed with the reviewer on 1, only the champion on 0, "
        "only the shadow on 0, neither on 1. Reviewers saw the champion’s answer." in text
    )


def test_the_dashboard_tells_of_a_shadow_that_never_answered(tmp_path: Path) -> None:
    with endpoint(tmp_path) as made:
        made.store.requests.add(entry("a", time=datetime.now(UTC)), None)
        made.store.requests.add_shadow_answers([silent("a")])
        browser = Browser(made)
        browser.sign_in("review")
        text = browser.get("/dashboard")
    assert "r-2 answered no request together with the champion r-1 . Skipped 1, failed 0." in text


def report(medtune: CommandLine, url: str, *options: str) -> str:
    code, out, err = medtune("monitor", "report", "--database", url, "--days", "1", *options)
    assert code == 0, err
    return out


def test_the_report_tells_it_only_where_there_was_one(tmp_path: Path, medtune: CommandLine) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    store = Store.open(url)
    fill(store, datetime.now(UTC))
    said = " ".join(report(medtune, url).split())
    assert (
        "shadow: r-2 answered as the champion r-1 on 15 of 18, 83.3 % (60.8-94.2); "
        "skipped 1, failed 1" in said
    )
    assert "too unsure to answer: shadow 0.0 % (0.0-17.6), champion 0.0 % (0.0-17.6)" in said
    assert (
        "right on 2 that reviewers answered, having seen the champion's: both 1, "
        "only champion 0, only shadow 0, neither 1" in said
    )
    found = medtune.record("monitor", "report", "--database", url, "--days", "1")
    assert [(one["release"], one["same"]) for one in found["shadows"]] == [("r-2", 15)]
    store.close()


@pytest.mark.parametrize("beside", [False, True])
def test_a_report_without_answers_of_a_shadow(
    tmp_path: Path, medtune: CommandLine, beside: bool
) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    store, now = Store.open(url), datetime.now(UTC)
    for name, days in (("a", 0.5), ("b", 3.0)):
        store.requests.add(entry(name, time=now - timedelta(days=days)), None)
    if beside:
        store.requests.add_shadow_answers([silent("a", "failed")])
    said = report(medtune, url)
    told = "shadow: r-2 answered nothing; skipped 0, failed 1"
    assert (told in said) is beside
    assert ("shadow" in said) is beside
    store.close()
