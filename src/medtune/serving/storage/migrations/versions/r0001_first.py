"""The first schema: requests, reviews, opinions, feedback, audit, keys.

A migration is history: it is written out, and never changed with `tables`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TIME = sa.DateTime(timezone=True)

SQLITE_TRIGGERS = (
    """CREATE TRIGGER audit_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit trail is only added to'); END""",
    """CREATE TRIGGER audit_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit trail is only added to'); END""",
    # INSERT OR REPLACE deletes without asking the trigger above; this one it must ask.
    """CREATE TRIGGER audit_in_order BEFORE INSERT ON audit
    WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit)
    BEGIN SELECT RAISE(ABORT, 'the audit trail is only added to'); END""",
)
POSTGRES_TRIGGERS = (
    """CREATE FUNCTION audit_only_added_to() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit trail is only added to'; END $$""",
    """CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_only_added_to()""",
)


def upgrade() -> None:
    """Make the tables, and the triggers that keep the audit trail."""
    _make_requests()
    _make_reviews()
    _make_audit()
    op.create_table(
        "keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("per_minute", sa.Integer, nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("revoked", TIME),
        sa.Column("digest", sa.Text, nullable=False),
        sa.UniqueConstraint("digest", name="one_key_each"),
    )
    probe = op.create_table(
        "probe",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", TIME),
    )
    op.bulk_insert(probe, [{"id": 1, "time": None}])


def _make_requests() -> None:
    op.create_table(
        "entries",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("time", TIME, nullable=False),
        sa.Column("caller", sa.Text),
        sa.Column("text_hmac", sa.Text, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("options", sa.Integer, nullable=False),
        sa.Column("subject", sa.JSON),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("chosen", sa.Integer),
        sa.Column("probabilities", sa.JSON),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("duration_s", sa.Double, nullable=False),
        sa.Column("redacted", sa.JSON),
    )
    op.create_index("entries_by_time", "entries", ["time"])
    op.create_table(
        "feedback",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("time", TIME, nullable=False),
        sa.Column("helpful", sa.Boolean),
        sa.Column("corrected", sa.Integer),
        sa.ForeignKeyConstraint(["request_id"], ["entries.request_id"], ondelete="CASCADE"),
    )


def _make_reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("time", TIME, nullable=False),
        sa.Column("stem", sa.JSON, nullable=False),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("subject", sa.JSON),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("proposed", sa.Integer),
        sa.Column("probabilities", sa.JSON),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reviewer", sa.Text),
        sa.Column("lease_until", TIME),
        sa.Column("wants_second", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["entries.request_id"], ondelete="CASCADE"),
    )
    op.create_index("reviews_by_state", "reviews", ["state", "time"])
    op.create_table(
        "opinions",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("chosen", sa.Integer),
        sa.Column("note", sa.JSON, nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["reviews.request_id"], ondelete="CASCADE"),
        sa.UniqueConstraint("request_id", "reviewer", name="one_opinion_each"),
    )


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
    )
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in SQLITE_TRIGGERS if sqlite else POSTGRES_TRIGGERS:
        op.execute(statement)
