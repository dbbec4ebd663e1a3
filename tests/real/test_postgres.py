"""The store on a real PostgreSQL, which is started for it; it is asked the same as SQLite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from tests.real.postgres_server import Server, start_server
from tests.unit.serving import (
    audit_behaviour,
    claim_behaviour,
    decide_behaviour,
    request_behaviour,
    schema_behaviour,
)
from tests.unit.serving.store_cases import OnStore, entry, execute, put

from medtune.core.errors import StoreError
from medtune.serving.schemas import Decision
from medtune.serving.storage.store import Store

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_server() as server:
        yield server


@pytest.fixture
def store_url(server: Server) -> str:
    return server.fresh()


class TestClaim(claim_behaviour.ClaimBehaviour):
    pass


class TestDecide(decide_behaviour.DecideBehaviour):
    pass


class TestRequests(request_behaviour.RequestBehaviour):
    pass


class TestKeys(audit_behaviour.KeyBehaviour):
    pass


class TestAudit(audit_behaviour.AuditBehaviour):
    pass


class TestSchema(schema_behaviour.SchemaBehaviour):
    pass


class TestServer(OnStore):
    """What is PostgreSQL's own."""

    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    def test_store_outlives_a_restart(self, store: Store, server: Server, mode: str) -> None:
        put(store, "a")
        held = store.reviews.claim("ann", 60)
        assert held is not None
        server.stop(mode)
        try:
            for ask in (store.check_writable, store.requests.count, store.keys.list_all):
                with pytest.raises(StoreError, match="there is no connection"):
                    ask()
            with pytest.raises(StoreError, match="there is no connection"):
                store.reviews.decide("a", "ann", Decision(kind="approve"))
        finally:
            server.start()
        store.check_writable()
        assert store.reviews.decide("a", "ann", Decision(kind="approve")).final is not None
        assert store.audit.verify_lines() == 3

    def test_connection_that_breaks_takes_its_transaction_along(
        self, store: Store, store_url: str
    ) -> None:
        with pytest.raises(StoreError, match="there is no connection"):
            self._break_off(store, store_url)
        assert store.audit.verify_lines() == 0

    @staticmethod
    def _break_off(store: Store, store_url: str) -> None:
        with store._database.writing() as connection:
            line = "INSERT INTO audit VALUES (1, now(), 'a', 'b', 'c', '{}', 'd', 'e')"
            connection.exec_driver_sql(line)
            own = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            execute(store_url, f"SELECT pg_terminate_backend({own}, 5000)")
            connection.exec_driver_sql("SELECT 1")

    def test_reviewers_do_not_wait_for_each_other(self, store: Store, store_url: str) -> None:
        put(store, "a", "b")
        other = Store.open(store_url, wait_s=0.2)
        engine = create_engine(store_url)
        with engine.begin() as connection:
            connection.exec_driver_sql("SELECT * FROM reviews WHERE request_id = 'a' FOR UPDATE")
            held = other.reviews.claim("ann", 60)
            with pytest.raises(StoreError, match="another writer holds it"):
                other.reviews.claim("bob", 60, "a")
        engine.dispose()
        other.close()
        assert held is not None
        assert held.request_id == "b"

    def test_lines_are_not_truncated(self, store: Store, store_url: str) -> None:
        store.audit.append("ann", "x", "y")
        with pytest.raises(DBAPIError, match="the audit trail is only added to"):
            execute(store_url, "TRUNCATE audit")

    def test_read_only(self, store: Store, store_url: str) -> None:
        store.requests.add(entry("a"), None)
        name = store_url.partition("@/")[2].partition("?")[0]
        execute(store_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        store.close()
        with pytest.raises(StoreError, match="it can be read but not written"):
            store.check_writable()
        assert store.requests.find("a") == entry("a")
        with pytest.raises(StoreError, match="it can be read but not written"):
            Store.open(store_url)

    def test_user_without_rights(self, server: Server, store_url: str) -> None:
        execute(store_url, "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
        name = store_url.partition("@/")[2].partition("?")[0]
        with pytest.raises(StoreError, match="forbids it") as caught:
            Store.open(server.url(name, "guest"))
        assert "grant" in caught.value.fix

    def test_database_that_is_not_there(self, server: Server) -> None:
        with pytest.raises(StoreError, match='database "nowhere" does not exist'):
            Store.open(server.url("nowhere"))

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            ("53100", "the disk is full"),
            ("53300", "every connection is in use"),
            ("40P01", "another writer holds it"),
            ("58030", "the disk cannot be read or written"),
            ("XX001", "the database is damaged"),
            ("22000", "the database refuses it"),
        ],
    )
    def test_what_the_server_says(
        self, store: Store, store_url: str, code: str, found: str
    ) -> None:
        execute(
            store_url,
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'so it is' USING ERRCODE = '{code}'; END $$",
            "CREATE TRIGGER fails BEFORE UPDATE ON probe EXECUTE FUNCTION fail()",
        )
        with pytest.raises(StoreError, match=rf"{found}.* \(so it is\)"):
            store.check_writable()
