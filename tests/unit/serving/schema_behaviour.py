"""Which databases are opened, on any kind of server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine
from tests.unit.serving.store_cases import (
    LATER,
    START,
    OnStore,
    begin_child,
    entry,
    execute,
    finish,
    shadow,
)

from medtune.core.errors import StoreError
from medtune.serving.storage import migrate
from medtune.serving.storage.store import Store
from medtune.serving.storage.tables import metadata

NEXT = """
import sqlalchemy as sa
from alembic import op
revision = "9999"
down_revision = "0004"
def upgrade():
    op.add_column("entries", sa.Column("mood", sa.Text, server_default="calm"))
"""


class SchemaBehaviour(OnStore):
    """Old, new and foreign databases."""

    def test_migrations_make_the_tables(self, store: Store, store_url: str) -> None:
        engine = create_engine(store_url)
        with engine.connect() as connection:
            options = {"version_table": migrate.VERSION_TABLE}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, metadata) == []
            assert context.get_current_revision() == "0004"
        engine.dispose()

    def test_opening_again_changes_nothing(self, store: Store, store_url: str) -> None:
        store.requests.add(entry("a"), None)
        Store.open(store_url).close()
        again = Store.open(store_url)
        assert again.requests.find("a") == entry("a")
        again.close()

    def test_processes_may_open_a_fresh_one_at_once(self, store_url: str) -> None:
        children = [begin_child(store_url, "open") for _ in range(2)]
        assert [finish(child) for child in children] == [[], []]

    def test_older_schema_is_brought_up_and_a_newer_refused(
        self, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = Store.open(store_url)
        old.requests.add(entry("a"), None)
        newer = tmp_path / "100% newer"
        shutil.copytree(migrate.MIGRATIONS, newer)
        (newer / "versions" / "r9999_next.py").write_text(NEXT)
        with monkeypatch.context() as patched:
            patched.setattr(migrate, "MIGRATIONS", newer)
            Store.open(store_url).close()
        execute(store_url, "UPDATE entries SET mood = 'cross' WHERE mood = 'calm'")
        with pytest.raises(StoreError, match="revision 9999, of a newer medtune"):
            Store.open(store_url)
        old.close()

    def test_a_database_without_shadows_gets_them(
        self, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = tmp_path / "first"
        shutil.copytree(migrate.MIGRATIONS, first)
        for script in (first / "versions").glob("r0*.py"):
            if not script.name.startswith("r0001"):
                script.unlink()
        with monkeypatch.context() as patched:
            patched.setattr(migrate, "MIGRATIONS", first)
            patched.setattr(Store, "check_writable", lambda _: None)  # it writes what is newer
            old = Store.open(store_url)
            old.requests.add(entry("a"), None)
            with pytest.raises(StoreError, match="refuses"):
                old.requests.add_shadow_answers([shadow("a")])
            old.close()
        store = Store.open(store_url)
        store.requests.add_shadow_answers([shadow("a")])
        assert list(store.requests.iter_shadowed(START, LATER)) == [(entry("a"), shadow("a"))]
        store.close()

    def test_failed_migration_leaves_nothing(
        self, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = tmp_path / "broken"
        shutil.copytree(migrate.MIGRATIONS, broken)
        (broken / "versions" / "r9999_next.py").write_text(NEXT + "    op.drop_table('nothing')\n")
        with monkeypatch.context() as patched:
            patched.setattr(migrate, "MIGRATIONS", broken)
            with pytest.raises(StoreError, match="refuses"):
                Store.open(store_url)
        Store.open(store_url).close()

    def test_foreign_database_is_refused(self, store_url: str) -> None:
        execute(store_url, "CREATE TABLE patients (id INTEGER)")
        with pytest.raises(StoreError, match="not a database of medtune's; it has patients"):
            Store.open(store_url)
