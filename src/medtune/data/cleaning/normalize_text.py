"""Normalise the text of cells, and count every kind of change."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable

# Control, zero-width, direction and soft-hyphen characters, and halves of surrogate pairs.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069"
    r"\ufeff\ud800-\udfff]"
)
# Word processors use a vertical tab as line break and a form feed as page break.
_ENDS = re.compile(r"\r\n|[\r\x0b\x0c]")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n[ \n]*")
# Only tags that occur in exam banks: "<7 and >3" is a comparison, not a tag.
_NAMES = (
    "a|abbr|b|big|blockquote|body|br|center|code|dd|div|dl|dt|em|font|h[1-6]|head|hr|html|i|img|"
    "li|meta|o:p|ol|p|pre|s|script|small|span|strike|strong|style|sub|sup|table|tbody|td|tfoot|"
    "th|thead|tr|tt|u|ul"
)
# "S<P and P>Q" is not a tag either: a tag's name is followed by attributes only.
_END = r"(?:\s+[\w:-]+\s*=[^<>]*)?\s*/?>"
_BREAK = re.compile(rf"<\s?/?(?:br|p|div|li|tr|h[1-6]|table|ul|ol){_END}", re.I)
_SUPERSCRIPT = re.compile(rf"(?<=[\w)\]])<sup{_END}\s*([^<>\s]{{1,12}})\s*</sup>", re.I)
# A tag without its end: `<a href="` and `<img src="`, up to where text begins again.
_TAG = re.compile(rf"</?(?!sup\b)(?:{_NAMES}){_END}|<(?:a|img)\s+\w+=[\"']?(?=\s|<|$)", re.I)
_SUP = re.compile(rf"</?sup{_END}", re.I)
_ENCODED_AGAIN = re.compile(r"&(?:amp;)+")
_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")
_IMAGE = re.compile(r"<img\b", re.I)
# UTF-8 decoded with another encoding, also after a later transliteration.
_MOJIBAKE = re.compile("\ufffd|[ÃÂ][\u0080-\u00bf]|â€|aEUR|A[¢cC]â|ï¿½")
_ALREADY_NORMAL = re.compile(r"[!-~]+(?: [!-~]+)*")


def clean_text(value: object, changes: Counter[str] | None = None) -> str:
    """Normalise a text: Unicode NFC, no control characters, no HTML, single spaces.

    The function is idempotent.

    Args:
        value: A cell; None and NaN become "".
        changes: Counter of changed cells by kind of change; stripping is not counted.
    """
    if value is None or value != value:  # some readers return NaN for a missing text
        return ""
    # Old parquet files store texts as bytes.
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    if _ALREADY_NORMAL.fullmatch(text) and "<" not in text and "&" not in text:
        return text
    done: set[str] = set()
    before = None
    # Repeat, since a removed character may have been in a tag or between a letter and its accent.
    while text != before:
        before = text
        for kind, step in _STEPS:
            changed = step(text)
            if changed != text:
                done.add(kind)
                text = changed
        text = text.strip()
    if changes is not None:
        changes.update(done)
    return text


def shorten_for_message(value: object, longest: int = 80) -> str:
    """Return the repr of a cell for a message, truncated if it is long."""
    text = repr(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def contains_image(value: object) -> bool:
    """Return whether a cell contains an image, which a text model cannot see."""
    if not isinstance(value, str) or ("<" not in value and "&" not in value):
        return False
    text, before = value, ""
    while text != before and not _IMAGE.search(text):
        before = text
        text = _decode_entities(_CONTROL.sub("", text))  # &lt;img&gt; will be a tag, too
    return text != before


def has_damaged_encoding(text: str) -> bool:
    """Return whether a text shows signs of a wrong decoding (mojibake)."""
    return _MOJIBAKE.search(text) is not None


def _remove_html(text: str) -> str:
    if "<" not in text:
        return text
    text = _TAG.sub("", _BREAK.sub("\n", text))
    return _SUP.sub("", _SUPERSCRIPT.sub(r"^\1", text))  # 10<sup>6</sup> is not 106


def _decode_entities(text: str) -> str:
    if "&" not in text:
        return text
    return _ENTITY.sub(lambda m: html.unescape(m[0]), _ENCODED_AGAIN.sub("&", text))


_STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("line ends", lambda text: _ENDS.sub("\n", text)),
    ("control characters", lambda text: _CONTROL.sub("", text.replace("\t", " "))),
    ("HTML entities", _decode_entities),  # first: 10<sup>&minus;6</sup>
    ("HTML tags", _remove_html),
    ("spaces", lambda text: _LINES.sub("\n", _SPACES.sub(" ", text))),
    ("Unicode NFC", lambda text: unicodedata.normalize("NFC", text)),
)
