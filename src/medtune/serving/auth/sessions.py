"""Who is signed in, in the database: a session is ended here, whatever a browser keeps."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from medtune.serving.auth.session import SESSION_S
from medtune.serving.schemas import ApiKey
from medtune.serving.storage import api_keys
from medtune.serving.storage.tables import sessions


def begin(connection: Connection, now: datetime, secret: str) -> str:
    """Begin a session of a key, and forget those that are over.

    Args:
        connection: In a transaction that writes.
        now: The time.
        secret: Text of the key.

    Returns:
        What the browser keeps; the database has its hash only.
    """
    connection.execute(delete(sessions).where(sessions.c.ends <= now))
    cookie = secrets.token_urlsafe(32)
    row = {
        "id_hash": _hash(cookie),
        "digest": api_keys.digest(secret),
        "ends": now + timedelta(seconds=SESSION_S),
    }
    connection.execute(insert(sessions).values(**row))
    return cookie


def find(connection: Connection, now: datetime, cookie: str) -> tuple[str, ApiKey | None] | None:
    """Look a session up.

    Returns:
        Digest of the key by which it was begun, and the key, None where the store has none that
        holds; None for a session that is unknown or over.
    """
    query = select(sessions.c.digest, sessions.c.ends).where(sessions.c.id_hash == _hash(cookie))
    row = connection.execute(query).first()
    if row is None or row.ends <= now:
        return None
    return row.digest, api_keys.of_digest(connection, row.digest)


def end(connection: Connection, cookie: str) -> None:
    """End a session; one that is unknown is ended already."""
    connection.execute(delete(sessions).where(sessions.c.id_hash == _hash(cookie)))


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
