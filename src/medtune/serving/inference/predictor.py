"""What answers: a model, the prompt it is asked by, and how sure it may be taken to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from medtune.analysis.calibration import ScoredOptions
from medtune.core.choice import choose
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import AnswerModel
from medtune.core.records import Method, Question
from medtune.core.schemas.guardrails import (
    GuardVerdict,
    Inquiry,
    OptionScores,
    ServingCalibration,
    strictest,
)
from medtune.evaluation.score import likelihoods
from medtune.guardrails.answer_guards import confidence, output
from medtune.guardrails.classifier.learned import TextClassifier
from medtune.guardrails.policy import AFTER, Policy


@runtime_checkable
class HealthCheck(Protocol):
    """A model that can tell whether it is there: one behind a server."""

    def check(self) -> None:
        """Raise a ModelError where it is not."""
        ...


@dataclass(frozen=True, slots=True)
class Predictor:
    """Everything that decides an answer; it is exchanged as a whole.

    Attributes:
        model: Scores options.
        style: The prompt.
        method: letter or cloze.
        policy: What is let through.
        classifier: The learned guard.
        calibration: None where the model was never calibrated.
        release: Its name in every answer.
    """

    model: AnswerModel
    style: PromptStyle
    method: Method
    policy: Policy
    classifier: TextClassifier
    calibration: ServingCalibration | None
    release: str

    def think(self, questions: Sequence[Question]) -> list[OptionScores]:
        """Score some questions together.

        Raises:
            ModelError: The model fails, or its server cannot be reached.
        """
        asked = likelihoods(self.model, self.style, self.method, questions)
        heated = self._heated([probabilities for probabilities, _ in asked])
        return [
            OptionScores(
                probabilities=row,
                # As an examination chooses: a temperature may round what differs to equals.
                chosen=choose(cold, question.stem, question.options),
                mass=mass,
            )
            for row, (cold, mass), question in zip(heated, asked, questions, strict=True)
        ]

    def judged(self, inquiry: Inquiry, thought: OptionScores) -> tuple[GuardVerdict, ...]:
        """Let the guards look that look at answers."""
        guards: dict[str, Callable[[], GuardVerdict]] = {
            "confidence": lambda: confidence(inquiry, thought, self.calibration, self.policy),
            "output": lambda: output(thought),
        }
        return tuple(guards[name]() for name in self.policy.order if name in guards)

    def _heated(self, rows: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
        if self.calibration is None:
            return list(rows)
        widths = np.array([len(row) for row in rows])
        table = np.zeros((len(rows), widths.max()))
        for line, row in zip(table, rows, strict=True):
            line[: len(row)] = row
        scored = ScoredOptions(table, np.zeros(len(rows), np.int64), widths)
        hot = scored.heated(self.calibration.temperature).probabilities
        return [tuple(map(float, line[:width])) for line, width in zip(hot, widths, strict=True)]


def thoughts(asked: Sequence[tuple[Predictor, Question]]) -> list[OptionScores]:
    """Score some questions, by each mind that is asked: two, while one is exchanged.

    Raises:
        ModelError: A model fails, or its server cannot be reached.
    """
    found: dict[str, OptionScores] = {}
    for which in dict.fromkeys(id(mind) for mind, _ in asked):
        mine = [(mind, question) for mind, question in asked if id(mind) == which]
        questions = [question for _, question in mine]
        found.update({q.id: t for q, t in zip(questions, mine[0][0].think(questions), strict=True)})
    return [found[question.id] for _, question in asked]


def unsure(verdicts: Sequence[GuardVerdict]) -> bool:
    """Tell whether the guards that look at answers hold one back."""
    return strictest(tuple(v for v in verdicts if v.guard in AFTER)) in ("defer", "refuse")
