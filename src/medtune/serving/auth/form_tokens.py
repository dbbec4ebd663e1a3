"""Form tokens, which tie a form to the session or visitor it was rendered for."""

from __future__ import annotations

import hashlib
import hmac

SESSION_LIFETIME_S = 8 * 3600
"""Lifetime of a session in seconds."""


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
