"""The learned guard: two linear classifiers of inquiries and of their parts.

One classifies a whole inquiry as exam question, patient's question, wish to harm, or crisis. The
other classifies every sentence and every option as benign or as an injected instruction: a short
instruction would be lost in a long vignette.
"""

from __future__ import annotations

import gzip
import re
import zlib
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Protocol, get_args

from medtune.core.errors import InputError
from medtune.core.records import Record, content_hash
from medtune.core.schemas.guardrails import GuardVerdict, Inquiry
from medtune.guardrails.benchmark.labelled_lines import Kind
from medtune.guardrails.classifier.linear import LinearWeights, TextClassifier
from medtune.guardrails.input_rules.crisis import concerns_asker
from medtune.guardrails.inquiry_text import InquiryText, normalize_text
from medtune.guardrails.policy import Policy
from medtune.guardrails.rules import make_verdict

INQUIRY_LABELS: tuple[Kind, ...] = get_args(Kind)
"""Labels of inquiries."""
PIECE_LABELS = ("benign", "order")
"""Labels of sentences and options."""
DEFAULT_CLASSIFIER_FILE = Path(str(files("medtune.guardrails.classifier"))) / "learned.json.gz"
"""Path of the default learned guard."""
_MAX_JSON_BYTES = 1 << 26
"""Most bytes of JSON that are unpacked; the default guard has 7 MB."""
_SENTENCE = re.compile(r"(?<=[.?!:;])\s+|\n+")
_GREETING = re.compile(
    r"(?:(?:hello|hallo|hi|hey|greetings|good (?:morning|afternoon|evening|day)|thanks|thank you|"
    r"ok|okay|yes|test)(?: (?:there|all|everyone|again|doctor|very much|a lot))?[,.! ]*){1,2}",
    re.IGNORECASE,
)
_MAX_GREETING_LENGTH = 60
"""Characters."""


class LearnedGuard(Protocol):
    """A learned guard: the default one, or a custom one."""

    def judge(self, reading: InquiryText, policy: Policy) -> GuardVerdict:
        """Return the verdict on an inquiry."""
        ...


class ClassifierFile(Record):
    """Both classifiers, as written by `medtune guard train`."""

    kinds: LinearWeights
    orders: LinearWeights

    @cached_property
    def hash(self) -> str:
        """Hash of all weights; 64 hex digits."""
        return content_hash(self.model_dump(mode="json"))


class LinearGuard:
    """The learned guard with two linear classifiers."""

    def __init__(self, trained: ClassifierFile) -> None:
        self.trained = trained
        self._kinds, self._orders = TextClassifier(trained.kinds), TextClassifier(trained.orders)

    def judge(self, reading: InquiryText, policy: Policy) -> GuardVerdict:
        """Return the verdict on an inquiry, by the probabilities of both classifiers.

        A likely crisis gets its card, since a false alarm does no harm; a greeting never gets it.
        """
        rule = policy.classifier
        if len(reading.text) <= _MAX_GREETING_LENGTH and _GREETING.fullmatch(reading.text):
            return make_verdict("classifier", "allow", None, probability=0.0)
        (row,) = self._kinds.probabilities([reading.text]).tolist()
        by_kind = dict(zip(self._kinds.labels, row, strict=True))
        crisis, patient = by_kind["crisis"], by_kind["patient"]
        harm = min(1.0, by_kind["harmful"] + crisis)
        # At `harmful`, users who write about themselves get no answer anyway: show the card.
        personal = concerns_asker(reading.inquiry, reading.unquoted_stem)
        if crisis >= (min(rule.crisis, rule.harmful) if personal else rule.crisis):
            return make_verdict("classifier", "refuse", "classifier.crisis", "crisis", crisis)
        if harm >= rule.harmful:
            return make_verdict("classifier", rule.action, "classifier.harmful", None, harm)
        if patient >= rule.patient:
            return make_verdict("classifier", rule.action, "classifier.patient", None, patient)
        rows = self._orders.probabilities(split_inquiry(reading.inquiry))
        order = float(rows[:, self._orders.labels.index("order")].max())
        if order >= rule.order:
            return make_verdict("classifier", rule.action, "classifier.order", None, order)
        return make_verdict("classifier", "allow", None, None, max(harm, patient, order))


def split_inquiry(inquiry: Inquiry) -> list[str]:
    """Split an inquiry into normalized sentences, options and free-text subject."""
    sentences = [piece for piece in _SENTENCE.split(normalize_text(inquiry.stem)) if piece]
    subject = [normalize_text(inquiry.subject)] if inquiry.subject else []
    return sentences + [normalize_text(option) for option in inquiry.options] + subject or [""]


@cache
def load_default_classifier() -> LinearGuard:
    """Load the default learned guard."""
    return load_classifier(DEFAULT_CLASSIFIER_FILE)


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
        return zlib.decompressobj(wbits=31).decompress(data, _MAX_JSON_BYTES)
    return data


def load_classifier(path: Path) -> LinearGuard:
    """Load a learned guard: a file that `medtune guard train` wrote, or a release's guard.json.

    Raises:
        InputError: The file is missing, or is not a learned guard.
    """
    try:
        return LinearGuard(ClassifierFile.model_validate_json(unpacked(path)))
    except (OSError, ValueError, zlib.error) as error:
        wrong = f"it holds something else: {' '.join(str(error).split())[:200]}"
        why = error.strerror if isinstance(error, OSError) else wrong
        raise InputError(
            f"{path} cannot be read as a learned guard: {why}",
            expected="a file that `medtune guard train --out FILE` wrote",
        ) from error
