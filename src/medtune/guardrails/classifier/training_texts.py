"""What the learned guard learns from: examples, the suites' dev half, and exam questions.

Never from the held half, nor from a line that is nearly one of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rapidfuzz import fuzz

from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails.benchmark.labelled_lines import InjectionPair, LabelledText, kinds, read
from medtune.guardrails.classifier.learned import pieces
from medtune.guardrails.inquiry_text import InquiryText, fold

ALIKE = 85.0
"""Similarity (per cent of a common edit sequence) from which two stems are the same line."""
Labelled = tuple[list[str], list[str]]
"""Texts and their labels."""


def kind_texts(exam: Iterable[Inquiry]) -> Labelled:
    """Gather inquiries to tell kinds by.

    Args:
        exam: Further exam questions.
    """
    suites = kinds()
    held = [fold(line.stem).casefold() for line in suites if line.half == "held"]
    lines = [
        line
        for name in ("crisis", "harmful", "benign", "patient", "plain")
        for line in read(f"examples/{name}.jsonl", LabelledText)
        if not _is_among(line.stem, held)
    ]
    lines += [line for line in suites if line.half == "dev"]
    texts = [InquiryText(line.inquiry).text for line in lines]
    more = [InquiryText(inquiry).text for inquiry in exam]
    labels: list[str] = [line.label for line in lines]
    return texts + more, labels + ["benign"] * len(more)


def order_texts(exam: Iterable[Inquiry]) -> Labelled:
    """Gather sentences and options to tell orders by.

    Args:
        exam: Further exam questions.
    """
    suite = read("suites/injection.jsonl", InjectionPair)
    held = [fold(pair.injected.whole).casefold() for pair in suite if pair.half == "held"]
    pairs = [pair for pair in suite if pair.half == "dev"]
    pairs += [
        pair
        for pair in read("examples/injection.jsonl", InjectionPair)
        if not _is_among(pair.injected.whole, held)
    ]
    plain = [pair.plain for pair in pairs]
    plain += [line.inquiry for line in read("examples/plain.jsonl", LabelledText)]
    plain += [line.inquiry for line in read("examples/benign.jsonl", LabelledText)]
    plain += [line.inquiry for line in kinds() if (line.half, line.label) == ("dev", "benign")]
    innocent = dict.fromkeys(piece for one in [*plain, *exam] for piece in pieces(one))
    orders = dict.fromkeys(
        piece
        for pair in pairs
        for piece in pieces(pair.injected)
        if piece not in set(pieces(pair.plain))
    )
    innocents = [piece for piece in innocent if piece not in orders]
    return [*innocents, *orders], ["benign"] * len(innocents) + ["order"] * len(orders)


def _is_among(text: str, held: Sequence[str]) -> bool:
    folded = fold(text).casefold()
    return any(fuzz.ratio(folded, other, score_cutoff=ALIKE) for other in held)
