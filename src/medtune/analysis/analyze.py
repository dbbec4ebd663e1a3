"""Analyse an evaluation: slices, calibration, selective prediction, order flips, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from medtune.analysis.breakdown import break_down_accuracy, estimate_clustered_spread
from medtune.analysis.calibration import (
    ScoredOptions,
    brier_score,
    fit_temperature,
    log_loss,
    measure_calibration_error,
    measure_classwise_errors,
    reliability_bins,
)
from medtune.analysis.compare import differing_aspects
from medtune.analysis.failures import LOW_LETTER_MASS, classify_failures
from medtune.analysis.open_book import search_note
from medtune.analysis.options_only import stem_note
from medtune.analysis.order_flips import measure_order_flips
from medtune.analysis.selective_prediction import (
    ConformalScore,
    compute_search_power,
    coverage_by_group,
    find_threshold_for_risk,
    fit_conformal_sets,
    risk_coverage,
)
from medtune.analysis.similarity import measure_by_similarity
from medtune.core.errors import PredictionsError
from medtune.core.formatting import format_percent, format_share
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.provenance import collect_provenance
from medtune.core.records import EvaluationRecord, Prediction, content_key
from medtune.core.schemas.analysis import (
    AnalysisRecord,
    CalibrationReport,
    Flips,
    RiskCurve,
    SelectivePrediction,
    SetFinding,
    ThresholdFinding,
)
from medtune.core.schemas.dataset import NO_SUBJECT
from medtune.core.schemas.guardrails import TEMPERATURE_BOUNDS, is_temperature_at_bound
from medtune.core.warnings import accuracy_caveats

RISK_TARGETS = (0.05, 0.1, 0.2, 0.3)
"""Risks for which a threshold is searched."""
COVERAGE_LEVEL = 0.9
"""Coverage of the prediction sets."""
CURVE_POINTS = 200
"""Points of a risk-coverage curve in the record; the area is of the whole curve."""
CONSTANT_LETTER_SHARE = 0.8
"""Least share of the answers with which one letter counts as a constant answer."""
HIGH_FLIP_RATE = 0.5


CALIBRATION_ASPECTS = (
    "model",
    "arithmetic",
    "method",
    "normalization",
    "orders of the options",
    "prompt",
    "passages in the prompt",
    "worked examples",
    "variant of the questions",
)
"""Aspects in which a calibration must equal the evaluation."""


def analyze_evaluation(
    folder: str,
    evaluation: Evaluation,
    calibration: Evaluation | None = None,
    train_topics: Mapping[str, int] | None = None,
) -> AnalysisRecord:
    """Analyse one evaluation.

    The calibration is an evaluation of the same model and method on other questions; without it
    there is no temperature, threshold or prediction set, since they would be fitted on the
    questions they are reported on. The folder is for links.

    Raises:
        PredictionsError: There are no predictions, or the calibration does not match.
    """
    record, predictions = evaluation
    flips = measure_order_flips(predictions)
    scored = ScoredOptions.from_predictions(predictions) if record.method != "generate" else None
    fitted_on = _calibration_scores(evaluation, calibration) if calibration is not None else None
    slices = break_down_accuracy(predictions)
    answered = record.counts.correct + record.counts.wrong
    source = calibration[0].data.source if calibration is not None else None
    selective = _selective_prediction(scored, fitted_on, source, predictions) if scored else None
    notes = evaluation_warnings(record, flips)
    temperature = selective.temperature if selective is not None else None
    if temperature is not None and is_temperature_at_bound(temperature):
        low, high = TEMPERATURE_BOUNDS
        notes.append(
            f"{record.label} on {record.data.source}: the fitted temperature of {temperature:.3g} "
            f"lies at a bound of the search ({low:g} to {high:g}). No temperature in this range "
            "calibrates these probabilities; the thresholds and prediction sets depend on it."
        )
    if fitted_on is not None and selective is not None and not selective.sets:
        notes.append(
            f"{len(fitted_on)} calibration questions are too few for prediction sets that contain "
            f"the right option in {100 * COVERAGE_LEVEL:.0f} % of cases: the sets are left out."
        )
    return AnalysisRecord(
        folder=folder,
        evaluation=record,
        accuracy_answered=wilson_interval(record.counts.correct, answered) if answered else None,
        spread=estimate_clustered_spread(predictions),
        slices=slices,
        weak_subjects=tuple(s.name for s in slices if s.dimension == "subject" and s.weak),
        calibration=measure_calibration(scored) if scored else None,
        selective=selective,
        flips=flips,
        similarity=measure_by_similarity(predictions),
        failures=classify_failures(predictions, train_topics),
        warnings=tuple(notes),
        provenance=collect_provenance(),
    )


def measure_calibration(scored: ScoredOptions) -> CalibrationReport:
    """Measure the calibration of a model's probabilities."""
    return CalibrationReport(
        **dict(measure_calibration_error(scored)),
        letters=measure_classwise_errors(scored),
        brier=brier_score(scored),
        log_loss=log_loss(scored),
        bins=tuple(reliability_bins(scored)),
    )


def evaluation_faults(record: EvaluationRecord) -> list[str]:
    """Return messages on faults of an evaluation, such as answers that are not letters."""
    found = accuracy_caveats(record)
    place = f"{record.label} on {record.data.source}, {record.method}"
    if record.mean_mass is not None and record.mean_mass < LOW_LETTER_MASS:
        found.append(
            f"{place}: only {100 * record.mean_mass:.1f} % of the probability lies on the letters, "
            "on average. The model does not answer in letters; its letter accuracy says little "
            "about what it knows."
        )
    top = max(record.letters_chosen.values(), default=0)
    if record.method == "letter" and top >= CONSTANT_LETTER_SHARE * record.counts.n:
        letter = max(record.letters_chosen, key=lambda c: record.letters_chosen[c])
        found.append(
            f"{place}: the model chose {letter} on {top} of {record.counts.n} questions, nearly "
            "regardless of the question."
        )
    if record.method == "generate" and record.answer_rate.value < 0.9:
        found.append(
            f"{place}: {record.counts.unparsed} of {record.counts.n} free answers name no option "
            "and count as not correct."
        )
    return found


def evaluation_warnings(record: EvaluationRecord, flips: Flips | None) -> list[str]:
    """Return all caveats on an evaluation's accuracy."""
    found = evaluation_faults(record)
    notes = [majority_note(record), stem_note(record)]
    if record.search is not None and not record.search.beaten:
        notes.append(search_note(record))
    found += [note for note in notes if note]
    if flips is not None and flips.any.value >= HIGH_FLIP_RATE:
        found.append(
            f"{record.label} on {record.data.source}, {record.method}: the answer to "
            f"{format_share(flips.any)} of the questions changes with the order of the options."
        )
    return found


def majority_note(record: EvaluationRecord) -> str | None:
    """Return a note on an accuracy that is not shown to be above the majority letter's."""
    if record.accuracy.low > record.majority.value:
        return None
    mean = ", the mean over the orders," if record.orders == "cyclic" else ""
    return (
        f"{record.label} on {record.data.source}, {record.method}: the accuracy of "
        f"{format_share(record.accuracy)}{mean} is not shown to be above always giving "
        f"{record.majority_letter}, the majority-letter baseline "
        f"({format_percent(record.majority.value)} %)."
    )


def _calibration_scores(evaluation: Evaluation, calibration: Evaluation) -> ScoredOptions:
    """Return the scores of a valid calibration; refuse other settings and shared questions."""
    (record, predictions), (other, others) = evaluation, calibration
    if record.method == "generate":
        raise PredictionsError(
            f"{record.label} was evaluated by generate: free answers have no probabilities to "
            "calibrate",
            expected="an evaluation by letter or cloze",
            fix="analyse it without a calibration, or evaluate by letter or cloze",
        )
    if unlike := differing_aspects(record, other, CALIBRATION_ASPECTS):
        raise PredictionsError(
            f"the calibration differs from the evaluation in its {', '.join(unlike)}",
            expected="the same model, evaluated in the same way, on other questions",
            fix="evaluate the same model on the calibration split with the same options",
        )
    refuse_shared_questions(predictions, others)
    return ScoredOptions.from_predictions(others)


def refuse_shared_questions(
    predictions: Sequence[Prediction], calibration: Sequence[Prediction]
) -> None:
    """Refuse calibration questions that are evaluated as well, by id or by text.

    Raises:
        PredictionsError: There are such questions; one is named.
    """
    asked = {p.id: p.id for p in predictions} | {_question_key(p): p.id for p in predictions}
    shared = [
        (p.id, twin)
        for p in calibration
        if (twin := asked.get(p.id) or asked.get(_question_key(p)))
    ]
    if shared:
        theirs, mine = min(shared)
        name = mine if theirs == mine else f"{theirs}, which is {mine} there"
        raise PredictionsError(
            f"{len(shared)} calibration questions are among the evaluated ones, such as {name}",
            expected="two sets without a common question",
            fix="calibrate on another split: snapshot:FOLDER:calibration",
        )


def _question_key(prediction: Prediction) -> str:
    return content_key(prediction.stem, prediction.options)


def _selective_prediction(
    scored: ScoredOptions,
    fitted_on: ScoredOptions | None,
    source: str | None,
    predictions: Sequence[Prediction],
) -> SelectivePrediction:
    curve = _risk_curve(scored)
    if fitted_on is None:
        return SelectivePrediction(curve=curve)
    temperature = fit_temperature(fitted_on)
    scored = scored.scale_temperature(temperature)
    fitted_on = fitted_on.scale_temperature(temperature)
    return SelectivePrediction(
        curve=curve,
        temperature=temperature,
        calibrated_on=source,
        calibrated_n=len(fitted_on),
        after=measure_calibration(scored),
        thresholds=tuple(_find_threshold(scored, fitted_on, target) for target in RISK_TARGETS),
        sets=_make_prediction_sets(
            scored, fitted_on, [p.subject or NO_SUBJECT for p in predictions]
        ),
    )


def _make_prediction_sets(
    scored: ScoredOptions, fitted_on: ScoredOptions, subjects: Sequence[str]
) -> tuple[SetFinding, ...]:
    """Fit and evaluate prediction sets; empty if the calibration questions are too few."""
    found = []
    for score in get_args(ConformalScore):
        try:
            sets = fit_conformal_sets(fitted_on, COVERAGE_LEVEL, score)
        except PredictionsError:
            return ()
        coverage, size = sets.measure_coverage(scored)
        by_subject = coverage_by_group(sets, scored, subjects)
        found.append(
            SetFinding(
                score=score, level=COVERAGE_LEVEL, coverage=coverage, size=size, subjects=by_subject
            )
        )
    return tuple(found)


def _find_threshold(
    scored: ScoredOptions, fitted_on: ScoredOptions, target: float
) -> ThresholdFinding:
    """Find a threshold on the calibration questions and evaluate it on the others."""
    found = find_threshold_for_risk(fitted_on, target)
    power = compute_search_power(fitted_on, target)
    if found is None:
        return ThresholdFinding(target=target, found=None, power=power)
    answered = scored.confidence >= found.confidence
    n = int(answered.sum())
    wrong = int((answered & ~scored.correct).sum())
    return ThresholdFinding(
        target=target,
        found=found,
        answered=wilson_interval(n, len(scored)),
        risk=wilson_interval(wrong, n) if n else None,
        power=power,
    )


def _risk_curve(scored: ScoredOptions) -> RiskCurve:
    whole = risk_coverage(scored)
    last = len(whole.coverage) - 1
    step = max(1, last // CURVE_POINTS)
    places = sorted({*range(0, last, step), last})
    n, right = len(scored), int(scored.correct.sum())
    # In the best order, right answers come first and the risk is 0 up to their number.
    best = sum((k - right) / k for k in range(right + 1, n + 1)) / n
    return RiskCurve(
        coverage=tuple(float(whole.coverage[i]) for i in places),
        risk=tuple(float(whole.risk[i]) for i in places),
        area=min(1.0, whole.area),
        # Rounding must not make the best area larger than the actual one.
        best=min(1.0, whole.area, best),
    )
