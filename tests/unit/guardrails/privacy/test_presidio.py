"""Presidio as the engine of the privacy guard, with medtune's finder among its recognizers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NoOpNlpEngine

from medtune.core.errors import InputError, ModelError
from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails.pipeline import run_input_guards
from medtune.guardrails.policy import Policy, load_policy
from medtune.guardrails.privacy.identifiers import Identifier, find_identifiers, redact_text
from medtune.guardrails.privacy.presidio import MedtuneRecognizer, PresidioFinder
from medtune.workflows.open_guards import open_guards

LINE = "Mr Karl Weber, MRN 4482913, paid by 4012-8888-8888-1881 from GB82 WEST 1234 5698 7654 32."
"""The record number and the name are medtune's, the card's number and the IBAN either's."""


KEY = "123e4567-e89b-12d3-a456-426614174000"
"""Presidio's alone."""


@pytest.fixture(scope="module")
def finder() -> PresidioFinder:
    return PresidioFinder(find_identifiers)


def test_it_finds_what_either_finds(finder: PresidioFinder) -> None:
    found = {LINE[one.start : one.end] for one in finder(LINE)}
    assert {"Karl Weber", "4482913", "4012-8888-8888-1881"} <= found
    used = f"The key {KEY} was used."
    assert find_identifiers(used) == []
    assert finder(used) == [Identifier("document", 8, 8 + len(KEY))]


def test_spans_are_sorted_and_do_not_overlap(finder: PresidioFinder) -> None:
    found = finder(LINE * 3)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert finder("") == []
    assert finder("Which is EC 3.1.1.7, and which EC 1.14.13.39?") == []
    assert finder("Which nerve supplies the deltoid after 2 days in Delhi?") == []


def test_overlapping_spans_are_joined_by_the_surest(finder: PresidioFinder) -> None:
    def find(_: str) -> list[Identifier]:
        return [Identifier("name", 0, 12)]

    [one] = PresidioFinder(find)("4012-8888-8888-1881")
    assert (one.kind, one.start, one.end) == ("name", 0, 19)


def test_the_recognizer_serves_anybodys_registry() -> None:
    language = NoOpNlpEngine([{"lang_code": "en", "model_name": ""}])
    language.load()
    registry = RecognizerRegistry([MedtuneRecognizer()])
    analyzer = AnalyzerEngine(registry, language)
    found = {LINE[r.start : r.end]: r.entity_type for r in analyzer.analyze(LINE, "en")}
    assert found["Karl Weber"] == "PERSON"
    assert found["4482913"] == "MEDICAL_RECORD_NUMBER"
    only = analyzer.analyze(LINE, "en", entities=["PERSON"])
    assert [LINE[r.start : r.end] for r in only] == ["Karl Weber"]


def test_a_policy_names_it_and_the_verdict_tells() -> None:
    raw = load_policy().model_dump(exclude_none=True)
    policy = Policy.model_validate({**raw, "privacy": {"engine": "presidio"}})
    guards = open_guards(policy)
    [engine] = guards.engines
    assert engine.startswith("presidio 2.")
    asked = Inquiry(
        stem=f"A man pays from {KEY}. Which of the following is the drug of choice?",
        options=("heparin", "warfarin"),
    )
    outcome = run_input_guards(asked, guards)
    assert outcome.inquiry is not None
    assert KEY not in outcome.inquiry.stem
    [verdict] = [verdict for verdict in outcome.verdicts if verdict.guard == "privacy"]
    assert (verdict.reason, verdict.engine) == ("privacy.redacted", engine)
    assert KEY not in redact_text(asked.stem, find=guards.find_identifiers)


def test_a_fault_of_presidio_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    finder = PresidioFinder(find_identifiers)
    monkeypatch.setattr(finder, "_analyzer", None)
    with pytest.raises(ModelError, match=r"presidio .* fails"):
        finder("any text")


def test_a_spacy_model_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match=r"en_core_web_xl is not installed[\s\S]*spacy download"):
        PresidioFinder(find_identifiers, "en_core_web_xl")


def test_a_spacy_models_persons_are_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import spacy

    blank = spacy.blank("en")
    ruler = blank.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Zorblax"}])  # type: ignore[attr-defined]
    monkeypatch.setattr("spacy.util.is_package", lambda name: name == "own_model")
    monkeypatch.setattr("spacy.load", lambda name, **_: blank)
    text = "the answer of Zorblax was no"
    [one] = PresidioFinder(lambda _: [], "own_model")(text)
    assert (one.kind, text[one.start : one.end]) == ("name", "Zorblax")
