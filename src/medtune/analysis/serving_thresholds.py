"""Fit on the calibration split what serving needs: temperature, threshold, prediction sets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.analysis.calibration import ScoredOptions, fit_temperature
from medtune.analysis.selective_prediction import find_threshold_for_risk, fit_conformal_sets
from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import read_evaluation, refuse_imported
from medtune.core.records import (
    EvaluationRecord,
    Method,
    ModelDescription,
    Prediction,
    Proportion,
    content_hash,
)
from medtune.core.schemas.guardrails import ServingCalibration


def fit_serving_calibration(
    record: EvaluationRecord, predictions: Sequence[Prediction], risk: float, level: float
) -> ServingCalibration:
    """Fit the serving calibration: temperature, threshold and prediction sets.

    The evaluation is of calibration questions, which are not used for reported results. `risk` is
    the largest share of errors among the answered, `level` the probability that a prediction set
    contains the right option.

    Raises:
        PredictionsError: The predictions have no probabilities, were made with other orders, a
            variant or few-shot examples, or are too few for the level.
    """
    refuse_imported(record)
    if record.orders != "given" or record.variant != "plain" or record.shots:
        raise PredictionsError(
            f"an evaluation of {record.data.source} with other orders, a variant or examples",
            expected="questions asked as an endpoint asks them: once, as given",
        )
    return fit_thresholds(
        ScoredOptions.from_predictions(predictions),
        risk,
        level,
        subjects=sorted({p.subject for p in predictions if p.subject}),
        source=record.data.source,
        identity=content_hash([record.inputs, record.data.hash]),
        accuracy=record.accuracy,
    )


def fit_thresholds(
    scored: ScoredOptions,
    risk: float,
    level: float,
    *,
    subjects: Sequence[str],
    source: str,
    identity: str,
    accuracy: Proportion | None = None,
) -> ServingCalibration:
    """Fit the serving calibration on scored options; see `fit_serving_calibration`.

    Args:
        scored: Uncalibrated probabilities of the calibration questions.
        risk: Largest share of errors among the answered.
        level: Probability that a prediction set contains the right option.
        subjects: Subjects of the questions.
        source: Source of the questions.
        identity: Hash of what was fitted on.
        accuracy: Accuracy on these questions; None counts it.

    Raises:
        PredictionsError: The questions are too few for the level.
    """
    temperature = fit_temperature(scored)
    scaled = scored.scale_temperature(temperature)
    threshold = find_threshold_for_risk(scaled, risk)
    return ServingCalibration(
        temperature=temperature,
        threshold=threshold.confidence if threshold else None,
        risk=risk,
        bound=threshold.bound if threshold else None,
        coverage=threshold.coverage.value if threshold else 0.0,
        quantile=fit_conformal_sets(scaled, level).quantile,
        level=level,
        subjects=tuple(subjects),
        n=len(scored),
        source=source,
        hash=identity,
        accuracy=accuracy
        or wilson_interval(int((scored.chosen == scored.answers).sum()), len(scored)),
    )


def calibrate_from_folder(
    folder: Path, model: ModelDescription, method: Method, risk: float, level: float
) -> ServingCalibration:
    """Fit the serving calibration on a saved evaluation of the model.

    Raises:
        PredictionsError: The evaluation cannot be read or used, or is of another model or method.
    """
    record, predictions = read_evaluation(folder)
    theirs = record.model
    same = (model.fingerprint, model.adapter) == (theirs.fingerprint, theirs.adapter)
    if not same or record.method != method:
        raise PredictionsError(
            f"{folder} is of {theirs.source} by {record.method}",
            expected=f"an evaluation of {model.source} by {method}",
            fix="medtune evaluate MODEL CALIBRATION-QUESTIONS",
        )
    return fit_serving_calibration(record, predictions, risk, level)
