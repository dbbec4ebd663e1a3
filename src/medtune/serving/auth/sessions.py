"""Sessions in the database, and the tokens that tie a form to a session or a visitor.

Ending a session here makes its cookie invalid.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta

from sqlalchemy import delete, insert, select

from medtune.serving.schemas import ApiKey
from medtune.serving.storage import api_keys
from medtune.serving.storage.tables import sessions
from medtune.serving.storage.transactions import StorePart

SESSION_LIFETIME_S = 8 * 3600
"""Lifetime of a session in seconds."""


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


def create_form_token(tie: str, secret: bytes) -> str:
    """Create the token of a form, which shows that this endpoint rendered it.

    Args:
        tie: A value unknown to other sites: the cookie of a session or of a visitor.
        secret: The endpoint's secret.
    """
    # 0xff is not valid in UTF-8: a hash of a question with the same secret is never a token.
    message = b"\xff" + f"form\0{tie}".encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def verify_form_token(text: str, tie: str, secret: bytes) -> bool:
    """Return whether a form token is valid, in constant time."""
    return hmac.compare_digest(text.encode(), create_form_token(tie, secret).encode())
