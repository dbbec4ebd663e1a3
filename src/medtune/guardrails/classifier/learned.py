"""The learned guard: is this an exam question, and is there an order hidden in it?

Two classifiers.  One reads a whole inquiry: exam question, patient, wish to harm, or crisis.  The
other reads every sentence and every option alone: a polite word to whoever scores is lost in a long
vignette.
"""

from __future__ import annotations

import gzip
import re
import zlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Protocol, get_args

from medtune.core.errors import InputError
from medtune.core.records import Record, content_hash
from medtune.core.schemas.guardrails import Action, CardName, Code, GuardVerdict, Inquiry
from medtune.guardrails.benchmark.labelled_lines import Kind
from medtune.guardrails.classifier.linear import Classifier, LinearWeights
from medtune.guardrails.input_rules.crisis import is_own
from medtune.guardrails.inquiry_text import InquiryText, fold
from medtune.guardrails.policy import Policy

KINDS: tuple[Kind, ...] = get_args(Kind)
"""Of inquiries."""
PIECES = ("benign", "order")
"""Of sentences and options."""
SHIPPED = Path(str(files("medtune.guardrails.classifier"))) / "learned.json.gz"
"""The learned guard that comes with medtune."""
_LARGEST = 1 << 26
"""Bytes of JSON that are unpacked; the shipped guard has 4 MB."""
_SENTENCE = re.compile(r"(?<=[.?!:;])\s+|\n+")
_GREETING = re.compile(
    r"(?:(?:hello|hallo|hi|hey|greetings|good (?:morning|afternoon|evening|day)|thanks|thank you|"
    r"ok|okay|yes|test)(?: (?:there|all|everyone|again|doctor|very much|a lot))?[,.! ]*){1,2}",
    re.IGNORECASE,
)
_LONGEST_GREETING = 60
"""Characters."""


class TextClassifier(Protocol):
    """A learned guard: the one that is shipped, or a heavier one that somebody brings."""

    def judge(self, reading: InquiryText, policy: Policy) -> GuardVerdict:
        """Say what an inquiry is."""
        ...


class ClassifierFile(Record):
    """Both classifiers, as `medtune guard train` writes them."""

    kinds: LinearWeights
    orders: LinearWeights

    @property
    def hash(self) -> str:
        """Of all weights; 64 hex digits."""
        return content_hash(self.model_dump(mode="json"))


class GuardClassifier:
    """The learned guard.

    Args:
        trained: Its classifiers.
    """

    def __init__(self, trained: ClassifierFile) -> None:
        self.trained = trained
        self._kinds, self._orders = Classifier(trained.kinds), Classifier(trained.orders)

    def judge(self, reading: InquiryText, policy: Policy) -> GuardVerdict:
        """Say how sure it is that an inquiry is no exam question, and what it would be.

        A likely crisis gets its card: one too many does no harm, but for a greeting.
        """
        rule = policy.classifier
        if len(reading.text) <= _LONGEST_GREETING and _GREETING.fullmatch(reading.text):
            return _verdict("allow", None, 0.0)
        (row,) = self._kinds.probabilities([reading.text]).tolist()
        found = dict(zip(self._kinds.labels, row, strict=True))
        harm = min(1.0, found["harmful"] + found["crisis"])
        # Whoever speaks for himself is not answered from there on; the card costs him nothing.
        least = min(rule.crisis, rule.harmful) if is_own(reading) else rule.crisis
        if found["crisis"] >= least:
            return _verdict("refuse", "classifier.crisis", found["crisis"], "crisis")
        if harm >= rule.harmful:
            return _verdict(rule.action, "classifier.harmful", harm)
        if found["patient"] >= rule.patient:
            return _verdict(rule.action, "classifier.patient", found["patient"])
        rows = self._orders.probabilities(pieces(reading.inquiry))
        order = float(rows[:, self._orders.labels.index("order")].max())
        if order >= rule.order:
            return _verdict(rule.action, "classifier.order", order)
        return _verdict("allow", None, max(harm, found["patient"], order))


def _verdict(
    action: Action, reason: Code | None, probability: float, card: CardName | None = None
) -> GuardVerdict:
    return GuardVerdict(
        guard="classifier", action=action, reason=reason, probability=probability, card=card
    )


def pieces(inquiry: Inquiry) -> list[str]:
    """Cut an inquiry into sentences, options and free subject, folded."""
    sentences = [piece for piece in _SENTENCE.split(fold(inquiry.stem)) if piece]
    subject = [fold(inquiry.subject)] if inquiry.subject else []
    return sentences + [fold(option) for option in inquiry.options] + subject or [""]


@cache
def shipped() -> GuardClassifier:
    """Open the learned guard that comes with medtune."""
    return opened(SHIPPED)


def packed(trained: ClassifierFile) -> bytes:
    """Compress a learned guard's JSON; the same weights give the same bytes."""
    return gzip.compress(f"{trained.model_dump_json(indent=2)}\n".encode(), mtime=0)


def unpacked(path: Path) -> bytes:
    """Read a learned guard's JSON: compressed by `packed`, or plain as in a release.

    Raises:
        OSError: It cannot be read.
        zlib.error: What is compressed is damaged.
    """
    data = path.read_bytes()
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31).decompress(data, _LARGEST)
    return data


def opened(path: Path) -> GuardClassifier:
    """Open what `medtune guard train` wrote, or a release's guard.json.

    Raises:
        InputError: There is no such file, or it holds something else.
    """
    try:
        return GuardClassifier(ClassifierFile.model_validate_json(unpacked(path)))
    except (OSError, ValueError, zlib.error) as error:
        wrong = f"it holds something else: {' '.join(str(error).split())[:200]}"
        why = error.strerror if isinstance(error, OSError) else wrong
        raise InputError(
            f"{path} cannot be read as a learned guard: {why}",
            expected="a file that `medtune guard train --out FILE` wrote",
        ) from error
