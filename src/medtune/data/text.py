"""Normalised text: what is changed in a cell, and a count of every kind of change."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable

# Control, zero-width and soft-hyphen characters, and halves of broken surrogate pairs.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u2060\ufeff\ud800-\udfff]"
)
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")
# Only the tags that exam banks leave behind: "<7 and >3" is a comparison, not a tag.
_NAMES = (
    "a|abbr|b|big|blockquote|body|br|center|code|dd|div|dl|dt|em|font|h[1-6]|head|hr|html|i|img|"
    "li|meta|o:p|ol|p|pre|s|script|small|span|strike|strong|style|sub|sup|table|tbody|td|tfoot|"
    "th|thead|tr|tt|u|ul"
)
_BREAK = re.compile(r"<\s?/?(?:br|p|div|li|tr|h[1-6]|table|ul|ol)(?:\s[^<>]*)?/?>", re.I)
_RAISED = re.compile(r"(?<=\w)<sup(?:\s[^<>]*)?>\s*([^<>\s]{1,4})\s*</sup>", re.I)
# A tag that lost its end: `<a href="` and `<img src="`, up to where text begins again.
_TAG = re.compile(rf"</?(?:{_NAMES})(?:\s[^<>]*)?/?>|<(?:a|img)\s+\w+=[\"']?(?=\s|<|$)", re.I)
_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_IMAGE = re.compile(r"<img\b", re.I)
# UTF-8 read as another encoding, and what a later transliteration made of that.
_DAMAGED = re.compile("\ufffd|[ÃÂ][\u0080-\u00bf]|â€|aEUR|A[¢cC]â|ï¿½")
_NOTHING_TO_DO = re.compile(r"[!-~]+(?: [!-~]+)*")


def tidy(value: object, changes: Counter[str] | None = None) -> str:
    """Normalise a text: Unicode NFC, no control characters, no HTML, single spaces.

    Doing it twice changes nothing more.

    Args:
        value: A cell; None and NaN become "".
        changes: Counts, per kind of change, the cells that it touched; a space at either end
            is not counted.
    """
    if value is None or value != value:  # NaN is how some readers write a missing text
        return ""
    text = str(value)
    if _NOTHING_TO_DO.fullmatch(text) and "<" not in text and "&" not in text:
        return text
    for kind, step in _STEPS:
        changed = step(text)
        if changed != text:
            if changes is not None:
                changes[kind] += 1
            text = changed
    # A removed character may have stood inside a tag or between a letter and its accent.
    text = text.strip()
    return text if str(value) == text else tidy(text)


def shows_image(value: object) -> bool:
    """Tell whether a cell holds a picture that a text model cannot see."""
    return isinstance(value, str) and "<" in value and _IMAGE.search(value) is not None


def damaged(text: str) -> bool:
    """Tell whether a text was read in the wrong encoding somewhere on its way."""
    return _DAMAGED.search(text) is not None


def _line_ends(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _without_html(text: str) -> str:
    if "<" not in text:
        return text
    raised = _RAISED.sub(r"^\1", text)  # 10<sup>6</sup> is not 106
    return _TAG.sub("", _BREAK.sub("\n", raised))


def _without_entities(text: str) -> str:
    return _ENTITY.sub(lambda m: html.unescape(m[0]), text) if "&" in text else text


def _single_spaces(text: str) -> str:
    return _LINES.sub("\n", _SPACES.sub(" ", text))


_STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("line ends", _line_ends),
    ("control characters", lambda text: _CONTROL.sub("", text.replace("\t", " "))),
    ("HTML tags", _without_html),
    ("HTML entities", _without_entities),
    ("spaces", _single_spaces),
    ("Unicode NFC", lambda text: unicodedata.normalize("NFC", text)),
)
