"""Sessions in the database: ending one here makes its cookie invalid."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from sqlalchemy import delete, insert, select

from medtune.serving.auth.form_tokens import SESSION_LIFETIME_S
from medtune.serving.schemas import ApiKey
from medtune.serving.storage import api_keys
from medtune.serving.storage.tables import sessions
from medtune.serving.storage.transactions import StorePart


class Sessions(StorePart):
    """The sessions of signed-in browsers; the database has the hash of a cookie only."""

    def begin(self, secret: str) -> str:
        """Start a session of the key with this text, and return the cookie's value.

        Expired sessions are deleted.
        """
        now, cookie = self._now(), secrets.token_urlsafe(32)
        row = {
            "id_hash": _hash_cookie(cookie),
            "digest": api_keys.hash_key(secret),
            "ends": now + timedelta(seconds=SESSION_LIFETIME_S),
        }
        with self._writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.ends <= now))
            connection.execute(insert(sessions).values(**row))
        return cookie

    def find(self, cookie: str) -> tuple[str, ApiKey | None] | None:
        """Look a session up by its cookie.

        Returns:
            The key's digest, and the key, or None if the store has no valid key of that digest;
            None for an unknown or expired session.
        """
        query = select(sessions.c.digest, sessions.c.ends).where(
            sessions.c.id_hash == _hash_cookie(cookie)
        )
        with self._reading() as connection:
            row = connection.execute(query).first()
            if row is None or row.ends <= self._now():
                return None
            return row.digest, api_keys.find_key_by_digest(connection, row.digest)

    def end(self, cookie: str) -> None:
        """Delete a session; an unknown one is ignored."""
        with self._writing() as connection:
            connection.execute(delete(sessions).where(sessions.c.id_hash == _hash_cookie(cookie)))


def _hash_cookie(cookie: str) -> str:
    return hashlib.sha256(cookie.encode()).hexdigest()
