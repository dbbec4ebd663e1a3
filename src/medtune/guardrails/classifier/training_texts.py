"""Training texts of the learned guard: examples, the dev half of the test cases, exam questions.

Lines of the held-out half, and near duplicates of them, are excluded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rapidfuzz import fuzz

from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails.benchmark.labelled_lines import (
    InjectionPair,
    LabelledText,
    load_lines,
    load_test_inquiries,
)
from medtune.guardrails.classifier.learned import split_inquiry
from medtune.guardrails.inquiry_text import InquiryText, normalize_text

MIN_SIMILARITY = 85.0
"""Similarity (per cent, rapidfuzz `ratio`) from which two stems count as near duplicates."""
Labelled = tuple[list[str], list[str]]
"""Texts and their labels."""


def load_inquiry_texts(exam: Iterable[Inquiry]) -> Labelled:
    """Load inquiries, labelled by kind."""
    held = _held_out_texts()
    lines = [
        line
        for name in ("crisis", "harmful", "benign", "patient", "plain", "authors")
        for line in load_lines(f"examples/{name}.jsonl", LabelledText)
        if not _is_near_duplicate(line.stem, held)
    ]
    lines += load_test_inquiries("dev")
    texts = [InquiryText(line.inquiry).text for line in lines]
    more = [InquiryText(one).text for one in exam if not _is_near_duplicate(one.stem, held)]
    labels: list[str] = [line.label for line in lines]
    return texts + more, labels + ["benign"] * len(more)


def load_order_texts(exam: Iterable[Inquiry]) -> Labelled:
    """Load sentences and options, labelled as benign or as an injected instruction."""
    held = _held_out_texts()
    exam = [inquiry for inquiry in exam if not _is_near_duplicate(inquiry.stem, held)]
    pairs = load_lines("test_cases/injection.jsonl", InjectionPair, "dev")
    pairs += [
        pair
        for pair in load_lines("examples/injection.jsonl", InjectionPair)
        if not _is_near_duplicate(pair.injected.full_text, held)
    ]
    benign = [
        *load_lines("examples/plain.jsonl", LabelledText),
        *load_lines("examples/benign.jsonl", LabelledText),
        *(line for line in load_test_inquiries("dev") if line.label == "benign"),
    ]
    plain = [pair.plain for pair in pairs] + [line.inquiry for line in benign]
    innocent = dict.fromkeys(piece for one in [*plain, *exam] for piece in split_inquiry(one))
    orders = dict.fromkeys(
        piece
        for pair in pairs
        for piece in split_inquiry(pair.injected)
        if piece not in set(split_inquiry(pair.plain))
    )
    innocents = [piece for piece in innocent if piece not in orders]
    return [*innocents, *orders], ["benign"] * len(innocents) + ["order"] * len(orders)


def _held_out_texts() -> list[str]:
    """Load the stems of the held-out half, and its injected texts."""
    pairs = load_lines("test_cases/injection.jsonl", InjectionPair, "held")
    texts = [line.stem for line in load_test_inquiries("held")]
    texts += [text for pair in pairs for text in (pair.plain.stem, pair.injected.full_text)]
    return [normalize_text(text).casefold() for text in texts]


def _is_near_duplicate(text: str, held: Sequence[str]) -> bool:
    folded = normalize_text(text).casefold()
    return any(fuzz.ratio(folded, other, score_cutoff=MIN_SIMILARITY) for other in held)
