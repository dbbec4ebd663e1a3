"""Mix the answers of several models (`medtune mix A B --calibration A2 --calibration B2`).

Fits one weight for each model on evaluations of the calibration split, and computes the mixture's
evaluation of the reported split from the models' own: no question is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.analysis.analyze import CALIBRATION_ASPECTS, refuse_shared_questions
from medtune.analysis.compare import compare_evaluations, differing_aspects
from medtune.core.errors import FolderError, InputError, PredictionsError
from medtune.core.model_names import MIX_PREFIX
from medtune.core.predictions_io import (
    Evaluation,
    read_evaluation,
    refuse_imported,
    write_evaluation,
)
from medtune.core.progress import Progress
from medtune.core.records import ModelDescription
from medtune.core.run_folder import lock_folder, read_record, write_record
from medtune.core.schemas.mixture import MixtureRecord
from medtune.mixtures.fit import fit_mixture, mix_evaluations
from medtune.models.mixture import MIX_FILE, describe_mixture
from medtune.models.weights_card import ADAPTER_PREFIX, read_optional_card

CALIBRATION_FOLDER = "calibration"
EVALUATION_FOLDER = "evaluation"


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


def _name_to_open(folder: Path, evaluation: Evaluation) -> str | None:
    """Return the name of a model; of an adapter, that of the run which the evaluation is in."""
    model = evaluation[0].model
    if model.adapter is None:
        return model.source
    adapter = folder.resolve().parent.parent / "adapter"
    card = read_optional_card(adapter)
    found = card is not None and card.weights_hash == model.adapter
    return f"{ADAPTER_PREFIX}{adapter}" if found else None


def _read_labelled(folders: Sequence[Path]) -> list[Evaluation]:
    """Read evaluations with probabilities, under distinct labels."""
    found: list[Evaluation] = []
    for folder in folders:
        record, predictions = read_evaluation(folder)
        if record.model.source.startswith(MIX_PREFIX):
            raise PredictionsError(
                f"{folder} is of a mixture", expected="evaluations of the models that it is made of"
            )
        refuse_imported(record)
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
        found.append(Evaluation(record, predictions, folder))
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


def _check_reported(fitted_on: Evaluation, reported: Evaluation) -> None:
    """Refuse an evaluation of another model, or of questions that the weights were fitted on."""
    (record, calibration), (other, predictions) = fitted_on, reported
    if unlike := differing_aspects(record, other, CALIBRATION_ASPECTS):
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
