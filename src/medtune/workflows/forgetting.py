"""Measure what a fine-tune forgot: general questions, and the loss on plain text.

A base and its fine-tuned model are asked the same 120 questions that have nothing to do with
medicine, by cloze and by letter, and score the same paragraphs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from medtune.analysis.compare import compare_evaluations
from medtune.analysis.forgetting import compare_text_losses
from medtune.core.predictions_io import Evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import AnswerModel, ModelIdentity
from medtune.core.records import ForgettingRecord, Method, PlainText, TextLoss
from medtune.core.run_folder import read_valid_record, write_record
from medtune.data.load import load_split
from medtune.data.plain_texts import read_plain_texts
from medtune.data.trained_on import count_trained_on
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse, find_evaluation
from medtune.evaluation.text_loss import hash_text_inputs, measure_text_loss

GENERAL_QUESTIONS = "starter:general"
METHODS: tuple[Method, ...] = ("cloze", "letter")
FOLDER = "forgetting"
"""Folder of these measurements in a run folder."""


@dataclass(frozen=True, slots=True)
class GeneralKnowledge:
    """A model's answers to the general questions, by method, and its loss on plain texts."""

    answers: tuple[Evaluation, ...]
    text: TextLoss


@dataclass(frozen=True, slots=True)
class GeneralExam:
    """The general questions by each method, and the plain texts."""

    exams: tuple[Exam, ...]
    texts: tuple[PlainText, ...]

    @classmethod
    def plan(cls, style: PromptStyle, hashes: frozenset[str] | None = None) -> GeneralExam:
        """Plan the exam: closed book, in the given order of the options, without baselines.

        Args:
            style: The prompt style.
            hashes: Hashes of the questions that the model was trained on; None where unknown.
        """
        split = load_split(GENERAL_QUESTIONS)
        seen = None if hashes is None else count_trained_on(split.questions, hashes)
        exams = (
            Exam.for_likelihood(split.questions, split.description, style, method)
            for method in METHODS
        )
        return cls(tuple(replace(exam, trained_on=seen) for exam in exams), read_plain_texts())

    def measure(
        self, model: AnswerModel, label: str, stem: Path, progress: Progress
    ) -> GeneralKnowledge:
        """Ask a model, or reuse what is valid; every part has its place, `stem` plus its name.

        Raises:
            ModelError: The model fails.
            FolderError: The folder cannot be written.
        """
        answers = tuple(
            evaluate_or_reuse(model, exam, label, STRICT_PARSER, place, progress)
            for exam, place in self.places(stem)
        )
        text = self.find_text_loss(model, stem)
        if text is None:
            text = measure_text_loss(model, self.texts)
            write_record(_text_path(stem), text)
        return GeneralKnowledge(answers, text)

    def find(self, model: ModelIdentity, label: str, stem: Path) -> GeneralKnowledge | None:
        """Read what `measure` wrote if its inputs are the same; the model is asked nothing."""
        answers = []
        for exam, place in self.places(stem):
            found = find_evaluation(model, exam, label, STRICT_PARSER, place, NoProgress())
            if found is None:
                return None
            answers.append(found)
        text = self.find_text_loss(model, stem)
        return GeneralKnowledge(tuple(answers), text) if text is not None else None

    def places(self, stem: Path) -> list[tuple[Exam, Path]]:
        """Return every exam with its folder."""
        return [(exam, stem.with_name(f"{stem.name}-{exam.method}")) for exam in self.exams]

    def find_text_loss(self, model: ModelIdentity, stem: Path) -> TextLoss | None:
        """Read the loss on the plain texts if its inputs are the same."""
        return read_valid_record(_text_path(stem), TextLoss, hash_text_inputs(model, self.texts))


def _text_path(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}-text.json")


def compare_general_knowledge(base: GeneralKnowledge, tuned: GeneralKnowledge) -> ForgettingRecord:
    """Compare a fine-tuned model with its base, paired by question and by text."""
    return ForgettingRecord(
        answers=tuple(map(compare_evaluations, base.answers, tuned.answers)),
        chance=base.answers[0].record.chance,
        trained_on=tuned.answers[0].record.trained_on,
        text_loss=compare_text_losses(base.text, tuned.text),
    )
