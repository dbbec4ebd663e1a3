"""Migrate a database to the current schema, or refuse it."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from medtune.core.errors import StoreError
from medtune.serving.storage.database import AdvisoryLock, acquire_lock

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "medtune_version"
"""Table with the schema's revision, which also marks a database of medtune's."""

_ALEMBIC_LOCK = threading.Lock()
"""Alembic keeps its state in a global."""


def upgrade_schema(connection: Connection, place: str) -> None:
    """Run the missing migrations in the open write transaction.

    Raises:
        StoreError: The database has a newer schema, or is not medtune's.
    """
    acquire_lock(connection, AdvisoryLock.SCHEMA)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    with _ALEMBIC_LOCK:
        _check_owner(connection, ScriptDirectory.from_config(config), place)
        command.upgrade(config, "head")


def _check_owner(connection: Connection, scripts: ScriptDirectory, place: str) -> None:
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
