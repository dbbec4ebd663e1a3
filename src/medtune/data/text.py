"""Normalised text."""

from __future__ import annotations

import re
import unicodedata

# Control and zero-width characters, and halves of broken surrogate pairs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\ufeff\ud800-\udfff]")
_SPACES = re.compile(r"[^\S\n]+")


def tidy(value: object) -> str:
    """Normalise a text: Unicode NFC, no control characters, single spaces; None becomes ""."""
    if value is None or value != value:  # NaN is how some readers write a missing text
        return ""
    text = str(value).replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    lines = (_SPACES.sub(" ", _CONTROL.sub("", line)).strip() for line in text.split("\n"))
    # Composed last: a control character may have stood between a letter and its accent.
    return unicodedata.normalize("NFC", "\n".join(line for line in lines if line))
