"""Who is signed in: a cookie that the endpoint signs, and tokens that tie forms to it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Self

from pydantic import ValidationError

from medtune.core.records import Record
from medtune.core.served import ApiKey, Role

SESSION_S = 8 * 3600
"""How long somebody stays signed in."""


class Session(Record):
    """Somebody who showed a key; the browser keeps this, so nothing of it is secret."""

    name: str
    """Of the key; whether it still holds is looked up at every use."""
    role: Role
    ends: int
    """Seconds since 1970."""
    nonce: str
    """Makes two sessions of one key differ, and so the tokens in their forms."""

    @classmethod
    def of(cls, key: ApiKey, now: float) -> Self:
        """Begin a session."""
        nonce = secrets.token_urlsafe(16)
        return cls(name=key.name, role=key.role, ends=int(now) + SESSION_S, nonce=nonce)

    def sealed(self, secret: bytes) -> str:
        """Write it as a cookie."""
        written = base64.urlsafe_b64encode(self.model_dump_json().encode()).decode()
        return f"{written}.{_seal('session', written, secret)}"


def opened(cookie: str, secret: bytes, now: float) -> Session | None:
    """Read a cookie; None for one that is forged, broken or over."""
    written, _, seal = cookie.rpartition(".")
    if not _same(seal, _seal("session", written, secret)):
        return None
    try:
        session = Session.model_validate_json(base64.urlsafe_b64decode(written))
    except ValidationError:  # of another version of medtune
        return None
    return session if now < session.ends else None


def token(tie: str, secret: bytes) -> str:
    """Make what a form carries to show that it comes from a page of this endpoint.

    Args:
        tie: What a foreign site knows nothing of: the nonce of a session, or a cookie.
        secret: The endpoint's.
    """
    return _seal("form", tie, secret)


def is_token(text: str, tie: str, secret: bytes) -> bool:
    """Tell whether a form carries the right token, in a time that tells nothing of it."""
    return _same(text, token(tie, secret))


def _seal(purpose: str, text: str, secret: bytes) -> str:
    # 0xff is in no UTF-8: no hash of what was asked, made with the same secret, is ever a seal.
    message = b"\xff" + f"{purpose}\0{text}".encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
