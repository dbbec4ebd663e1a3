"""Use any object with `score` and `describe` as an answer model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from medtune.core.errors import ModelError
from medtune.core.protocols import (
    AnswerModel,
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import ModelDescription
from medtune.models.search_model import render_plain

KINDS = ("embedded", "hub", "path", "adapter", "remote", "search", "mix", "fake", "release")
"""Kinds of names that medtune opens itself."""
FIX = "see docs/own-model.md for an example of twenty lines"


class ScoringModel(Protocol):
    """The least that a model from Python has: scores, and a description."""

    def score(self, requests: Sequence[ScoreRequest]) -> Any:
        """Return one log-probability for each continuation of every request."""
        ...

    def describe(self) -> Any:
        """Return a name, or a `ModelDescription`."""
        ...


class OwnModel:
    """An AnswerModel around an object that scores and describes itself.

    A description may be a name, and a score a log-probability. Prompts are rendered as plain text
    unless the object has `render`; free answers need `generate`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.describe()

    def describe(self) -> ModelDescription:
        """Describe the object.

        Raises:
            ModelError: It describes itself neither by a name nor by a `ModelDescription`.
        """
        found = self._model.describe()
        name = found.source if isinstance(found, ModelDescription) else found
        if isinstance(name, str) and name.partition(":")[0] in KINDS and ":" in name:
            raise ModelError(
                f"{_type_name(self._model)} describes itself as {name}",
                expected=f"a name that does not begin with {name.partition(':')[0]}:",
            )
        if isinstance(found, ModelDescription):
            return found
        if not isinstance(found, str) or not found:
            raise ModelError(
                f"describe() of {_type_name(self._model)} returned {found!r}",
                expected="a name, or a medtune.core.records.ModelDescription",
                fix=FIX,
            )
        return ModelDescription(
            source=found, fingerprint=found, parameters=0, dtype="none", device="none"
        )

    def render(self, messages: Sequence[Message]) -> str:
        """Render a chat as the object does, or as plain text."""
        own = getattr(self._model, "render", None)
        return str(own(messages)) if own is not None else render_plain(messages)

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation of every request.

        Raises:
            ModelError: There is not one number for every continuation.
        """
        found = list(self._model.score(requests))
        if len(found) != len(requests):
            raise self._wrong_scores(f"{len(found)} results for {len(requests)} requests")
        return [
            self._read_scores(request, scores)
            for request, scores in zip(requests, found, strict=True)
        ]

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Generate free answers.

        Raises:
            ModelError: The object cannot.
        """
        own = getattr(self._model, "generate", None)
        if own is None:
            raise ModelError(
                f"{self.describe().source} writes no free answers: it has no method generate",
                expected="method letter or cloze, or an object with generate(requests, decoding)",
            )
        return list(own(requests, decoding))

    def _read_scores(self, request: ScoreRequest, scores: Any) -> tuple[ContinuationScore, ...]:
        texts = request.continuations
        try:
            given = tuple(scores)
        except TypeError:
            raise self._wrong_scores(f"{scores!r} for question {request.id}") from None
        if len(given) != len(texts):
            raise self._wrong_scores(
                f"{len(given)} scores for the {len(texts)} options of question {request.id}"
            )
        return tuple(
            self._read_score(request, text, score) for text, score in zip(texts, given, strict=True)
        )

    def _read_score(self, request: ScoreRequest, text: str, score: Any) -> ContinuationScore:
        if isinstance(score, ContinuationScore):
            return score
        try:
            value = float(score)
        except (TypeError, ValueError):
            raise self._wrong_scores(f"{score!r} for question {request.id}") from None
        words = text.strip()
        # Without a tokenizer a token is a word; only the normalization "token" reads it.
        return ContinuationScore(value, max(1, len(words.split())), max(1, len(words.encode())))

    def _wrong_scores(self, found: str) -> ModelError:
        return ModelError(
            f"score() of {_type_name(self._model)} returned {found}",
            expected="for every request, one log-probability for each of its continuations",
            fix=FIX,
        )


def as_answer_model(model: object) -> AnswerModel:
    """Return an object as an answer model.

    Raises:
        ModelError: It has no `score` or no `describe`, or is a class.
    """
    if isinstance(model, type):
        raise ModelError(
            f"{model.__name__} is a class",
            expected="an object",
            fix=f"make one: {model.__name__}()",
        )
    if missing := [name for name in ("score", "describe") if not _has_method(model, name)]:
        raise ModelError(
            f"{_type_name(model)} has no method {' and no method '.join(missing)}",
            expected="the name of a model, or an object with score(requests) and describe()",
            fix=FIX,
        )
    if isinstance(model, AnswerModel) and isinstance(model.describe(), ModelDescription):
        return model
    return OwnModel(model)


def _has_method(model: object, name: str) -> bool:
    return callable(getattr(model, name, None))


def _type_name(model: object) -> str:
    return type(model).__name__
