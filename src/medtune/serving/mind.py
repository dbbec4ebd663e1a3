"""What answers: a model, the prompt it is asked by, and how sure it may be taken to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medtune.analysis.ask import likelihoods
from medtune.analysis.calibration import Scored
from medtune.core.guard import Calibration, Thought
from medtune.core.model import AnswerModel
from medtune.core.prompt import PromptStyle
from medtune.core.records import Method, Question
from medtune.guard.learned import Judge
from medtune.guard.policy import Policy


@dataclass(frozen=True, slots=True)
class Mind:
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
    classifier: Judge
    calibration: Calibration | None
    release: str

    def think(self, questions: Sequence[Question]) -> list[Thought]:
        """Score some questions together.

        Raises:
            ModelError: The model fails, or its server cannot be reached.
        """
        asked = likelihoods(self.model, self.style, self.method, questions)
        heated = self._heated([probabilities for probabilities, _ in asked])
        return [
            Thought(probabilities=row, mass=mass)
            for row, (_, mass) in zip(heated, asked, strict=True)
        ]

    def _heated(self, rows: Sequence[tuple[float, ...]]) -> list[tuple[float, ...]]:
        if self.calibration is None:
            return list(rows)
        widths = np.array([len(row) for row in rows])
        table = np.zeros((len(rows), widths.max()))
        for line, row in zip(table, rows, strict=True):
            line[: len(row)] = row
        scored = Scored(table, np.zeros(len(rows), np.int64), widths)
        hot = scored.heated(self.calibration.temperature).probabilities
        return [tuple(map(float, line[:width])) for line, width in zip(hot, widths, strict=True)]
