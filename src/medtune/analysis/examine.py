"""The examination: questions go to a model, predictions and a record come back."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medtune.core.errors import DataError, PredictionsError
from medtune.core.folder import valid_record
from medtune.core.intervals import wilson
from medtune.core.ledger import RECORD, read_evaluation, write_evaluation
from medtune.core.model import (
    AnswerModel,
    ContinuationScore,
    Decoding,
    GenerateRequest,
    ScoreRequest,
)
from medtune.core.progress import Progress
from medtune.core.prompt import Form, PromptStyle, fingerprint, form_of
from medtune.core.provenance import provenance
from medtune.core.records import (
    LETTERS,
    Counts,
    EvaluationRecord,
    Method,
    Normalization,
    Outcome,
    Prediction,
    Question,
    SplitDescription,
    content_hash,
)

CHUNK = 256
"""Questions between two movements of the progress bar; batches are cut within a chunk."""


class ReadAnswer(Protocol):
    """How a parser's reading looks from here."""

    @property
    def chosen(self) -> int | None: ...  # noqa: D102

    @property
    def reason(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Exam:
    """How one examination is held."""

    questions: Sequence[Question]
    data: SplitDescription
    style: PromptStyle
    method: Method
    normalization: Normalization
    shots: Sequence[Question] = ()
    target: Form = "text"
    """Form in which free answers are asked for."""
    max_new_tokens: int = 50

    @property
    def compared(self) -> Normalization | None:
        """How continuations are compared: letters are one token each, texts have no scores."""
        if self.method == "generate":
            return None
        return "sum" if self.method == "letter" else self.normalization

    def inputs(self, model: AnswerModel) -> str:
        """Hash everything that determines the result."""
        return content_hash(
            [
                model.describe().model_dump(mode="json"),
                self.data.hash,
                fingerprint(self.style, model.render),
                self.method,
                self.compared,
                [shot.model_dump(mode="json") for shot in self.shots],
                [self.target, self.max_new_tokens] if self.method == "generate" else None,
            ]
        )


def examine(
    model: AnswerModel,
    exam: Exam,
    label: str,
    read: Callable[[str, Sequence[str]], ReadAnswer],
    progress: Progress,
) -> tuple[EvaluationRecord, list[Prediction]]:
    """Examine a model.

    Args:
        model: Any model.
        exam: Questions and method.
        label: Short name for tables.
        read: Parser for free answers: (text, options) -> reading.
        progress: Where to report.

    Raises:
        DataError: A question has no label.
    """
    if unlabelled := sum(q.answer is None for q in exam.questions):
        raise DataError(
            f"{exam.data.source}: {unlabelled} questions have no label",
            fix="examine on a split whose answers are released",
        )
    predictions: list[Prediction] = []
    start = time.perf_counter()
    # A file's folder would push the bar off the line.
    name = f"{label} · {exam.data.source.rpartition('/')[2]} · {exam.method}"
    with progress.task(name, len(exam.questions)) as bar:
        for at in range(0, len(exam.questions), CHUNK):
            chunk = exam.questions[at : at + CHUNK]
            if exam.method == "generate":
                predictions += _generate(model, exam, chunk, read)
            else:
                predictions += _score(model, exam, chunk)
            elapsed = time.perf_counter() - start
            bar.advance(len(chunk), speed=f"{len(predictions) / elapsed:.1f} questions/s")
    duration = time.perf_counter() - start
    return summarize(model, exam, label, predictions, duration), predictions


def examined(
    model: AnswerModel,
    exam: Exam,
    label: str,
    read: Callable[[str, Sequence[str]], ReadAnswer],
    folder: Path,
    progress: Progress,
) -> tuple[EvaluationRecord, list[Prediction]]:
    """Examine a model and write the folder, unless it already holds this very examination.

    Raises:
        DataError: A question has no label.
        FolderError: The folder cannot be written.
    """
    if valid_record(folder / RECORD, EvaluationRecord, exam.inputs(model)):
        try:
            found = read_evaluation(folder)
        except PredictionsError as error:
            progress.say(f"{error.found}: examined again")
        else:
            progress.say(f"{folder.name}: still valid")
            return found
    record, predictions = examine(model, exam, label, read, progress)
    write_evaluation(folder, record, predictions)
    return record, predictions


def summarize(
    model: AnswerModel,
    exam: Exam,
    label: str,
    predictions: Sequence[Prediction],
    duration_s: float,
) -> EvaluationRecord:
    """Count outcomes and put an interval on every proportion."""
    counts = count(predictions)
    right = Counter(LETTERS[p.answer] for p in predictions)
    given = Counter(LETTERS[p.chosen] for p in predictions if p.chosen is not None)
    letter, most = max(right.items(), key=lambda item: (item[1], item[0]))
    masses = [p.mass for p in predictions if p.mass is not None]
    ended = [p.stopped for p in predictions if p.stopped is not None]
    description = model.describe()
    return EvaluationRecord(
        inputs=exam.inputs(model),
        label=label,
        model=description,
        data=exam.data,
        prompt_hash=fingerprint(exam.style, model.render),
        method=exam.method,
        normalization=exam.compared,
        counts=counts,
        accuracy=wilson(counts.correct, counts.n),
        answer_rate=wilson(counts.correct + counts.wrong, counts.n),
        stop_rate=wilson(sum(ended), len(ended)) if ended else None,
        chance=math.fsum(1 / len(p.options) for p in predictions) / counts.n,
        majority=wilson(most, counts.n),
        majority_letter=letter,
        letters_chosen=dict(sorted(given.items())),
        letters_right=dict(sorted(right.items())),
        mean_mass=math.fsum(masses) / len(masses) if masses else None,
        duration_s=duration_s,
        questions_per_s=counts.n / max(duration_s, 1e-9),
        provenance=provenance(description.device if "cuda" in description.device else None),
    )


def count(predictions: Sequence[Prediction]) -> Counts:
    """Count outcomes."""
    tally = Counter(p.outcome for p in predictions)
    return Counts(
        n=len(predictions),
        correct=tally[Outcome.CORRECT],
        wrong=tally[Outcome.WRONG],
        unparsed=tally[Outcome.UNPARSED],
        abstained=tally[Outcome.ABSTAINED],
    )


def option_probabilities(
    scores: Sequence[ContinuationScore], normalization: Normalization
) -> tuple[float, ...]:
    """Turn continuation scores into probabilities over the options.

    Args:
        scores: One per option.
        normalization: sum compares log-probabilities as they are, token and byte their means
            (lm-evaluation-harness: acc, and acc_norm for byte).

    Returns:
        Softmax of the compared values; they add up to 1.
    """
    sizes = {
        "sum": [1] * len(scores),
        "token": [max(1, s.tokens) for s in scores],
        "byte": [max(1, s.bytes) for s in scores],
    }[normalization]
    values = [s.logprob / size for s, size in zip(scores, sizes, strict=True)]
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    return tuple(weight / math.fsum(weights) for weight in weights)


def _score(model: AnswerModel, exam: Exam, chunk: Sequence[Question]) -> list[Prediction]:
    form = form_of(exam.method, exam.target)
    requests = []
    for question in chunk:
        lead, continuations = exam.style.continuations(question, form)
        messages = exam.style.messages(question, form, exam.shots)
        requests.append(ScoreRequest(question.id, question.options, messages, lead, continuations))
    pairs = zip(chunk, model.score(requests), strict=True)
    return [_scored(question, scores, exam) for question, scores in pairs]


def _scored(question: Question, scores: tuple[ContinuationScore, ...], exam: Exam) -> Prediction:
    assert exam.compared is not None, "free text is not scored"
    probabilities = option_probabilities(scores, exam.compared)
    chosen = probabilities.index(max(probabilities))
    mass = min(1.0, math.fsum(math.exp(s.logprob) for s in scores))
    return Prediction(
        id=question.id,
        subject=question.subject,
        options=question.options,
        answer=_key(question),
        chosen=chosen,
        outcome=Outcome.CORRECT if chosen == question.answer else Outcome.WRONG,
        logprobs=tuple(s.logprob for s in scores),
        tokens=tuple(s.tokens for s in scores),
        bytes=tuple(s.bytes for s in scores),
        probabilities=probabilities,
        mass=mass if exam.method == "letter" else None,
    )


def _generate(
    model: AnswerModel,
    exam: Exam,
    chunk: Sequence[Question],
    read: Callable[[str, Sequence[str]], ReadAnswer],
) -> list[Prediction]:
    requests = [
        GenerateRequest(q.id, q.options, exam.style.messages(q, exam.target, exam.shots))
        for q in chunk
    ]
    answers = model.generate(requests, Decoding(max_new_tokens=exam.max_new_tokens))
    predictions = []
    for question, answer in zip(chunk, answers, strict=True):
        reading = read(answer.text, question.options)
        outcome = Outcome.UNPARSED
        if reading.chosen is not None:
            outcome = Outcome.CORRECT if reading.chosen == question.answer else Outcome.WRONG
        predictions.append(
            Prediction(
                id=question.id,
                subject=question.subject,
                options=question.options,
                answer=_key(question),
                chosen=reading.chosen,
                outcome=outcome,
                text=answer.text,
                stopped=answer.stopped,
                reason=reading.reason,
            )
        )
    return predictions


def _key(question: Question) -> int:
    assert question.answer is not None, "examine refuses unlabelled questions"
    return question.answer
