"""How requests and feedback are kept, and for how long, on any database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from tests.unit.serving.store_cases import (
    LATER,
    START,
    Clock,
    OnStore,
    entry,
    put,
    shadow,
    silent,
)

from medtune.core.errors import ConflictError, NotFoundError, StoreError
from medtune.core.schemas.guardrails import GuardVerdict
from medtune.serving.schemas import Decision, Feedback
from medtune.serving.storage import review_queue
from medtune.serving.storage.store import Store

YES = Decision(kind="approve")


class RequestBehaviour(OnStore):
    """Requests, and what askers say of the answers."""

    def test_request_comes_back_as_it_was(self, store: Store) -> None:
        bare = entry(
            "b", caller=None, subject=None, chosen=None, probabilities=None, options=0, reasons=()
        )
        full = entry(
            "a",
            reasons=(
                GuardVerdict(
                    guard="crisis", action="refuse", reason="crisis.self_harm", card="crisis"
                ),
                GuardVerdict(guard="classifier", action="allow", probability=0.1 + 0.2),
            ),
            probabilities=(1 / 3, 1e-300, 0.0, 1.0),
            redacted="β-blocker \0 \u2028 \U0001f489 'quoted' %s :x",
            subject="Gynäkologie\0",
            duration_s=1 / 3,
        )
        for one in (bare, full):
            store.requests.add(one, None)
            assert store.requests.find(one.request_id) == one
        assert store.reviews.find("a") is None
        assert store.requests.find("a\0") is None
        assert store.requests.find("c") is None

    def test_times_are_utc(self, store: Store) -> None:
        there = datetime(2026, 5, 4, 3, 30, tzinfo=timezone(timedelta(hours=-5)))
        store.requests.add(entry("a", time=there), None)
        found = store.requests.find("a")
        assert found is not None
        assert found.time == there
        assert found.time.tzinfo is UTC
        assert list(store.requests.iter_period(there, there + timedelta(microseconds=1))) == [found]

    def test_request_and_item_are_kept_together_or_not_at_all(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put(store, "a")
        with pytest.raises(StoreError, match="refuses"):
            store.requests.add(entry("a"), None)

        def fail(*_: object) -> None:
            raise RuntimeError

        with monkeypatch.context() as patched:
            patched.setattr(review_queue, "add_item", fail)
            with pytest.raises(RuntimeError):
                put(store, "b")
        assert store.requests.find("b") is None
        put(store, "b")
        assert store.reviews.find("b") is not None

    def test_period_holds_its_start_and_not_its_end(self, store: Store) -> None:
        for at in (3, 1, 0, 2):
            store.requests.add(entry(f"r{at}", at), None)
        start = START + timedelta(seconds=1)
        found = store.requests.iter_period(start, START + timedelta(seconds=3))
        assert [one.request_id for one in found] == ["r1", "r2"]
        assert list(store.requests.iter_period(start, start)) == []

    def test_period_that_is_not_read_to_its_end_holds_nobody_up(self, store: Store) -> None:
        for at in range(3):
            store.requests.add(entry(f"r{at}", at), None)
        reading = store.requests.iter_period(START, START + timedelta(days=1))
        next(reading)
        store.requests.add(entry("r9", 9), None)
        assert [one.request_id for one in reading] == ["r1", "r2"]

    def test_what_a_shadow_made_of_a_request_comes_back_with_it(self, store: Store) -> None:
        for at, name in enumerate("abcd"):
            store.requests.add(entry(name, at), None)
        made = [
            silent("d", "failed"),
            shadow("b", probabilities=(1 / 3, 1e-300, 0.0, 1.0), unsure=True),
            silent("a"),
        ]
        store.requests.add_shadow_answers(made)
        whole = [(entry("a", 0), made[2]), (entry("b", 1), made[1]), (entry("d", 3), made[0])]
        assert list(store.requests.iter_shadowed(START, LATER)) == whole
        second = START + timedelta(seconds=1)
        assert (
            list(store.requests.iter_shadowed(second, START + timedelta(seconds=3))) == whole[1:2]
        )

    def test_shadows_are_kept_all_or_none_and_only_of_what_is_kept(self, store: Store) -> None:
        store.requests.add(entry("a"), None)
        store.requests.add(entry("b"), None)
        store.requests.add_shadow_answers([shadow("a")])
        for wrong in ("a", "z"):  # it has one; it is no request
            with pytest.raises(StoreError, match="refuses"):
                store.requests.add_shadow_answers([shadow("b"), shadow(wrong)])
        assert list(store.requests.iter_shadowed(START, LATER)) == [(entry("a"), shadow("a"))]

    def test_counts(self, store: Store, clock: Clock) -> None:
        nothing = store.requests.count()
        assert (nothing.by_status, nothing.waiting, nothing.held, nothing.oldest) == (
            {},
            0,
            0,
            None,
        )
        store.requests.add(entry("x", status="refused"), None)
        store.requests.add(entry("y"), None)
        put(store, "a", "b", "c")
        store.reviews.claim("ann", 60)
        store.reviews.claim("bob", 60)
        store.reviews.decide("a", "ann", YES)
        found = store.requests.count()
        assert found.by_status == {"refused": 1, "answered": 1, "pending_review": 3}
        assert (found.waiting, found.held) == (1, 1)
        assert found.oldest == START + timedelta(seconds=1)
        clock.forward(60)
        assert (store.requests.count().waiting, store.requests.count().held) == (2, 0)

    def test_feedback(self, store: Store) -> None:
        store.requests.add(entry("a"), None)
        first = Feedback(request_id="a", time=START, helpful=True)
        store.requests.set_feedback(first)
        assert store.requests.list_feedback() == [first]
        last = Feedback(request_id="a", time=START, helpful=False, corrected=3)
        store.requests.set_feedback(last)
        assert store.requests.list_feedback() == [last]
        with pytest.raises(NotFoundError, match=r"^no request z"):
            store.requests.set_feedback(Feedback(request_id="z", time=START, helpful=True))
        for corrected in (4, 10**30):
            with pytest.raises(ConflictError, match="request a has 4 options"):
                store.requests.set_feedback(
                    Feedback(request_id="a", time=START, corrected=corrected)
                )
        assert store.requests.list_feedback() == [last]

    def test_purge_takes_what_is_old_decided_or_not(self, store: Store) -> None:
        put(store, "a", "b", "c", wants_second=True)
        for reviewer in ("ann", "bob"):
            store.reviews.claim(reviewer, 60, "a")
            store.reviews.decide("a", reviewer, YES)
        store.requests.set_feedback(Feedback(request_id="b", time=START, helpful=True))
        store.requests.add_shadow_answers([shadow("a"), silent("b"), shadow("c")])
        lines = store.audit.verify_lines()
        assert store.requests.delete_before(START + timedelta(seconds=2)) == 2
        assert [store.requests.find(gone) for gone in "ab"] == [None, None]
        assert store.reviews.find("a") is None
        assert (
            store.reviews.list_opinion_pairs(),
            store.reviews.list_decided(),
            store.requests.list_feedback(),
        ) == (
            [],
            [],
            [],
        )
        assert [i.request_id for i in store.reviews.list_waiting(10)] == ["c"]
        assert [one.request_id for _, one in store.requests.iter_shadowed(START, LATER)] == ["c"]
        assert store.audit.verify_lines() == lines + 1
        (line,) = store.audit.list_lines(lines)
        assert (line.actor, line.action) == ("retention", "retention.purge")
        before = "2026-05-04T12:00:02.123456+00:00"
        assert line.detail == {"before": before, "requests": 2, "undecided": 1}
        assert store.requests.delete_before(START) == 0

    def test_check(self, store: Store) -> None:
        store.check_writable()
        assert store.audit.verify_lines() == 0
