"""Sessions in the database: ending one here makes its cookie invalid."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from medtune.serving.auth.form_tokens import SESSION_LIFETIME_S
from medtune.serving.schemas import ApiKey
from medtune.serving.storage import api_keys
from medtune.serving.storage.tables import sessions


def begin_session(connection: Connection, now: datetime, secret: str) -> str:
    """Start a session of a key, and delete the expired ones.

    Args:
        connection: Connection in a write transaction.
        now: The current time.
        secret: Text of the key.

    Returns:
        The cookie's value; the database has its hash only.
    """
    connection.execute(delete(sessions).where(sessions.c.ends <= now))
    cookie = secrets.token_urlsafe(32)
    row = {
        "id_hash": _hash_cookie(cookie),
        "digest": api_keys.hash_key(secret),
        "ends": now + timedelta(seconds=SESSION_LIFETIME_S),
    }
    connection.execute(insert(sessions).values(**row))
    return cookie


def find_session(
    connection: Connection, now: datetime, cookie: str
) -> tuple[str, ApiKey | None] | None:
    """Look a session up by its cookie.

    Returns:
        The key's digest, and the key, or None if the store has no valid key of that digest;
        None for an unknown or expired session.
    """
    query = select(sessions.c.digest, sessions.c.ends).where(
        sessions.c.id_hash == _hash_cookie(cookie)
    )
    row = connection.execute(query).first()
    if row is None or row.ends <= now:
        return None
    return row.digest, api_keys.find_key_by_digest(connection, row.digest)


def end_session(connection: Connection, cookie: str) -> None:
    """Delete a session; an unknown one is ignored."""
    connection.execute(delete(sessions).where(sessions.c.id_hash == _hash_cookie(cookie)))


def _hash_cookie(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
