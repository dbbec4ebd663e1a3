"""How sure a model may be taken to be, from questions set apart for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.analysis.calibration import ScoredOptions, fit_temperature
from medtune.analysis.selective_prediction import conformal, threshold_for_risk
from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import read_evaluation
from medtune.core.records import (
    EvaluationRecord,
    Method,
    ModelDescription,
    Prediction,
    content_hash,
)
from medtune.core.schemas.guardrails import ServingCalibration


def calibrate(
    record: EvaluationRecord, predictions: Sequence[Prediction], risk: float, level: float
) -> ServingCalibration:
    """Fit temperature, threshold and prediction sets.

    Args:
        record: An evaluation of calibration questions; none of them is ever reported on.
        predictions: Its predictions.
        risk: Most errors among the answered.
        level: How often a prediction set holds the right option.

    Raises:
        PredictionsError: Predictions have no probabilities, are of several orders or variants, or
            are too few for the level.
    """
    if record.orders != "given" or record.variant != "plain" or record.shots:
        raise PredictionsError(
            f"an evaluation of {record.data.source} with other orders, a variant or examples",
            expected="questions asked as an endpoint asks them: once, as given",
        )
    scored = ScoredOptions.of(predictions)
    temperature = fit_temperature(scored)
    hot = scored.heated(temperature)
    threshold = threshold_for_risk(hot, risk)
    return ServingCalibration(
        temperature=temperature,
        threshold=threshold.confidence if threshold else None,
        risk=risk,
        bound=threshold.bound if threshold else None,
        coverage=threshold.coverage.value if threshold else 0.0,
        quantile=conformal(hot, level).quantile,
        level=level,
        subjects=tuple(sorted({p.subject for p in predictions if p.subject})),
        n=len(scored),
        source=record.data.source,
        hash=content_hash([record.inputs, record.data.hash]),
        accuracy=record.accuracy,
    )


def calibrated(
    folder: Path, model: ModelDescription, method: Method, risk: float, level: float
) -> ServingCalibration:
    """Fit on a saved evaluation, once it is known to be the model's own.

    Raises:
        PredictionsError: It cannot be read, is of another model or method, or cannot be used.
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
    return calibrate(record, predictions, risk, level)
