"""Shadows' answers to requests.

A migration is history: it is written out, and never changed with `tables`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "shadows",
        sa.Column("request_id", sa.Text, primary_key=True),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("chosen", sa.Integer),
        sa.Column("probabilities", sa.JSON),
        sa.Column("unsure", sa.Boolean),
        sa.ForeignKeyConstraint(["request_id"], ["entries.request_id"], ondelete="CASCADE"),
    )
