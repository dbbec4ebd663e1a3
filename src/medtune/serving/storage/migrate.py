"""Brings a database to the present schema, or refuses it."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from medtune.core.errors import StoreError
from medtune.serving.storage.database import AdvisoryLock, take_turn

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "medtune_version"
"""Tells the schema's revision, and that the database is medtune's."""

_one_at_a_time = threading.Lock()
"""Alembic keeps what it is doing in a global of its own."""


def upgrade(connection: Connection, place: str) -> None:
    """Run the migrations that are missing, within the transaction that is open.

    Args:
        connection: In a transaction that writes.
        place: The database, for messages.

    Raises:
        StoreError: It is of a newer schema, or not medtune's.
    """
    take_turn(connection, AdvisoryLock.SCHEMA)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    with _one_at_a_time:
        _require_ours(connection, ScriptDirectory.from_config(config), place)
        command.upgrade(config, "head")


def _require_ours(connection: Connection, scripts: ScriptDirectory, place: str) -> None:
    tables = set(inspect(connection).get_table_names())
    if tables and VERSION_TABLE not in tables:
        raise StoreError(
            f"{place}: not a database of medtune's; it has {', '.join(sorted(tables)[:3])}",
            expected="an empty database, or one that medtune made",
            fix="give medtune a database of its own",
        )
    options = {"version_table": VERSION_TABLE}
    revision = MigrationContext.configure(connection, opts=options).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreError(
            f"{place}: its schema is of revision {revision}, of a newer medtune",
            expected=f"a revision up to {scripts.get_current_head()}",
            fix="install the medtune that wrote it, or a newer one",
        )
