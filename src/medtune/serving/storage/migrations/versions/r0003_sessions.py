"""Sessions, padding for the write probe, and the last time that retention trusted.

A migration is history: it is written out, and never changed with `tables`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table, and add the columns."""
    op.create_table(
        "sessions",
        sa.Column("id_hash", sa.Text, primary_key=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("ends", TIME, nullable=False),
    )
    op.add_column("probe", sa.Column("padding", sa.Text))
    op.add_column("probe", sa.Column("seen", TIME))
