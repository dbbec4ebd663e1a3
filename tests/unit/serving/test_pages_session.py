from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest

from medtune.core.served import ApiKey
from medtune.serving.session import SESSION_S, Session, is_token, opened, token

SECRET, OTHER = b"s" * 32, b"t" * 32
NOW = 1_800_000_000.0
KEY = ApiKey(name="ward-7", role="review", created=datetime(2026, 5, 4, tzinfo=UTC))


def test_a_session_is_read_as_it_was_written() -> None:
    session = Session.of(KEY, NOW)
    assert (session.name, session.role, session.ends) == ("ward-7", "review", NOW + 8 * 3600)
    assert opened(session.sealed(SECRET), SECRET, NOW) == session


def test_a_session_ends() -> None:
    cookie = Session.of(KEY, NOW).sealed(SECRET)
    assert opened(cookie, SECRET, NOW + SESSION_S - 1) is not None
    assert opened(cookie, SECRET, NOW + SESSION_S) is None


def test_a_session_of_another_endpoint_is_none() -> None:
    assert opened(Session.of(KEY, NOW).sealed(OTHER), SECRET, NOW) is None


def test_a_session_cannot_be_changed() -> None:
    session = Session.of(KEY, NOW)
    written, _, seal = session.sealed(SECRET).partition(".")
    better = session.model_copy(update={"role": "admin"}).model_dump_json()
    forged = base64.urlsafe_b64encode(better.encode()).decode()
    assert opened(f"{forged}.{seal}", SECRET, NOW) is None
    assert opened(f"{written}.{seal[:-1]}{'0' if seal[-1] != '0' else '1'}", SECRET, NOW) is None
    assert opened(written, SECRET, NOW) is None


@pytest.mark.parametrize("cookie", ["", ".", "a.b", "é.é", "..", "=." + "0" * 64, "\0.\0"])
def test_what_is_no_session_is_none(cookie: str) -> None:
    assert opened(cookie, SECRET, NOW) is None


def test_what_an_older_version_sealed_is_none() -> None:
    class Older(Session):
        extra: str = "x"

    older = Older(**Session.of(KEY, NOW).model_dump())
    assert opened(older.sealed(SECRET), SECRET, NOW) is None


def test_two_sessions_of_a_key_differ() -> None:
    assert Session.of(KEY, NOW).nonce != Session.of(KEY, NOW).nonce


def test_a_token_belongs_to_one_tie_and_one_endpoint() -> None:
    made = token("tie", SECRET)
    assert is_token(made, "tie", SECRET)
    assert not is_token(made, "tie2", SECRET)
    assert not is_token(made, "tie", OTHER)
    assert not is_token("", "tie", SECRET)
    assert not is_token("é", "tie", SECRET)


def test_a_seal_is_no_token_and_no_hash_of_a_text() -> None:
    written, _, seal = Session.of(KEY, NOW).sealed(SECRET).partition(".")
    assert not is_token(seal, written, SECRET)
    for text in (f"session\0{written}", f"ÿsession\0{written}", written):
        assert hmac.new(SECRET, text.encode(), hashlib.sha256).hexdigest() != seal
