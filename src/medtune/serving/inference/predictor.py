"""The predictor: a model with its prompt, guards and calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from medtune.analysis.calibration import apply_temperature
from medtune.core.choice import choose_option
from medtune.core.errors import ModelError, RetrievalError
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import AnswerModel
from medtune.core.records import Method, Question
from medtune.core.schemas.guardrails import (
    GuardVerdict,
    Inquiry,
    OptionScores,
    ServingCalibration,
    strictest_action,
)
from medtune.evaluation.score import score_options
from medtune.guardrails.answer_guards import check_confidence, check_output
from medtune.guardrails.pipeline import Guards
from medtune.guardrails.policy import ANSWER_GUARDS, Policy
from medtune.retrieval.answer_evidence import find_answer_evidence
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import PassageIndex


@runtime_checkable
class HealthCheck(Protocol):
    """A model with a health check, such as one behind a server."""

    def check(self) -> None:
        """Raise a ModelError if the model is not available."""
        ...


@dataclass(frozen=True, slots=True)
class Predictor:
    """Everything that determines an answer; it is replaced as a whole.

    Attributes:
        model: Scores options.
        style: The prompt.
        method: letter or cloze.
        guards: The input guards and their policy.
        calibration: None if the model was never calibrated.
        release: Name of the release, shown in every answer.
        index: Passages that are shown with answers; None shows none.
        open_book: Finds the passages of the prompt; None for a model that reads none.
    """

    model: AnswerModel
    style: PromptStyle
    method: Method
    guards: Guards
    calibration: ServingCalibration | None
    release: str
    index: PassageIndex | None = None
    open_book: EvidenceFinder | None = None

    @property
    def policy(self) -> Policy:
        """Policy of the guards."""
        return self.guards.policy

    def predict(self, questions: Sequence[Question]) -> list[OptionScores]:
        """Score the options of some questions in one batch.

        Raises:
            ModelError: The model fails, or its server or the index's database cannot be reached.
        """
        try:
            return self._predict(questions)
        except RetrievalError as error:
            raise ModelError(error.found, expected=error.expected, fix=error.fix) from error

    def check(self) -> None:
        """Check that the index and the model's server, if there are any, can be reached.

        Raises:
            ModelError: One cannot.
        """
        if isinstance(self.model, HealthCheck):
            self.model.check()
        if self.index is not None:
            try:
                self.index.search(["health"], 1)
            except RetrievalError as error:
                raise ModelError(error.found, expected=error.expected, fix=error.fix) from error

    def _predict(self, questions: Sequence[Question]) -> list[OptionScores]:
        asked = score_options(self.model, self.style, self.method, questions, self.open_book)
        # Chosen before the temperature, as in an evaluation: scaling may round to a tie.
        return [
            self._option_scores(question, cold, mass)
            for (cold, mass), question in zip(asked, questions, strict=True)
        ]

    def apply_answer_guards(
        self, inquiry: Inquiry, scores: OptionScores
    ) -> tuple[GuardVerdict, ...]:
        """Apply the answer guards in the policy's order."""
        guards: dict[str, Callable[[], GuardVerdict]] = {
            "confidence": lambda: check_confidence(inquiry, scores, self.calibration, self.policy),
            "output": lambda: check_output(scores),
        }
        return tuple(guards[name]() for name in self.policy.order if name in guards)

    def _option_scores(
        self, question: Question, cold: tuple[float, ...], mass: float | None
    ) -> OptionScores:
        stem, options = question.stem, question.options
        chosen, evidence = choose_option(cold, stem, options), None
        if self.index is not None:
            evidence = find_answer_evidence(self.index, stem, options, chosen)
        return OptionScores(
            probabilities=self._calibrated(cold), chosen=chosen, mass=mass, evidence=evidence
        )

    def _calibrated(self, probabilities: tuple[float, ...]) -> tuple[float, ...]:
        if self.calibration is None:
            return probabilities
        scaled = apply_temperature(np.array(probabilities), self.calibration.temperature)
        return tuple(map(float, scaled))


def predict_batch(asked: Sequence[tuple[Predictor, Question]]) -> list[OptionScores]:
    """Score questions, grouped by predictor; two occur while one is being replaced.

    Raises:
        ModelError: A model fails, or its server cannot be reached.
    """
    found: dict[str, OptionScores] = {}
    for which in dict.fromkeys(id(predictor) for predictor, _ in asked):
        mine = [(predictor, question) for predictor, question in asked if id(predictor) == which]
        questions = [question for _, question in mine]
        found.update(
            {q.id: t for q, t in zip(questions, mine[0][0].predict(questions), strict=True)}
        )
    return [found[question.id] for _, question in asked]


def is_withheld(verdicts: Sequence[GuardVerdict]) -> bool:
    """Return whether the answer guards hold an answer back."""
    return strictest_action(tuple(v for v in verdicts if v.guard in ANSWER_GUARDS)) in (
        "defer",
        "refuse",
    )
