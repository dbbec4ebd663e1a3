"""The review queue: claims, decisions and second opinions.

An item gets up to three opinions. The second is given without seeing the first; if the two differ,
the third decides. A claim is a lease: when it expires, the item waits again without any clean-up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    exists,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)

from medtune.core.errors import ConflictError, NotFoundError
from medtune.serving.schemas import (
    ENDPOINT,
    AnswerReviewItem,
    Decision,
    Reviewed,
    ReviewerDecision,
    ReviewState,
)
from medtune.serving.storage.audit_log import append_audit_line
from medtune.serving.storage.database import AdvisoryLock, acquire_lock
from medtune.serving.storage.tables import opinions, reviews
from medtune.serving.storage.transactions import StorePart

MAX_CLAIMED = 5
"""Most items that one reviewer may hold at once."""
OLDEST_FIRST = (reviews.c.time, reviews.c.request_id)
"""The oldest first, with a fixed order among items of the same time."""
_UNDECIDED = reviews.c.state.in_(("waiting", "contested"))


class ReviewQueue(StorePart):
    """The items that reviewers decide on, and their opinions."""

    def find(self, request_id: str) -> Reviewed | None:
        """Return an item with its opinions and decision; None if there is none.

        It must not be shown to whoever may still give a second opinion.
        """
        with self._reading() as connection:
            found = self._list_reviewed(connection, reviews.c.request_id == request_id)
            return found[0] if found else None

    def get(self, request_id: str) -> Reviewed:
        """Return an item like `find`.

        Raises:
            NotFoundError: There is none.
        """
        found = self.find(request_id)
        if found is None:
            raise _missing_item(request_id)
        return found

    def list_waiting(self, limit: int, offset: int = 0) -> list[AnswerReviewItem]:
        """List undecided items without a valid lease, the oldest first."""
        now = self._now()
        query = select(reviews).where(_is_unclaimed(now)).order_by(*OLDEST_FIRST)
        with self._reading() as connection:
            rows = connection.execute(query.limit(limit).offset(offset))
            return [_build_item(row, now) for row in rows]

    def list_claimed(self, reviewer: str) -> list[AnswerReviewItem]:
        """List the undecided items that a reviewer has claimed, the oldest first."""
        with self._reading() as connection:
            return _list_claimed(connection, self._now(), reviewer)

    def list_decided(self) -> list[Reviewed]:
        """List the decided items, the oldest first."""
        with self._reading() as connection:
            return self._list_reviewed(connection, reviews.c.state == "decided")

    def list_opinion_pairs(self) -> list[tuple[ReviewerDecision, ReviewerDecision]]:
        """List the first two opinions of every item that has two, for Cohen's kappa."""
        twice = reviews.c.request_id.in_(
            select(opinions.c.request_id).where(opinions.c.number == 2)
        )
        with self._reading() as connection:
            found = _list_opinions(connection, twice)
        groups = groupby(found, key=lambda opinion: opinion.request_id)
        return [(next(said), next(said)) for _, said in groups]

    def claim(
        self, reviewer: str, lease_s: float, request_id: str | None = None
    ) -> AnswerReviewItem | None:
        """Claim an item for a reviewer: the oldest that waits, or a given one.

        Nobody else can claim it meanwhile, and no reviewer gets an item that they gave an opinion
        on. Claiming one's own item again extends the lease.

        Args:
            reviewer: Name of the reviewer.
            lease_s: Seconds until the lease expires.
            request_id: Id of a given item; None for the oldest.

        Returns:
            The item; None if no id is given and no item waits.

        Raises:
            NotFoundError: The given item does not exist.
            ConflictError: It is decided, is claimed by another or has this reviewer's opinion, or
                the reviewer holds the most items allowed.
        """
        with self._writing() as connection:
            now = self._now()
            acquire_lock(connection, AdvisoryLock.CLAIM)
            row = _find_claimable(connection, now, reviewer, request_id)
            if row is None:
                return None
            until = now + timedelta(seconds=lease_s)
            _update_item(connection, row.request_id, reviewer=reviewer, lease_until=until)
            detail = {"lease_s": float(lease_s)}
            append_audit_line(connection, now, reviewer, "review.claim", row.request_id, detail)
            return _build_item(row, now).model_copy(
                update={"state": "claimed", "reviewer": reviewer, "lease_until": until}
            )

    def release(self, request_id: str, reviewer: str) -> None:
        """Release a reviewer's item; its lease may have expired.

        Raises:
            NotFoundError: It does not exist.
            ConflictError: It is not this reviewer's.
        """
        with self._writing() as connection:
            now, row = self._now(), _lock_item(connection, request_id)
            if row.reviewer != reviewer:
                raise _lease_error(row, now, reviewer)
            _update_item(connection, request_id, reviewer=None, lease_until=None)
            append_audit_line(connection, now, reviewer, "review.release", request_id)

    def decide(self, request_id: str, reviewer: str, decision: Decision) -> Reviewed:
        """Record a reviewer's opinion; repeating the same one changes nothing.

        The first opinion decides unless two are required; the second decides if it has the same
        kind and option; otherwise the third does.

        Raises:
            NotFoundError: The item does not exist.
            ConflictError: It is not claimed by this reviewer, the reviewer gave another opinion
                before, or the decision is invalid for it.
        """
        this = reviews.c.request_id == request_id
        with self._writing() as connection:
            now, row = self._now(), _lock_item(connection, request_id)
            given = _list_opinions(connection, this)
            before = next((o.decision for o in given if o.reviewer == reviewer), None)
            if before is None:
                _require_decidable(row, now, reviewer, decision)
                number = len(given) + 1
                connection.execute(
                    insert(opinions).values(
                        request_id=request_id,
                        number=number,
                        reviewer=reviewer,
                        time=now,
                        **decision.model_dump(),
                    )
                )
                state = _next_state([*(o.decision for o in given), decision], row.wants_second)
                _update_item(connection, request_id, state=state, reviewer=None, lease_until=None)
                # Without the note: the log is kept for longer than texts are.
                detail = {
                    "kind": decision.kind,
                    "chosen": decision.chosen,
                    "number": number,
                    "state": state,
                }
                append_audit_line(connection, now, reviewer, "review.decide", request_id, detail)
            elif before != decision:
                raise ConflictError(
                    f"{reviewer} gave another opinion on item {request_id} before",
                    expected="one opinion of each reviewer",
                    fix="ask for a second opinion",
                )
            return self._list_reviewed(connection, this)[0]

    def request_second_opinion(self, request_id: str, actor: str) -> AnswerReviewItem:
        """Require a second opinion on an item; a decided one waits again.

        Raises:
            NotFoundError: It does not exist.
            ConflictError: It has two opinions already.
        """
        this = reviews.c.request_id == request_id
        with self._writing() as connection:
            row, given = _lock_item(connection, request_id), _list_opinions(connection, this)
            if len(given) > 1:
                raise ConflictError(
                    f"item {request_id} has {len(given)} opinions", expected="fewer than two"
                )
            if not row.wants_second:
                state = _next_state([o.decision for o in given], wants_second=True)
                _update_item(connection, request_id, wants_second=True, state=state)
                append_audit_line(connection, self._now(), actor, "review.second", request_id)
            return self._list_reviewed(connection, this)[0].item

    def _list_reviewed(self, connection: Connection, which: ColumnElement[bool]) -> list[Reviewed]:
        """List items with their opinions and decisions, the oldest first."""
        now, said = self._now(), defaultdict[str, list[ReviewerDecision]](list)
        for opinion in _list_opinions(connection, which):
            said[opinion.request_id].append(opinion)
        return [
            Reviewed(
                item=_build_item(row, now),
                opinions=tuple(said[row.request_id]),
                # The last opinion decides: it agrees with the first, or it is the tie-breaker.
                final=said[row.request_id][-1].decision if row.state == "decided" else None,
            )
            for row in connection.execute(select(reviews).where(which).order_by(*OLDEST_FIRST))
        ]


def add_item(connection: Connection, now: datetime, new: AnswerReviewItem) -> None:
    """Insert a new item, in the transaction of its request."""
    assert new.state == "waiting", "a new item is waiting"
    connection.execute(insert(reviews).values(**new.model_dump()))
    append_audit_line(
        connection, now, ENDPOINT, "review.wait", new.request_id, {"topic": new.topic}
    )


def queue_depth(connection: Connection, now: datetime) -> tuple[int, int, datetime | None]:
    """Count the waiting and the claimed items; return the time of the oldest one as well."""
    count = select(func.count(), func.min(reviews.c.time)).select_from(reviews)
    waits, _ = connection.execute(count.where(_is_unclaimed(now))).one()
    undecided, oldest = connection.execute(count.where(_UNDECIDED)).one()
    return waits, undecided - waits, oldest


def _is_unclaimed(now: datetime) -> ColumnElement[bool]:
    """Return the condition for undecided items without a valid lease."""
    return and_(_UNDECIDED, or_(reviews.c.lease_until.is_(None), reviews.c.lease_until <= now))


def _has_valid_lease(row: Row[Any], now: datetime) -> bool:
    return row.lease_until is not None and now < row.lease_until


def _build_item(row: Row[Any], now: datetime) -> AnswerReviewItem:
    """Build a review item from a row. The state is "claimed" while the lease is valid."""
    held = (
        {"state": "claimed"}
        if _has_valid_lease(row, now)
        else {"reviewer": None, "lease_until": None}
    )
    return AnswerReviewItem(**(row._asdict() | held))


def _list_claimed(connection: Connection, now: datetime, reviewer: str) -> list[AnswerReviewItem]:
    mine = and_(_UNDECIDED, reviews.c.reviewer == reviewer, reviews.c.lease_until > now)
    query = select(reviews).where(mine).order_by(*OLDEST_FIRST)
    return [_build_item(row, now) for row in connection.execute(query)]


def _list_opinions(connection: Connection, which: ColumnElement[bool]) -> list[ReviewerDecision]:
    """List the opinions on some items, by age of the item, then in their order."""
    query = select(opinions).join(reviews).where(which).order_by(*OLDEST_FIRST, opinions.c.number)
    return [
        ReviewerDecision(
            request_id=row.request_id,
            reviewer=row.reviewer,
            time=row.time,
            decision=Decision(kind=row.kind, chosen=row.chosen, note=row.note),
            second=row.number == 2,
        )
        for row in connection.execute(query)
    ]


def _find_claimable(
    connection: Connection, now: datetime, reviewer: str, request_id: str | None
) -> Row[Any] | None:
    """Lock the item that a reviewer claims; None if no id is given and no item waits."""
    holds = [one.request_id for one in _list_claimed(connection, now, reviewer)]
    if len(holds) >= MAX_CLAIMED and request_id not in holds:
        raise ConflictError(
            f"{reviewer} holds {len(holds)} items",
            expected=f"at most {MAX_CLAIMED} at once",
            fix="decide one of them, or give it back",
        )
    if request_id is None:
        spoken = exists().where(
            opinions.c.request_id == reviews.c.request_id, opinions.c.reviewer == reviewer
        )
        query = select(reviews).where(_is_unclaimed(now), not_(spoken)).order_by(*OLDEST_FIRST)
        # Concurrent claims get different items without waiting for each other.
        return connection.execute(query.limit(1).with_for_update(skip_locked=True)).first()
    row = _lock_item(connection, request_id)
    _require_undecided(row)
    given = _list_opinions(connection, reviews.c.request_id == request_id)
    if any(opinion.reviewer == reviewer for opinion in given):
        raise ConflictError(
            f"{reviewer} gave an opinion on item {row.request_id} before",
            expected="another reviewer for the next one",
        )
    if _has_valid_lease(row, now) and row.reviewer != reviewer:
        raise _lease_error(row, now, reviewer)
    return row


def _require_decidable(row: Row[Any], now: datetime, reviewer: str, decision: Decision) -> None:
    _require_undecided(row)
    if row.reviewer != reviewer or not _has_valid_lease(row, now):
        raise _lease_error(row, now, reviewer)
    if decision.kind == "approve" and row.proposed is None:
        raise ConflictError(
            f"item {row.request_id} has no proposal that could be approved",
            expected="an edit, or a rejection",
        )
    if decision.chosen is not None and decision.chosen >= len(row.options):
        raise ConflictError(
            f"item {row.request_id} has no option {decision.chosen}",
            expected=f"one of 0 to {len(row.options) - 1}",
        )


def _require_undecided(row: Row[Any]) -> None:
    if row.state == "decided":
        raise ConflictError(
            f"item {row.request_id} is decided",
            expected="one that waits",
            fix="ask for a second opinion",
        )


def _lease_error(row: Row[Any], now: datetime, reviewer: str) -> ConflictError:
    if _has_valid_lease(row, now):
        found = f"item {row.request_id} is held by {row.reviewer} until {row.lease_until:%H:%M} UTC"
    else:
        found = f"item {row.request_id} is not held by {reviewer}, or no longer"
    return ConflictError(found, expected="the one who holds it", fix="claim it first")


def _next_state(decisions: Sequence[Decision], wants_second: bool) -> ReviewState:
    """Return the state of an item from its decisions, and whether two are required."""
    match [(d.kind, d.chosen) for d in decisions]:
        case []:
            return "waiting"
        case [_]:
            return "waiting" if wants_second else "decided"
        case [first, second]:
            return "decided" if first == second else "contested"
    return "decided"


def _lock_item(connection: Connection, request_id: str) -> Row[Any]:
    """Read an item, and lock its row for the transaction."""
    query = select(reviews).where(reviews.c.request_id == request_id).with_for_update()
    row = connection.execute(query).first()
    if row is None:
        raise _missing_item(request_id)
    return row


def _missing_item(request_id: str) -> NotFoundError:
    return NotFoundError(f"no item {request_id} is under review", expected="a stored item")


def _update_item(connection: Connection, request_id: str, **values: object) -> None:
    connection.execute(update(reviews).where(reviews.c.request_id == request_id).values(**values))
