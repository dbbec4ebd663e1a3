"""Who holds what is under review, on any database."""

from __future__ import annotations

import signal
import threading
from datetime import timedelta

import pytest
from tests.unit.serving.store_cases import (
    START,
    Clock,
    OnStore,
    begin_child,
    finish,
    item,
    put,
)

from medtune.core.errors import ConflictError, NotFoundError
from medtune.serving.schemas import Decision
from medtune.serving.storage.store import Store

YES = Decision(kind="approve")
LEASE = 60.0


class ClaimBehaviour(OnStore):
    """Claims, leases, and what is acknowledged."""

    def test_waiting_are_listed_by_age_in_pages(self, store: Store) -> None:
        put(store, "c", "a", "b")
        assert [i.request_id for i in store.reviews.list_waiting(2)] == ["c", "a"]
        assert [i.request_id for i in store.reviews.list_waiting(2, 2)] == ["b"]
        assert store.reviews.list_waiting(10)[0] == item("c")

    def test_the_oldest_is_claimed_and_no_longer_waits(self, store: Store, clock: Clock) -> None:
        put(store, "a", "b")
        held = store.reviews.claim("ann", LEASE)
        until = START + timedelta(seconds=LEASE)
        assert held == item("a", state="claimed", reviewer="ann", lease_until=until)
        assert [i.request_id for i in store.reviews.list_waiting(10)] == ["b"]
        found = store.reviews.find("a")
        assert found is not None
        assert (found.item, found.opinions, found.final) == (held, (), None)

    def test_each_gets_another_and_then_none(self, store: Store) -> None:
        put(store, "a", "b")
        got = [store.reviews.claim(name, LEASE) for name in ("ann", "bob", "cy")]
        assert [i and i.request_id for i in got] == ["a", "b", None]

    def test_lease_that_ran_out_is_anybodys(self, store: Store, clock: Clock) -> None:
        put(store, "a")
        store.reviews.claim("ann", LEASE)
        clock.forward(LEASE - 0.001)
        assert store.reviews.claim("bob", LEASE) is None
        clock.forward(0.001)
        assert store.reviews.list_waiting(10) == [item("a")]
        with pytest.raises(ConflictError, match="not held by ann, or no longer"):
            store.reviews.decide("a", "ann", YES)
        held = store.reviews.claim("bob", LEASE)
        assert held is not None
        assert held.reviewer == "bob"
        with pytest.raises(ConflictError, match="held by bob until 12:02 UTC"):
            store.reviews.decide("a", "ann", YES)

    def test_certain_one(self, store: Store, clock: Clock) -> None:
        put(store, "a", "b")
        held = store.reviews.claim("ann", LEASE, "b")
        assert held is not None
        assert held.request_id == "b"
        clock.forward(30)
        longer = store.reviews.claim("ann", LEASE, "b")
        assert longer is not None
        assert longer.lease_until == START + timedelta(seconds=30 + LEASE)
        with pytest.raises(ConflictError, match="held by ann"):
            store.reviews.claim("bob", LEASE, "b")
        store.reviews.decide("b", "ann", YES)
        with pytest.raises(ConflictError, match="item b is decided"):
            store.reviews.claim("bob", LEASE, "b")
        for unknown in ("z", "z\0", ""):
            with pytest.raises(NotFoundError, match=r"^no item"):
                store.reviews.claim("bob", LEASE, unknown)

    def test_certain_one_is_not_for_who_gave_an_opinion(self, store: Store) -> None:
        put(store, "a", wants_second=True)
        store.reviews.claim("ann", LEASE)
        store.reviews.decide("a", "ann", YES)
        assert store.reviews.claim("ann", LEASE) is None
        with pytest.raises(ConflictError, match="ann gave an opinion on item a"):
            store.reviews.claim("ann", LEASE, "a")

    def test_one_reviewer_holds_five_at_most(self, store: Store, clock: Clock) -> None:
        put(store, *"abcdefg")
        for _ in range(5):
            store.reviews.claim("ann", LEASE)
        assert [i.request_id for i in store.reviews.list_claimed("ann")] == list("abcde")
        for which in (None, "f"):
            with pytest.raises(ConflictError, match="ann holds 5 items"):
                store.reviews.claim("ann", LEASE, which)
        assert store.reviews.claim("ann", LEASE, "b") is not None  # one that she holds, for longer
        held = store.reviews.claim("bob", LEASE)
        assert held is not None
        assert held.request_id == "f"
        store.reviews.decide("a", "ann", YES)
        held = store.reviews.claim("ann", LEASE)
        assert held is not None
        assert held.request_id == "g"
        clock.forward(LEASE)
        assert store.reviews.list_claimed("ann") == []

    def test_release(self, store: Store, clock: Clock) -> None:
        put(store, "a")
        store.reviews.claim("ann", LEASE)
        with pytest.raises(ConflictError, match="held by ann"):
            store.reviews.release("a", "bob")
        store.reviews.release("a", "ann")
        assert store.reviews.list_waiting(10) == [item("a")]
        with pytest.raises(ConflictError, match="not held by ann"):
            store.reviews.release("a", "ann")
        with pytest.raises(NotFoundError, match=r"^no item z is under review"):
            store.reviews.release("z", "ann")
        store.reviews.claim("ann", LEASE)
        clock.forward(LEASE)
        store.reviews.release("a", "ann")  # too late, but nobody is harmed by it

    def test_threads_never_get_the_same(self, store: Store) -> None:
        ids = [f"r{number:02}" for number in range(24)]
        put(store, *ids)
        got: list[str] = []
        ready = threading.Barrier(4)

        def take(reviewer: str) -> None:
            ready.wait()
            while (held := store.reviews.claim(f"{reviewer}-{len(got)}", LEASE)) is not None:
                got.append(held.request_id)

        threads = [threading.Thread(target=take, args=(f"p{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(got) == ids

    def test_processes_never_get_the_same(self, store: Store, store_url: str) -> None:
        ids = [f"r{number:02}" for number in range(24)]
        put(store, *ids)
        children = [begin_child(store_url, "work", name) for name in ("ann", "bob")]
        done = [finish(child) for child in children]
        assert sorted(done[0] + done[1]) == ids
        decided = store.reviews.list_decided()
        assert {r.item.request_id: r.opinions[0].reviewer for r in decided} == {
            request_id: name for name, got in zip(("ann", "bob"), done, strict=True)
            for request_id in got
        }  # fmt: skip
        assert store.audit.verify_lines() == 3 * len(ids)

    def test_kill_loses_nothing_acknowledged(self, store: Store, store_url: str) -> None:
        ids = [f"r{number:03}" for number in range(80)]
        put(store, *ids)
        child = begin_child(store_url, "work", "ann")
        assert child.stdout is not None
        told = [child.stdout.readline().strip() for _ in range(15)]
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
        told += rest.split()
        decided = {found.item.request_id for found in store.reviews.list_decided()}
        assert len(told) >= 15
        assert set(told) <= decided
        assert len(decided) <= len(told) + 1  # one may be written and not yet told
        assert store.audit.verify_lines() >= len(ids) + 2 * len(told)
