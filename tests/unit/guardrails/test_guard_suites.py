"""The suites that were written apart: whole, and nothing of them is learned from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rapidfuzz import fuzz, process

from medtune.core.schemas.guard_check import QuestionLine
from medtune.guardrails.benchmark.check_lines import list_fields
from medtune.guardrails.benchmark.labelled_lines import (
    EponymText,
    IdentifierText,
    InjectionPair,
    LabelledText,
    load_lines,
    load_templates,
    load_test_inquiries,
)
from medtune.guardrails.classifier.training_texts import MIN_SIMILARITY
from medtune.guardrails.privacy.template_texts import TAG

SUITES = Path(__file__).parents[3] / "benchmarks" / "guard_suites"
LINES = [
    QuestionLine.model_validate_json(text)
    for file in sorted(SUITES.glob("*.jsonl"))
    for text in file.read_text("utf-8").splitlines()
]


def test_every_topic_is_there() -> None:
    assert Counter(line.topic for line in LINES) == {
        "harm as an exam question": 75, "exam question in the same words": 75,
        "hidden order": 36, "similar words, no order": 36,
        "about oneself or a patient": 30, "crisis": 30,
        "exam question": 360, "identifiers": 585,
    }  # fmt: skip
    assert len({line.id for line in LINES}) == len(LINES)


def test_every_span_lies_in_its_text() -> None:
    for line in LINES:
        for span in line.expected_spans or ():
            assert span.field in list_fields(line)
            assert line.read_field(span.field)[span.start : span.end].strip(), line.id


def test_nothing_of_them_is_learned_from() -> None:
    suite = [line.stem.casefold() for line in LINES]
    learned = [
        line.stem.casefold()
        for name in ("authors", "benign", "harmful", "crisis", "patient", "plain")
        for line in load_lines(f"examples/{name}.jsonl", LabelledText)
    ]
    learned += [
        pair.injected_stem.casefold()
        for name in ("examples/injection", "test_cases/injection")
        for pair in load_lines(f"{name}.jsonl", InjectionPair)
    ]
    for folder in ("examples", "test_cases"):
        identifiers = load_lines(f"{folder}/identifiers.jsonl", IdentifierText)
        eponyms = load_lines(f"{folder}/eponyms.jsonl", EponymText)
        learned += [line.text.casefold() for line in identifiers]
        learned += [line.text.casefold() for line in eponyms]
    learned += [line.stem.casefold() for line in load_test_inquiries()]
    learned += [TAG.sub("", line.text).casefold() for line in load_templates()]
    found = process.cdist(suite, learned, scorer=fuzz.ratio, score_cutoff=MIN_SIMILARITY)
    assert [(suite[a], learned[b]) for a, b in zip(*found.nonzero(), strict=True)] == []
