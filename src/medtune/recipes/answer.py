"""`medtune answer STEM --option A --option B`: ask a model one question."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from medtune.analysis.ask import likelihoods
from medtune.core.compress import AnswerRecord
from medtune.core.errors import DataError
from medtune.core.progress import Progress
from medtune.core.prompt import likelihood_of
from medtune.core.records import MAX_OPTIONS, MIN_OPTIONS, Method, Question
from medtune.models.card import manner, refuse_unfit
from medtune.models.door import open_model


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """What the command line may say."""

    stem: str
    options: tuple[str, ...]
    model: str
    adapter: Path | None = None
    method: Method | None = None
    """None is letter for a model that was taught letters, else cloze."""
    unfit: bool = False
    """Ask a packed model even if it did not pass the parity gate."""


def answer(options: AnswerOptions, progress: Progress) -> AnswerRecord:
    """Ask one question.

    Raises:
        DataError: It has too few or too many options, or an empty text.
        CheckFailed: The model is marked unfit.
        MedtuneError: The model cannot be used.
    """
    question = _question(options)
    refuse_unfit(options.model, options.adapter, options.unfit)
    asked = manner(options.model, options.adapter)
    model = open_model(
        options.model, adapter=options.adapter, style=asked.style, progress=progress, light=True
    )
    method = options.method or likelihood_of(asked.target)
    start = time.perf_counter()
    ((probabilities, mass),) = likelihoods(model, asked.style, method, [question])
    return AnswerRecord(
        model=model.describe(),
        stem=question.stem,
        options=question.options,
        probabilities=probabilities,
        chosen=probabilities.index(max(probabilities)),
        mass=mass,
        duration_s=time.perf_counter() - start,
    )


def _question(options: AnswerOptions) -> Question:
    texts = tuple(text.strip() for text in options.options)
    faults = []
    if not options.stem.strip():
        faults.append("the question is empty")
    if not MIN_OPTIONS <= len(texts) <= MAX_OPTIONS:
        faults.append(f"{len(texts)} options")
    if not all(texts):
        faults.append("an option is empty")
    if len(set(texts)) < len(texts):
        faults.append("two options are the same")
    if faults:
        raise DataError(
            "; ".join(faults),
            expected=f"a question and {MIN_OPTIONS} to {MAX_OPTIONS} different options",
            fix="give each with --option",
        )
    return Question(id="asked", stem=options.stem.strip(), options=texts, answer=None)
