"""Fit the weights of a mixture, and compute its evaluation from those of its parents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medtune.analysis.compare import align_predictions
from medtune.analysis.similarity import accuracy_without_most_similar
from medtune.core.choice import choose_option
from medtune.core.option_logprobs import log_probabilities, probabilities_from_logs
from medtune.core.predictions_io import Evaluation
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import Message
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    EvaluationRecord,
    ModelDescription,
    Outcome,
    Prediction,
    content_hash,
)
from medtune.core.schemas.mixture import MixtureParent, MixtureRecord
from medtune.evaluation.exam import Exam, SearchReference
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import (
    ExamResult,
    add_search_reference,
    make_evaluation_record,
)
from medtune.models.mixture import describe_mixture, pool_log_probabilities
from medtune.models.search_model import render_plain
from medtune.retrieval.scorer import fit_conditional_logit

LABEL = "mixture"


def fit_mixture(parents: Sequence[Evaluation], names: Sequence[str | None]) -> MixtureRecord:
    """Fit the weights of a mixture by maximum likelihood of the right options.

    No weight is negative: a model's confidence in an option never counts against it, and one that
    adds nothing gets the weight 0. Their sum is free, so that the mixture is calibrated as well.

    Args:
        parents: Evaluations on the calibration questions.
        names: Names to open the parents by.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    rows = _align(parents)
    answers = [row[0].answer for row in rows]
    logs = [np.array([_logs(prediction) for prediction in row]).T for row in rows]
    fitted = fit_conditional_logit(logs, answers, least=0.0)
    right = np.array([row[answer] for row, answer in zip(logs, answers, strict=True)])
    losses = -right.mean(0)
    return MixtureRecord(
        parents=tuple(
            MixtureParent(
                name=name,
                label=record.label,
                weight=weight,
                log_loss=float(loss),
                evaluation=record,
            )
            for (record, _), name, weight, loss in zip(
                parents, names, fitted.weights, losses, strict=True
            )
        ),
        calibration=parents[0][0].data,
        n=len(rows),
        log_loss=fitted.log_loss,
        provenance=collect_provenance(),
    )


def mix_evaluations(name: str, mixture: MixtureRecord, parents: Sequence[Evaluation]) -> Evaluation:
    """Compute the evaluation of a mixture from those of its parents.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    weights = [parent.weight for parent in mixture.parents]
    rows = _align(parents)
    predictions = [_mix_predictions(weights, row) for row in rows]
    records = [record for record, _ in parents]
    overlaps = [record.trained_on for record in records if record.trained_on is not None]
    exam = Exam(
        questions=(),
        data=records[0].data,
        style=PromptStyle(),
        method="letter",
        normalization="sum",
        trained_on=max(overlaps, default=None),
        search=_search_reference(records, rows),
    )
    model = _MixtureIdentity(describe_mixture(name, mixture, [record.model for record in records]))
    sitting = ExamResult(math.fsum(record.duration_s or 0.0 for record in records))
    record = make_evaluation_record(model, exam, LABEL, STRICT_PARSER, predictions, sitting)
    record, told = add_search_reference(exam, record, predictions)
    sources = tuple(record.inputs for record in records)
    changes: dict[str, object] = {
        "mixed_from": sources,
        "inputs": content_hash([record.inputs, sources]),
    }
    books = (record.open_book for record in records if record.open_book is not None)
    if exam.search is None and (book := next(books, None)) is not None:
        known = all(p.similarity is not None for p in told)
        rest = accuracy_without_most_similar(told) if known else None
        changes["open_book"] = book.model_copy(update={"less_similar": rest})
    return Evaluation(record.model_copy(update=changes), told)


class _MixtureIdentity:
    """The identity of a mixture whose parents are not open."""

    def __init__(self, description: ModelDescription) -> None:
        self._description = description

    def describe(self) -> ModelDescription:
        return self._description

    def render(self, messages: Sequence[Message]) -> str:
        return render_plain(messages)


def _mix_predictions(weights: Sequence[float], row: Sequence[Prediction]) -> Prediction:
    first = row[0]
    logs = pool_log_probabilities(weights, [_logs(prediction) for prediction in row])
    probabilities = probabilities_from_logs(logs)
    chosen = choose_option(probabilities, first.stem, first.options)
    ones = (1,) * len(logs)
    similarity = next((p.similarity for p in row if p.similarity is not None), None)
    return Prediction(
        **first.model_dump(
            include={"id", "stem", "subject", "topic", "group", "options", "answer"}
        ),
        chosen=chosen,
        outcome=Outcome.CORRECT if chosen == first.answer else Outcome.WRONG,
        logprobs=logs,
        tokens=ones,
        bytes=ones,
        probabilities=probabilities,
        similarity=similarity,
    )


def _logs(prediction: Prediction) -> tuple[float, ...]:
    assert prediction.probabilities is not None, "evaluations without probabilities are refused"
    return log_probabilities(prediction.probabilities)


def _align(parents: Sequence[Evaluation]) -> list[tuple[Prediction, ...]]:
    """Align the parents' predictions by question, in the order of the first."""
    (first, asked), *_ = parents
    columns = [
        [own for _, own in align_predictions(asked, predictions, (first.label, record.label))]
        for record, predictions in parents
    ]
    return list(zip(*columns, strict=True))


def _search_reference(
    records: Sequence[EvaluationRecord], rows: Sequence[Sequence[Prediction]]
) -> SearchReference | None:
    """Return the search baseline from a parent that is a search; None if none is."""
    for at, record in enumerate(records):
        book = record.open_book
        similarity = [row[at].similarity for row in rows]
        if book is not None and book.kind == "search" and None not in similarity:
            return SearchReference(
                index=book.index,
                passages=book.passages + book.left_out,
                left_out=book.left_out,
                fingerprint=record.model.fingerprint,
                own=True,
                right=tuple(row[at].outcome is Outcome.CORRECT for row in rows),
                similarity=tuple(value for value in similarity if value is not None),
            )
    return None
