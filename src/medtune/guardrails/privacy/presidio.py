"""Find identifiers by Presidio, with medtune's own finder as one of its recognizers.

`MedtuneRecognizer` can be added to anybody's registry of Presidio.  Presidio's recognizers of e-mail
addresses, links and IP addresses are left out: medtune's find the same, the first fetches a list of
domains from the network, and the last takes enzyme numbers for addresses.  Dates, places, nations and organizations are kept, because questions ask about
them.
"""

from __future__ import annotations

import logging
from copy import copy
from importlib.metadata import version

from presidio_analyzer import (
    AnalyzerEngine,
    LocalRecognizer,
    RecognizerRegistry,
    RecognizerResult,
)
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine, NoOpNlpEngine, SpacyNlpEngine

from medtune.core.errors import InputError, ModelError, first_line
from medtune.guardrails.privacy.identifiers import (
    Identifier,
    IdentifierFinder,
    find_identifiers,
)

DEFAULT_SCORE = 0.5
"""Least score that counts: patterns without a check digit have less."""
LANGUAGE = "en"
_ENTITIES = {
    "address": "STREET_ADDRESS",
    "birth": "DATE_OF_BIRTH",
    "device": "DEVICE_NUMBER",
    "document": "DOCUMENT_NUMBER",
    "email": "EMAIL_ADDRESS",
    "insurance": "INSURANCE_NUMBER",
    "name": "PERSON",
    "phone": "PHONE_NUMBER",
    "record": "MEDICAL_RECORD_NUMBER",
    "web": "URL",
}
"""Presidio's names of medtune's kinds; six of them are medtune's own."""
_KINDS = {entity: kind for kind, entity in _ENTITIES.items()} | {
    "MAC_ADDRESS": "device",
    "UK_NHS": "record",
    "US_SSN": "insurance",
}
"""medtune's kinds of Presidio's entities; all others are documents."""
_KEPT_ENTITIES = {"AGE", "DATE_TIME", "FACILITY", "LOCATION", "NRP", "ORGANIZATION", "TITLE"}
_LEFT_OUT = ("EmailRecognizer", "UrlRecognizer", "IpRecognizer")


class MedtuneRecognizer(LocalRecognizer):
    """A recognizer of Presidio that finds what medtune finds, with score 1.

    Args:
        find: Finds the identifiers of a text.
    """

    def __init__(self, find: IdentifierFinder = find_identifiers) -> None:
        self._find = find
        super().__init__(
            supported_entities=list(_ENTITIES.values()),
            supported_language=LANGUAGE,
            version=version("medtune"),
        )

    def load(self) -> None:
        """Do nothing: the tagger is loaded when the first text is read."""

    def analyze(
        self,
        text: str,
        entities: list[str],
        nlp_artifacts: NlpArtifacts | None = None,  # noqa: ARG002
    ) -> list[RecognizerResult]:
        """Return the identifiers of a text that are among the entities."""
        found = [(_ENTITIES[one.kind], one) for one in self._find(text)]
        return [
            RecognizerResult(entity, one.start, one.end, 1.0)
            for entity, one in found
            if entity in entities
        ]


class PresidioFinder:
    """Presidio's analyzer as a finder of identifiers, for English.

    Args:
        find: medtune's own finder, which is one of the recognizers.
        spacy_model: spaCy model whose persons are names; None for no such model.
        score: Least score that counts.

    Raises:
        InputError: The spaCy model is not installed.
    """

    def __init__(
        self, find: IdentifierFinder, spacy_model: str | None = None, score: float | None = None
    ) -> None:
        self.engine = f"presidio {version('presidio-analyzer')}"
        self._score = DEFAULT_SCORE if score is None else score
        language = _open_language(spacy_model)
        registry = RecognizerRegistry(supported_languages=[LANGUAGE])
        # While it loads, it warns of every recognizer of another language.
        logger = logging.getLogger("presidio-analyzer")
        level = logger.level
        logger.setLevel(logging.ERROR)
        registry.load_predefined_recognizers(languages=[LANGUAGE], nlp_engine=language)
        logger.setLevel(level)
        for name in _LEFT_OUT:
            registry.remove_recognizer(name)
        registry.add_recognizer(MedtuneRecognizer(find))
        self._analyzer = AnalyzerEngine(registry, language, supported_languages=[LANGUAGE])
        self._entities = sorted(
            set(self._analyzer.get_supported_entities(LANGUAGE)) - _KEPT_ENTITIES
        )

    def __call__(self, text: str) -> list[Identifier]:
        """Find the identifiers of a text; overlapping ones are one, of the surest one's kind.

        Raises:
            ModelError: Presidio fails.
        """
        try:
            found = self._analyzer.analyze(
                text, LANGUAGE, entities=self._entities, score_threshold=self._score
            )
        except Exception as error:
            raise ModelError(f"{self.engine} fails: {first_line(error)}") from error
        joined: list[RecognizerResult] = []
        for one in sorted(found, key=lambda one: one.start):
            if joined and one.start < joined[-1].end:
                last = joined[-1]
                joined[-1] = copy(max(last, one, key=_rank))
                joined[-1].start, joined[-1].end = last.start, max(last.end, one.end)
            else:
                joined.append(one)
        return [
            Identifier(_KINDS.get(one.entity_type, "document"), one.start, one.end)
            for one in joined
        ]


def _rank(found: RecognizerResult) -> tuple[float, bool]:
    """Return how sure a result is, and whether it is medtune's own."""
    by = (found.recognition_metadata or {}).get(RecognizerResult.RECOGNIZER_NAME_KEY)
    return found.score, by == MedtuneRecognizer.__name__


def _open_language(spacy_model: str | None) -> NlpEngine:
    engine: NlpEngine
    if spacy_model is None:
        engine = NoOpNlpEngine([{"lang_code": LANGUAGE, "model_name": ""}])
        engine.load()
        return engine
    from spacy.util import is_package

    # Presidio would download a model that is not there.
    if not is_package(spacy_model):
        raise InputError(
            f"the spaCy model {spacy_model} is not installed",
            fix=f"python -m spacy download {spacy_model}, or leave spacy_model out of the policy",
        )
    try:
        engine = SpacyNlpEngine([{"lang_code": LANGUAGE, "model_name": spacy_model}])
        engine.load()
    except (OSError, ValueError) as error:
        raise InputError(f"{spacy_model} cannot be loaded: {first_line(error)}") from error
    return engine
