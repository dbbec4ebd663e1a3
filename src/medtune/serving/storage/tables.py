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


class NameColumn(TypeDecorator[str]):
    """What is looked for: a name, an id, a code.  A NUL in it is not kept, and finds nothing."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Make a value the driver's."""
        return None if value is None else plain(value)


class TimeColumn(TypeDecorator[datetime]):
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
    Column("request_id", NameColumn, primary_key=True),
    Column("time", TimeColumn, nullable=False),
    Column("caller", NameColumn),
    Column("text_hmac", NameColumn, nullable=False),
    Column("length", Integer, nullable=False),
    Column("options", Integer, nullable=False),
    Column("subject", Value),
    Column("status", NameColumn, nullable=False),
    Column("reasons", Value, nullable=False),
    Column("chosen", Integer),
    Column("probabilities", Value),
    Column("release", NameColumn, nullable=False),
    Column("duration_s", Double, nullable=False),
    Column("redacted", Value),
    Index("entries_by_time", "time"),
)


def _of_entry() -> Column[str]:
    """Tie a row to its request: it goes when the request goes."""
    return Column(
        "request_id",
        NameColumn,
        ForeignKey("entries.request_id", ondelete="CASCADE"),
        primary_key=True,
    )


reviews = Table(
    "reviews",
    metadata,
    _of_entry(),
    Column("time", TimeColumn, nullable=False),
    Column("stem", Value, nullable=False),
    Column("options", Value, nullable=False),
    Column("subject", Value),
    Column("topic", NameColumn, nullable=False),
    Column("proposed", Integer),
    Column("probabilities", Value),
    Column("release", NameColumn, nullable=False),
    # Never "claimed": who holds an item is told by its lease, so an expired one needs no sweeper.
    Column("state", NameColumn, nullable=False),
    Column("reviewer", NameColumn),
    Column("lease_until", TimeColumn),
    Column("wants_second", Boolean, nullable=False),
    Index("reviews_by_state", "state", "time"),
)

opinions = Table(
    "opinions",
    metadata,
    Column(
        "request_id",
        NameColumn,
        ForeignKey("reviews.request_id", ondelete="CASCADE"),
        primary_key=True,
    ),
    # 1 to 3, in the order in which they were given.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("reviewer", NameColumn, nullable=False),
    Column("time", TimeColumn, nullable=False),
    Column("kind", NameColumn, nullable=False),
    Column("chosen", Integer),
    Column("note", Value, nullable=False),
    UniqueConstraint("request_id", "reviewer", name="one_opinion_each"),
)

feedback = Table(
    "feedback",
    metadata,
    _of_entry(),
    Column("time", TimeColumn, nullable=False),
    Column("helpful", Boolean),
    Column("corrected", Integer),
)

shadows = Table(
    "shadows",
    metadata,
    _of_entry(),
    Column("release", NameColumn, nullable=False),
    Column("outcome", NameColumn, nullable=False),
    Column("chosen", Integer),
    Column("probabilities", Value),
    Column("unsure", Boolean),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("time", TimeColumn, nullable=False),
    Column("actor", NameColumn, nullable=False),
    Column("action", NameColumn, nullable=False),
    Column("subject", NameColumn, nullable=False),
    Column("detail", Value, nullable=False),
    Column("before", NameColumn, nullable=False),
    Column("hash", NameColumn, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("name", NameColumn, primary_key=True),
    Column("role", NameColumn, nullable=False),
    Column("per_minute", Integer, nullable=False),
    Column("created", TimeColumn, nullable=False),
    Column("revoked", TimeColumn),
    Column("digest", NameColumn, nullable=False),
    UniqueConstraint("digest", name="one_key_each"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id_hash", NameColumn, primary_key=True),
    # Of the key by which it was begun: a session lasts no longer than its key.
    Column("digest", NameColumn, nullable=False),
    Column("ends", TimeColumn, nullable=False),
)

probe = Table(
    "probe",
    metadata,
    # One row, written whenever it is asked whether the store can be written.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("time", TimeColumn),
    Column("padding", Text),
    # The last time that retention trusted (`serving.monitoring.retention`).
    Column("seen", TimeColumn),
)
