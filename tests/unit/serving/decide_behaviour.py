"""What reviewers say, and what holds, on any database."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from tests.unit.serving.store_cases import (
    START,
    Clock,
    OnStore,
    entry,
    item,
    put,
)

from medtune.core.errors import ConflictError, NotFoundError
from medtune.serving.schemas import Decision
from medtune.serving.storage.store import Store

YES = Decision(kind="approve")
NO = Decision(kind="reject", note="not for exams")
OTHER = Decision(kind="edit", chosen=1)
LEASE = 60.0


class DecideBehaviour(OnStore):
    """One opinion, two, and three."""

    def test_one_opinion_decides(self, store: Store, clock: Clock) -> None:
        put(store, "a")
        store.reviews.claim("ann", LEASE)
        clock.forward(5)
        found = store.reviews.decide("a", "ann", OTHER)
        assert found.item == item("a", state="decided")
        (opinion,) = found.opinions
        assert (opinion.reviewer, opinion.decision, opinion.second) == ("ann", OTHER, False)
        assert opinion.time == START + timedelta(seconds=5)
        assert found.final == OTHER
        assert store.reviews.find("a") == found
        assert store.reviews.list_decided() == [found]
        assert store.reviews.list_waiting(10) == []
        assert store.reviews.claim("bob", LEASE) is None

    def test_only_the_holder_decides(self, store: Store) -> None:
        put(store, "a")
        with pytest.raises(ConflictError, match="not held by ann"):
            store.reviews.decide("a", "ann", YES)
        store.reviews.claim("ann", LEASE)
        with pytest.raises(ConflictError, match="held by ann until 12:01 UTC"):
            store.reviews.decide("a", "bob", YES)
        with pytest.raises(NotFoundError, match=r"^no item z is under review"):
            store.reviews.decide("z", "ann", YES)

    def test_the_same_again_changes_nothing(self, store: Store, clock: Clock) -> None:
        put(store, "a")
        store.reviews.claim("ann", LEASE)
        found = store.reviews.decide("a", "ann", NO)
        lines = store.audit.verify_lines()
        clock.forward(10 * LEASE)
        assert store.reviews.decide("a", "ann", NO) == found
        assert store.audit.verify_lines() == lines
        with pytest.raises(ConflictError, match="another opinion"):
            store.reviews.decide("a", "ann", YES)
        with pytest.raises(ConflictError, match="item a is decided"):
            store.reviews.decide("a", "bob", NO)

    def test_what_is_not_there_cannot_be_chosen(self, store: Store) -> None:
        put(store, "a", proposed=None, probabilities=None)
        store.reviews.claim("ann", LEASE)
        for chosen in (3, 10**30):
            with pytest.raises(ConflictError, match="item a has no option"):
                store.reviews.decide("a", "ann", Decision(kind="edit", chosen=chosen))
        with pytest.raises(ConflictError, match="no proposal"):
            store.reviews.decide("a", "ann", YES)
        last = Decision(kind="edit", chosen=2, note="zero \0 and \u2028 stay")
        assert store.reviews.decide("a", "ann", last).final == last

    def test_two_agree(self, store: Store) -> None:
        put(store, "a", wants_second=True)
        store.reviews.claim("ann", LEASE)
        first = store.reviews.decide("a", "ann", NO)
        assert (first.item.state, first.final) == ("waiting", None)
        assert store.reviews.claim("ann", LEASE) is None
        assert store.reviews.list_opinion_pairs() == []
        held = store.reviews.claim("bob", LEASE)
        assert held is not None
        assert held.request_id == "a"
        same = Decision(kind="reject", note="in other words")
        second = store.reviews.decide("a", "bob", same)
        assert (second.item.state, second.final) == ("decided", same)
        assert [(o.reviewer, o.second) for o in second.opinions] == [("ann", False), ("bob", True)]
        assert store.reviews.list_opinion_pairs() == [second.opinions]

    @pytest.mark.parametrize("other", [NO, Decision(kind="edit", chosen=2)])
    def test_two_differ_and_a_third_settles(self, store: Store, other: Decision) -> None:
        put(store, "a", wants_second=True)
        store.reviews.claim("ann", LEASE)
        store.reviews.decide("a", "ann", OTHER)
        store.reviews.claim("bob", LEASE)
        found = store.reviews.decide("a", "bob", other)
        assert (found.item.state, found.final) == ("contested", None)
        assert [i.state for i in store.reviews.list_waiting(10)] == ["contested"]
        assert store.reviews.claim("ann", LEASE) is None
        assert store.reviews.claim("bob", LEASE) is None
        held = store.reviews.claim("cy", LEASE)
        assert held is not None
        store.reviews.release("a", "cy")
        assert [i.state for i in store.reviews.list_waiting(10)] == ["contested"]
        store.reviews.claim("cy", LEASE)
        settled = store.reviews.decide("a", "cy", YES)
        assert (settled.item.state, settled.final) == ("decided", YES)
        assert [o.second for o in settled.opinions] == [False, True, False]
        ((first, second),) = store.reviews.list_opinion_pairs()
        assert (first.reviewer, second.reviewer) == ("ann", "bob")
        assert store.reviews.decide("a", "ann", OTHER) == settled

    def test_second_is_asked_before_while_and_after(self, store: Store) -> None:
        put(store, "a", "b", "c")
        assert store.reviews.request_second_opinion("a", "chief").wants_second
        store.reviews.claim("ann", LEASE, "b")
        assert store.reviews.request_second_opinion("b", "chief").state == "claimed"
        store.reviews.claim("ann", LEASE, "c")
        store.reviews.decide("c", "ann", YES)
        assert store.reviews.request_second_opinion("c", "chief").state == "waiting"
        found = store.reviews.find("c")
        assert found is not None
        assert found.final is None
        lines = store.audit.verify_lines()
        store.reviews.request_second_opinion("c", "chief")
        assert store.audit.verify_lines() == lines
        assert store.reviews.decide("b", "ann", YES).item.state == "waiting"
        for request_id in ("b", "c"):
            store.reviews.claim("bob", LEASE, request_id)
            assert store.reviews.decide(request_id, "bob", YES).final == YES
            with pytest.raises(ConflictError, match="has 2 opinions"):
                store.reviews.request_second_opinion(request_id, "chief")
        with pytest.raises(NotFoundError, match=r"^no item z is under review"):
            store.reviews.request_second_opinion("z", "chief")

    def test_finals_and_pairs_go_by_age(self, store: Store) -> None:
        put(store, "b", "a", "c", wants_second=True)
        store.requests.add(entry("d", 9, status="pending_review"), item("d", 9))
        for reviewer in ("ann", "bob"):
            while (held := store.reviews.claim(reviewer, LEASE)) is not None:
                store.reviews.decide(held.request_id, reviewer, YES)
        assert [r.item.request_id for r in store.reviews.list_decided()] == ["b", "a", "c", "d"]
        assert [first.request_id for first, _ in store.reviews.list_opinion_pairs()] == [
            "b",
            "a",
            "c",
        ]

    def test_what_threads_decide_is_whole(self, store: Store) -> None:
        put(store, *(f"r{number}" for number in range(8)), wants_second=True)

        def work(reviewer: str, decision: Decision) -> None:
            while (held := store.reviews.claim(reviewer, LEASE)) is not None:
                store.reviews.decide(held.request_id, reviewer, decision)

        people = {"ann": YES, "bob": NO, "cy": NO, "di": YES}
        threads = [threading.Thread(target=work, args=person) for person in people.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for name, decision in people.items():
            work(name, decision)
        found = store.reviews.list_decided()
        assert len(found) == 8
        for one in found:
            given = [people[opinion.reviewer] for opinion in one.opinions]
            assert len({opinion.reviewer for opinion in one.opinions}) == len(given)
            assert len(given) == (2 if given[0] == given[1] else 3)
            assert one.final == given[-1]
