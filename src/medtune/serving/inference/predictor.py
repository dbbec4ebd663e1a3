"""The predictor: a model with its prompt, policy, learned guard and calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from medtune.analysis.calibration import apply_temperature
from medtune.core.choice import choose_option
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
from medtune.guardrails.classifier.learned import LearnedGuard
from medtune.guardrails.policy import ANSWER_GUARDS, Policy


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
        policy: Policy of the guards.
        classifier: The learned guard.
        calibration: None if the model was never calibrated.
        release: Name of the release, shown in every answer.
    """

    model: AnswerModel
    style: PromptStyle
    method: Method
    policy: Policy
    classifier: LearnedGuard
    calibration: ServingCalibration | None
    release: str

    def predict(self, questions: Sequence[Question]) -> list[OptionScores]:
        """Score the options of some questions in one batch.

        Raises:
            ModelError: The model fails, or its server cannot be reached.
        """
        asked = score_options(self.model, self.style, self.method, questions)
        return [
            OptionScores(
                probabilities=self._calibrated(cold),
                # Chosen before the temperature, as in an evaluation: scaling may round to a tie.
                chosen=choose_option(cold, question.stem, question.options),
                mass=mass,
            )
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
