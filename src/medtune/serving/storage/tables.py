"""The tables of the store; `migrations` makes them, a test holds the two together.

Columns are named like the fields of the records in `serving/schemas.py`, so that a row is a record.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


def plain(text: str) -> str:
    """Put U+FFFD for every NUL: PostgreSQL's text cannot hold one."""
    return text.replace("\0", "\ufffd")


class Name(TypeDecorator[str]):
    """What is looked for: a name, an id, a code.  A NUL in it is not kept, and finds nothing."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Make a value the driver's."""
        return None if value is None else plain(value)


class Time(TypeDecorator[datetime]):
    """A moment: aware of its zone on this side, UTC on the other; SQLite knows no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Make a moment the driver's."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a time without a zone is no moment"
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Make a moment of what the driver gives."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


Value = JSON(none_as_null=True)
"""Lists and objects, and all free text: in JSON a NUL is written out, so any text can be kept."""

metadata = MetaData()

entries = Table(
    "entries",
    metadata,
    Column("request_id", Name, primary_key=True),
    Column("time", Time, nullable=False),
    Column("caller", Name),
    Column("text_hmac", Name, nullable=False),
    Column("length", Integer, nullable=False),
    Column("options", Integer, nullable=False),
    Column("subject", Value),
    Column("status", Name, nullable=False),
    Column("reasons", Value, nullable=False),
    Column("chosen", Integer),
    Column("probabilities", Value),
    Column("release", Name, nullable=False),
    Column("duration_s", Double, nullable=False),
    Column("redacted", Value),
    Index("entries_by_time", "time"),
)


def _of_entry() -> Column[str]:
    """Tie a row to its request: it goes when the request goes."""
    return Column(
        "request_id",
        Name,
        ForeignKey("entries.request_id", ondelete="CASCADE"),
        primary_key=True,
    )


reviews = Table(
    "reviews",
    metadata,
    _of_entry(),
    Column("time", Time, nullable=False),
    Column("stem", Value, nullable=False),
    Column("options", Value, nullable=False),
    Column("subject", Value),
    Column("topic", Name, nullable=False),
    Column("proposed", Integer),
    Column("probabilities", Value),
    Column("release", Name, nullable=False),
    # Never "claimed": who holds an item is told by its lease, so an expired one needs no sweeper.
    Column("state", Name, nullable=False),
    Column("reviewer", Name),
    Column("lease_until", Time),
    Column("wants_second", Boolean, nullable=False),
    Index("reviews_by_state", "state", "time"),
)

opinions = Table(
    "opinions",
    metadata,
    Column(
        "request_id", Name, ForeignKey("reviews.request_id", ondelete="CASCADE"), primary_key=True
    ),
    # 1 to 3, in the order in which they were given.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("reviewer", Name, nullable=False),
    Column("time", Time, nullable=False),
    Column("kind", Name, nullable=False),
    Column("chosen", Integer),
    Column("note", Value, nullable=False),
    UniqueConstraint("request_id", "reviewer", name="one_opinion_each"),
)

feedback = Table(
    "feedback",
    metadata,
    _of_entry(),
    Column("time", Time, nullable=False),
    Column("helpful", Boolean),
    Column("corrected", Integer),
)

shadows = Table(
    "shadows",
    metadata,
    _of_entry(),
    Column("release", Name, nullable=False),
    Column("outcome", Name, nullable=False),
    Column("chosen", Integer),
    Column("probabilities", Value),
    Column("unsure", Boolean),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("time", Time, nullable=False),
    Column("actor", Name, nullable=False),
    Column("action", Name, nullable=False),
    Column("subject", Name, nullable=False),
    Column("detail", Value, nullable=False),
    Column("before", Name, nullable=False),
    Column("hash", Name, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("name", Name, primary_key=True),
    Column("role", Name, nullable=False),
    Column("per_minute", Integer, nullable=False),
    Column("created", Time, nullable=False),
    Column("revoked", Time),
    Column("digest", Name, nullable=False),
    UniqueConstraint("digest", name="one_key_each"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id_hash", Name, primary_key=True),
    # Of the key by which it was begun: a session lasts no longer than its key.
    Column("digest", Name, nullable=False),
    Column("ends", Time, nullable=False),
)

probe = Table(
    "probe",
    metadata,
    # One row, written whenever it is asked whether the store can be written.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("time", Time),
    Column("padding", Text),
    # The last time that retention trusted (`serving.monitoring.retention`).
    Column("seen", Time),
)
