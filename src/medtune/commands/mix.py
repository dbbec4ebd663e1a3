"""Mix the answers of several models (`medtune mix A B --calibration A2 --calibration B2`).

Fits one weight for each model on evaluations of the calibration split, and computes the mixture's
evaluation of the reported split from the models' own: no question is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medtune.analysis.analyze import (
    CALIBRATION_ASPECTS,
    RecordedEvaluation,
    refuse_shared_questions,
)
from medtune.analysis.compare import align_predictions, compare_evaluations, differing_aspects
from medtune.core.choice import choose_option
from medtune.core.errors import FolderError, InputError, PredictionsError
from medtune.core.option_logprobs import probabilities_from_logs
from medtune.core.predictions_io import read_evaluation, write_evaluation
from medtune.core.progress import Progress
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
from medtune.core.run_folder import lock_folder, read_record, write_record
from medtune.core.schemas.mixture import MixtureParent, MixtureRecord
from medtune.evaluation.exam import Exam, SearchReference
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import (
    ExamResult,
    accuracy_of_less_similar,
    add_search_reference,
    make_evaluation_record,
)
from medtune.models.mixture import (
    MIX_FILE,
    MIX_PREFIX,
    describe_mixture,
    log_probabilities,
    pool_log_probabilities,
)
from medtune.models.search_model import render_plain
from medtune.models.weights_card import ADAPTER_PREFIX, read_optional_card
from medtune.retrieval.scorer import fit_conditional_logit

CALIBRATION_FOLDER = "calibration"
EVALUATION_FOLDER = "evaluation"
LABEL = "mixture"


def mix(
    evaluations: Sequence[Path],
    calibrations: Sequence[Path],
    folder: Path,
    progress: Progress,
    models: Sequence[str] = (),
) -> MixtureRecord:
    """Fit a mixture, and evaluate it where its parents were evaluated.

    Args:
        evaluations: Evaluations of the parents on the reported questions; none fits only.
        calibrations: Evaluations of the same parents, in the same order, on calibration questions.
        folder: Folder of the mixture.
        progress: Progress reports.
        models: Names to open the parents by, in the same order; none takes the recorded ones.

    Raises:
        InputError: The numbers of evaluations, calibrations and models differ.
        PredictionsError: Evaluations cannot be mixed: other questions, settings or models, or no
            probabilities.
        FolderError: The folder holds another mixture, or cannot be written.
    """
    _check_counts(evaluations, calibrations, models)
    fitted_on = _read_labelled(calibrations)
    names: Sequence[str | None] = models or [
        _name_to_open(*pair) for pair in zip(calibrations, fitted_on, strict=True)
    ]
    record = fit_mixture(fitted_on, names)
    reported = _read_labelled(evaluations)
    for parent, other in zip(fitted_on, reported, strict=bool(reported)):
        _check_reported(parent, other)
    name = f"{MIX_PREFIX}{folder}"
    calibrated = mix_evaluations(name, record, fitted_on)
    mixed = mix_evaluations(name, record, reported) if reported else None
    if mixed is not None:
        compared = tuple(compare_evaluations(one, mixed, releases=True) for one in reported)
        record = record.model_copy(update={"evaluation": mixed[0], "comparisons": compared})
    with lock_folder(folder):
        _refuse_another(folder, record)
        write_evaluation(folder / CALIBRATION_FOLDER, *calibrated)
        if mixed is not None:
            write_evaluation(folder / EVALUATION_FOLDER, *mixed)
        write_record(folder / MIX_FILE, record)
    progress.log_message(
        f"the weights were fitted on {record.n:,} questions of {record.calibration.source}: "
        "report no accuracy on these"
    )
    return record


def fit_mixture(
    parents: Sequence[RecordedEvaluation], names: Sequence[str | None]
) -> MixtureRecord:
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


def mix_evaluations(
    name: str, mixture: MixtureRecord, parents: Sequence[RecordedEvaluation]
) -> tuple[EvaluationRecord, list[Prediction]]:
    """Compute the evaluation of a mixture from those of its parents.

    Raises:
        PredictionsError: They are not of the same questions.
    """
    weights = [parent.weight for parent in mixture.parents]
    rows = _align(parents)
    predictions = [_mix_predictions(weights, row) for row in rows]
    records = [record for record, _ in parents]
    known = [record.trained_on for record in records if record.trained_on is not None]
    exam = Exam(
        questions=(),
        data=records[0].data,
        style=PromptStyle(),
        method="letter",
        normalization="sum",
        trained_on=max(known, default=None),
        search=_search_reference(records, rows),
    )
    model = _MixtureIdentity(describe_mixture(name, mixture, [record.model for record in records]))
    sitting = ExamResult(sum(record.duration_s for record in records))
    record = make_evaluation_record(model, exam, LABEL, STRICT_PARSER, predictions, sitting)
    record, predictions = add_search_reference(exam, record, predictions)
    sources = tuple(record.inputs for record in records)
    changes: dict[str, object] = {
        "mixed_from": sources,
        "inputs": content_hash([record.inputs, sources]),
    }
    books = (record.open_book for record in records if record.open_book is not None)
    if (book := next(books, None)) is not None:
        similarity = [p.similarity for p in predictions if p.similarity is not None]
        right = [p.outcome is Outcome.CORRECT for p in predictions]
        rest = (
            accuracy_of_less_similar(right, similarity) if len(similarity) == len(right) else None
        )
        changes["open_book"] = book.model_copy(update={"less_similar": rest})
    return record.model_copy(update=changes), predictions


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


def _align(parents: Sequence[RecordedEvaluation]) -> list[tuple[Prediction, ...]]:
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
                passages=book.passages,
                left_out=book.left_out,
                right=tuple(row[at].outcome is Outcome.CORRECT for row in rows),
                similarity=tuple(value for value in similarity if value is not None),
            )
    return None


def _name_to_open(folder: Path, evaluation: RecordedEvaluation) -> str | None:
    """Return the name of a model; of an adapter, that of the run which the evaluation is in."""
    model = evaluation[0].model
    if model.adapter is None:
        return model.source
    adapter = folder.resolve().parent.parent / "adapter"
    card = read_optional_card(adapter)
    found = card is not None and card.weights_hash == model.adapter
    return f"{ADAPTER_PREFIX}{adapter}" if found else None


def _read_labelled(folders: Sequence[Path]) -> list[RecordedEvaluation]:
    """Read evaluations with probabilities, under distinct labels."""
    found: list[RecordedEvaluation] = []
    for folder in folders:
        record, predictions = read_evaluation(folder)
        if record.model.source.startswith(MIX_PREFIX):
            raise PredictionsError(
                f"{folder} is of a mixture", expected="evaluations of the models that it is made of"
            )
        if record.variant != "plain":
            raise PredictionsError(
                f"{folder} is of {record.variant} questions", expected="unchanged questions"
            )
        if any(prediction.probabilities is None for prediction in predictions):
            raise PredictionsError(
                f"{folder} was evaluated by {record.method}, which gives no probabilities",
                expected="an evaluation by letter or cloze",
                fix="evaluate the model again with --method letter or cloze",
            )
        labels = {record.label for record, _ in found}
        if record.label in labels:
            record = record.model_copy(update={"label": f"{record.label} ({folder})"})
        found.append((record, predictions))
    return found


def _check_counts(
    evaluations: Sequence[Path], calibrations: Sequence[Path], models: Sequence[str]
) -> None:
    for what, given in (("evaluations", evaluations), ("names of models", models)):
        if given and len(given) != len(calibrations):
            raise InputError(
                f"{len(given)} {what}, {len(calibrations)} calibrations",
                expected="one of each for every model, in the same order",
                fix="medtune mix A B --calibration A-CALIBRATION --calibration B-CALIBRATION",
            )
    if len(calibrations) < 2:
        raise InputError(
            "a mixture of one model",
            expected="--calibration twice or more: an evaluation of each model",
        )


def _check_reported(fitted_on: RecordedEvaluation, reported: RecordedEvaluation) -> None:
    """Refuse an evaluation of another model, or of questions that the weights were fitted on."""
    (record, calibration), (other, predictions) = fitted_on, reported
    unlike = differing_aspects(record, other, CALIBRATION_ASPECTS)
    books = [one.open_book.index for one in (record, other) if one.open_book is not None]
    if len(set(books)) > 1:
        unlike.append("passage index")
    if unlike:
        raise PredictionsError(
            f"{other.label} differs from its calibration, {record.label}, in its "
            f"{', '.join(unlike)}",
            expected="the same model, evaluated in the same way, on other questions",
            fix="name evaluations and calibrations in the same order, or evaluate again",
        )
    refuse_shared_questions(predictions, calibration)


def _refuse_another(folder: Path, record: MixtureRecord) -> None:
    """Refuse to overwrite a mixture of other parents or weights."""
    before = read_record(folder / MIX_FILE, MixtureRecord)

    def identity(mixture: MixtureRecord) -> ModelDescription:
        models = [parent.evaluation.model for parent in mixture.parents]
        return describe_mixture("", mixture, models)

    if before is not None and identity(before) != identity(record):
        raise FolderError(
            f"{folder} contains another mixture",
            expected="an empty or missing folder, or the same models and calibration questions",
            fix="choose another folder with --out",
        )
