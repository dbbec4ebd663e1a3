"""Tokens that tie a form to the session or the visit from whose page it was sent."""

from __future__ import annotations

import hashlib
import hmac

SESSION_S = 8 * 3600
"""How long somebody stays signed in."""


def token(tie: str, secret: bytes) -> str:
    """Make what a form carries to show that it comes from a page of this endpoint.

    Args:
        tie: What a foreign site knows nothing of: the cookie of a session, or of a visit.
        secret: The endpoint's.
    """
    # 0xff is in no UTF-8: no hash of what was asked, made with the same secret, is ever a token.
    message = b"\xff" + f"form\0{tie}".encode()
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def is_token(text: str, tie: str, secret: bytes) -> bool:
    """Tell whether a form carries the right token, in a time that tells nothing of it."""
    return hmac.compare_digest(text.encode(), token(tie, secret).encode())
