"""Answer questions by text search alone: `search:DIR`, an AnswerModel without a neural network."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path

from medtune.core.choice import choose_option
from medtune.core.model_names import SEARCH_PREFIX
from medtune.core.negation import is_negated
from medtune.core.option_logprobs import MIN_PROBABILITY
from medtune.core.protocols import (
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import ModelDescription, content_hash
from medtune.models.open_index import open_index
from medtune.retrieval.index import PassageIndex
from medtune.retrieval.option_features import PLAIN_FEATURES, search_options
from medtune.retrieval.schema import OptionScorer
from medtune.retrieval.scorer import option_log_probabilities


class SearchModel:
    """An AnswerModel that scores options by the passages that they find.

    Args:
        name: Name of the model: search: and the folder of the index.
        index: The passages.
        scorer: Fitted weights of the options' features; None scores by the best passage.
        excluded: Rows of passages to leave out: those that leak an evaluated question.
    """

    def __init__(
        self,
        name: str,
        index: PassageIndex,
        scorer: OptionScorer | None,
        excluded: Collection[int] = (),
    ) -> None:
        self.index = index
        self._name, self._scorer, self._excluded = name, scorer, frozenset(excluded)
        self._features = scorer.features if scorer is not None else PLAIN_FEATURES

    @classmethod
    def open(cls, name: str) -> SearchModel:
        """Open the index of a name such as search:runs/quickstart/index.

        Raises:
            RetrievalError: The folder holds no usable index.
        """
        index = open_index(Path(name.removeprefix(SEARCH_PREFIX)))
        return cls(name, index, index.read_scorer())

    def without(self, excluded: Collection[int]) -> SearchModel:
        """Return a model that leaves out some passages, by row."""
        return SearchModel(self._name, self.index, self._scorer, excluded)

    def in_index(self, index: PassageIndex) -> SearchModel:
        """Return a model that searches another index by the same weights."""
        return SearchModel(self._name, index, self._scorer)

    def describe(self) -> ModelDescription:
        """Describe the index and its scorer.

        The passages that are left out follow from the questions: they are no part of the identity,
        so that a calibration on other questions is one of the same model.
        """
        scorer = self._scorer.model_dump(mode="json") if self._scorer is not None else None
        return ModelDescription(
            source=self._name,
            fingerprint=content_hash([self.index.manifest.hash, scorer]),
            parameters=len(self._scorer.weights) if self._scorer is not None else 0,
            dtype="none",
            device="cpu",
        )

    def render(self, messages: Sequence[Message]) -> str:
        """Render a chat as plain text; the search reads the stem and the options alone."""
        return render_plain(messages)

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score the options; each counts as one token of one byte, whatever its length."""
        return [
            tuple(ContinuationScore(value, 1, 1) for value in self._log_probabilities(request))
            for request in requests
        ]

    def generate(
        self,
        requests: Sequence[GenerateRequest],
        decoding: Decoding,  # noqa: ARG002 - there is one answer
    ) -> list[Generation]:
        """Answer with a sentence that names the likeliest option."""
        return [generate_best_option(r, self._log_probabilities(r)) for r in requests]

    def _log_probabilities(self, request: ScoreRequest | GenerateRequest) -> list[float]:
        features = search_options(
            self.index, request.stem, request.options, self._features, self._excluded
        )
        logs = option_log_probabilities(self._scorer, features, is_negated(request.stem))
        return [max(float(value), math.log(MIN_PROBABILITY)) for value in logs]


def generate_best_option(request: GenerateRequest, scores: Sequence[float]) -> Generation:
    """Return a sentence that names the likeliest option, or the answer that was prescribed."""
    best = choose_option(scores, request.stem, request.options)
    text = f"The answer is: {request.options[best]}"
    if request.choices is not None:
        text = request.choices[best]
    return Generation(text, len(text.split()), True)


def render_plain(messages: Sequence[Message]) -> str:
    """Render a chat as plain text, for models that do not read it."""
    return "\n".join(f"{m.role}: {m.content}" for m in messages) + "\nassistant: "
