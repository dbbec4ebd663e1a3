"""An inquiry as the rules read it: folded, and apart from what it quotes."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails import linear_search

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
"""What Unicode lets be ignored: no letter is read out of it, and none is hidden by it."""
_QUOTED = re.compile(r"\"[^\"\n]{2,400}\"|(?<!\w)'[^'\n]{2,400}'(?!\w)|“[^”]{2,400}”|«[^»]{2,400}»")
_PIECE = re.compile(r"[\0-\x7f]*[^\0-\x7f]{0,300}")
"""What is normalised at once: sorting combining marks takes the square of their number."""
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
    """One inquiry, read once for all guards.

    Attributes:
        inquiry: As it came in, without its subject where that is one of a list (`guardrails.pipeline`).
    """

    inquiry: Inquiry

    @cached_property
    def stem(self) -> str:
        """The stem, folded."""
        return fold(self.inquiry.stem)

    @cached_property
    def subject(self) -> str:
        """What stands where a subject should, folded; empty for none, and for a listed one."""
        return fold(self.inquiry.subject or "")

    @cached_property
    def raw(self) -> str:
        """Everything that was typed, as it came in."""
        return "\n".join((self.inquiry.whole, self.inquiry.subject or ""))

    @cached_property
    def text(self) -> str:
        """Stem, options and free subject, folded, a line each."""
        parts = (self.stem, *(fold(option) for option in self.inquiry.options), self.subject)
        return "\n".join(part for part in parts if part)

    @cached_property
    def earlier(self) -> tuple[InquiryText, ...]:
        """What the asker said before."""
        return tuple(InquiryText(turn) for turn in self.inquiry.earlier)

    @cached_property
    def around(self) -> tuple[InquiryText, ...]:
        """What others said."""
        return tuple(InquiryText(Inquiry(stem=turn)) for turn in self.inquiry.around)

    @cached_property
    def framed(self) -> bool:
        """Whether it is put as exam questions are: about a patient or a matter, with options."""
        return (
            len(self.inquiry.options) > 1 and linear_search.first(_FRAME, self.unquoted) is not None
        )

    @cached_property
    def unquoted(self) -> str:
        """The stem without what others say in it: a patient in a vignette speaks in the first."""
        return linear_search.replaced(_QUOTED, " ", self.stem)

    @cached_property
    def own(self) -> str:
        """What the asker says: everything, or in an exam's frame what stands outside quotes."""
        return f"{self.unquoted}\n{self.subject}".rstrip("\n") if self.framed else self.text


def fold(text: str) -> str:
    """Bring a text to one form: compatible characters, plain quotes, nothing invisible, one space.

    Case is kept: names are told by it.  Blank lines go.
    """
    # Piece by piece: no other thread has its turn while a text is normalised or translated.
    pieces = (unicodedata.normalize("NFKC", piece) for piece in _PIECE.findall(text))
    plain = _INVISIBLE.sub("", "".join(piece.translate(_SIGNS) for piece in pieces))
    lines = (" ".join(line.split()) for line in plain.splitlines())
    return "\n".join(line for line in lines if line)
