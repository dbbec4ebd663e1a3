"""SQLAlchemy tables of the store, as the migrations create them.

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


def replace_nul(text: str) -> str:
    """Replace every NUL by U+FFFD: PostgreSQL's text cannot hold one."""
    return text.replace("\0", "\ufffd")


class NameColumn(TypeDecorator[str]):
    """A column for names, ids and codes; a NUL is replaced, so it matches nothing."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Convert a value for the driver."""
        return None if value is None else replace_nul(value)


class TimeColumn(TypeDecorator[datetime]):
    """A column for aware datetimes, stored as UTC; SQLite has no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a datetime for the driver."""
        if value is None:
            return None
        assert value.tzinfo is not None, "a datetime needs a time zone"
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert the driver's value to a datetime in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


Value = JSON(none_as_null=True)
"""Lists, objects and free text: JSON escapes NUL, so any text can be stored."""

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


def _request_id_column(table: str) -> Column[str]:
    """Return the foreign key to a row of a table; this row is deleted with it."""
    key = ForeignKey(f"{table}.request_id", ondelete="CASCADE")
    return Column("request_id", NameColumn, key, primary_key=True)


reviews = Table(
    "reviews",
    metadata,
    _request_id_column("entries"),
    Column("time", TimeColumn, nullable=False),
    Column("stem", Value, nullable=False),
    Column("options", Value, nullable=False),
    Column("subject", Value),
    Column("topic", NameColumn, nullable=False),
    Column("proposed", Integer),
    Column("probabilities", Value),
    Column("release", NameColumn, nullable=False),
    # Never "claimed": that follows from the lease, so expired leases need no clean-up.
    Column("state", NameColumn, nullable=False),
    Column("reviewer", NameColumn),
    Column("lease_until", TimeColumn),
    Column("wants_second", Boolean, nullable=False),
    Column("evidence", Value),
    Index("reviews_by_state", "state", "time"),
)

opinions = Table(
    "opinions",
    metadata,
    _request_id_column("reviews"),
    # 1 to 3, in order.
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
    _request_id_column("entries"),
    Column("time", TimeColumn, nullable=False),
    Column("helpful", Boolean),
    Column("corrected", Integer),
)

shadows = Table(
    "shadows",
    metadata,
    _request_id_column("entries"),
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
    # Hash of the session's key: a session ends with its key.
    Column("digest", NameColumn, nullable=False),
    Column("ends", TimeColumn, nullable=False),
)

probe = Table(
    "probe",
    metadata,
    # One row, written by every check that the store is writable.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("time", TimeColumn),
    Column("padding", Text),
    # The last time trusted by `serving.monitoring.retention`.
    Column("seen", TimeColumn),
)
