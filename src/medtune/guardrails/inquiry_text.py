"""An inquiry as the guards read it: normalized, and with its quotations removed."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails import linear_search

INVISIBLE = "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
"""Invisible characters of a class, which Unicode lets be ignored (Default_Ignorable_Code_Point)."""
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_QUOTED = re.compile(r"\"[^\"\n]{2,400}\"|(?<!\w)'[^'\n]{2,400}'(?!\w)|“[^”]{2,400}”|«[^»]{2,400}»")
_PIECE = re.compile(r"[\0-\x7f]*[^\0-\x7f]{0,300}")
"""Length normalized at once: sorting combining marks takes quadratic time."""
_SIGNS = str.maketrans({"’": "'", "‘": "'", "`": "'", "–": "-", "—": "-", "\u00a0": " "})
_FRAME = re.compile(
    r"\b(?:which|what|who) of the (?:following|these|below)\b"
    r"|\bwhich (?:one|statement|drug|agent|finding|antidote|nerve|artery|test|investigation)\b"
    r"|\b(?:all|true|false|correct|incorrect|not) (?:of the following|statements?|about|regarding)\b"
    r"|\b(?:most likely|most appropriate|best next|next (?:best )?step|drug of choice|treatment of "
    r"choice|investigation of choice|is characteri[sz]ed by|is (?:the )?(?:most )?(?:common|"
    r"characteristic|seen|used|caused|defined|known|indicated|contraindicated))\b"
    r"|\b(?:except|is due to|is associated with|is best described|refers to|is called|is termed)\b"
    r"|\b(?:an?|the) (?:\w+[ -]){0,3}\d{1,3}[ -]?(?:year|yr|month|week|day|hour|y)s?[ -]?o(?:ld)?\b"
    r"|\b\d{1,3}[ -](?:year|month|week|day)s?[ -]old (?:\w+ ){0,3}(?:man|woman|boy|girl|male|female|"
    r"infant|child|patient|student|worker|farmer)\b"
    r"|\b(?:an?|the) (?:\w+ ){0,2}(?:patient|client|nurse|man|woman|boy|girl|student|teenager|adolescent|farmer|widow) "
    r"(?:says|tells|whispers|states|overhears|reports|asks|writes|posts|thinks)\b|\bbest (?:reply|response|called|described)\b"
    r"|\b(?:presents?|presenting|presented|is brought|was brought|is admitted|was admitted|is found|"
    r"was found|is referred|comes to|on examination|at autopsy|at post-?mortem)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class InquiryText:
    """The texts of one inquiry, computed once for all guards.

    Attributes:
        inquiry: As received, without a listed subject (see `guardrails.pipeline`).
    """

    inquiry: Inquiry

    @cached_property
    def stem(self) -> str:
        """The normalized stem."""
        return normalize_text(self.inquiry.stem)

    @cached_property
    def subject(self) -> str:
        """The normalized free-text subject; empty for none and for a listed one."""
        return normalize_text(self.inquiry.subject or "")

    @cached_property
    def raw_text(self) -> str:
        """Everything that was typed, as received."""
        return "\n".join((self.inquiry.full_text, self.inquiry.subject or ""))

    @cached_property
    def text(self) -> str:
        """Stem, options and free-text subject, normalized, one per line."""
        parts = (
            self.stem,
            *(normalize_text(option) for option in self.inquiry.options),
            self.subject,
        )
        return "\n".join(part for part in parts if part)

    @cached_property
    def earlier(self) -> tuple[InquiryText, ...]:
        """Earlier turns of the same user."""
        return tuple(InquiryText(turn) for turn in self.inquiry.earlier)

    @cached_property
    def around(self) -> tuple[InquiryText, ...]:
        """Turns of others, such as a system message."""
        return tuple(InquiryText(Inquiry(stem=turn)) for turn in self.inquiry.around)

    @cached_property
    def is_exam_style(self) -> bool:
        """Whether it is phrased as exam questions are, with options."""
        return (
            len(self.inquiry.options) > 1
            and linear_search.find_first(_FRAME, self.unquoted_stem) is not None
        )

    @cached_property
    def unquoted_stem(self) -> str:
        """The stem without quotations: a patient in a vignette speaks in the first person."""
        return linear_search.replace_all(_QUOTED, " ", self.stem)

    @cached_property
    def asker_text(self) -> str:
        """What the user says: everything, or in an exam question what is not quoted."""
        return (
            f"{self.unquoted_stem}\n{self.subject}".rstrip("\n")
            if self.is_exam_style
            else self.text
        )


def normalize_text(text: str) -> str:
    """Normalize a text: NFKC, plain quotes, single spaces, no invisible characters.

    Case is kept, because names are recognized by it. Blank lines are removed.
    """
    # Piece by piece: no other thread can run while a text is normalized or translated.
    pieces = (unicodedata.normalize("NFKC", piece) for piece in _PIECE.findall(text))
    plain = _INVISIBLE.sub("", "".join(piece.translate(_SIGNS) for piece in pieces))
    lines = (" ".join(line.split()) for line in plain.splitlines())
    return "\n".join(line for line in lines if line)
