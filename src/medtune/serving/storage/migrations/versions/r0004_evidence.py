"""Passages found for an answer that a reviewer decides on.

A migration is history: it is written out, and never changed with `tables`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    op.add_column("reviews", sa.Column("evidence", sa.JSON))
