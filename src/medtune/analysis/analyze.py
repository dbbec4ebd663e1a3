"""Everything that one evaluation shows beyond its accuracy, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medtune.analysis.breakdown import breakdown, spread
from medtune.analysis.calibration import (
    ScoredOptions,
    brier,
    fit_temperature,
    log_loss,
    measure_error,
    measure_letters,
    reliability,
)
from medtune.analysis.compare import differences
from medtune.analysis.failures import LOW_MASS, failures
from medtune.analysis.options_only import stem_note
from medtune.analysis.order_flips import flips
from medtune.analysis.selective_prediction import (
    by_group,
    conformal,
    risk_coverage,
    search_power,
    threshold_for_risk,
)
from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson
from medtune.core.provenance import provenance
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
from medtune.core.schemas.dataset import UNKNOWN
from medtune.core.schemas.guardrails import TEMPERATURES, at_bound
from medtune.core.warnings import remarks

TARGETS = (0.05, 0.1, 0.2, 0.3)
"""Risks for which a threshold is looked for."""
LEVEL = 0.9
"""Coverage that prediction sets promise."""
CURVE_POINTS = 200
"""Of a risk-coverage curve that are kept for the record; the area is of the whole curve."""
CONSTANT = 0.8
"""A letter given this often is a constant, not a choice."""
MANY_FLIPS = 0.5

Evaluation = tuple[EvaluationRecord, Sequence[Prediction]]

ALIKE = (
    "model",
    "arithmetic",
    "method",
    "normalization",
    "orders of the options",
    "prompt",
    "worked examples",
    "variant of the questions",
)
"""In what a calibration must be like the evaluation that it serves."""


def analyze(
    folder: str,
    evaluation: Evaluation,
    calibration: Evaluation | None = None,
    train_topics: Mapping[str, int] | None = None,
) -> AnalysisRecord:
    """Analyse one evaluation.

    Args:
        folder: Where it lies, for links.
        evaluation: Its record and predictions.
        calibration: The same model under the same method on other questions; without it there
            is no temperature, threshold or prediction set, for they would be fitted on the
            questions that they are reported on.
        train_topics: How many training questions each topic had, if that is known.

    Raises:
        PredictionsError: There are no predictions, or the calibration is of another exam.
    """
    record, predictions = evaluation
    flipped = flips(predictions)
    scored = ScoredOptions.of(predictions) if record.method != "generate" else None
    held = _calibration_scores(evaluation, calibration) if calibration is not None else None
    slices = breakdown(predictions)
    answered = record.counts.correct + record.counts.wrong
    source = calibration[0].data.source if calibration is not None else None
    selective = _selective(scored, held, source, predictions) if scored else None
    notes = warnings(record, flipped)
    if selective is not None and selective.temperature is not None:
        notes += _edge(record, selective)
    if held is not None and selective is not None and not selective.sets:
        notes.append(
            f"{len(held)} calibration questions are too few for prediction sets that hold the "
            f"answer in {100 * LEVEL:.0f} % of cases: they are left out."
        )
    return AnalysisRecord(
        folder=folder,
        evaluation=record,
        accuracy_answered=wilson(record.counts.correct, answered) if answered else None,
        spread=spread(predictions),
        slices=slices,
        weak_subjects=tuple(s.name for s in slices if s.dimension == "subject" and s.weak),
        calibration=measure(scored) if scored else None,
        selective=selective,
        flips=flipped,
        failures=failures(predictions, train_topics),
        warnings=tuple(notes),
        provenance=provenance(),
    )


def measure(scored: ScoredOptions) -> CalibrationReport:
    """Measure calibration."""
    return CalibrationReport(
        **dict(measure_error(scored)),
        letters=measure_letters(scored),
        brier=brier(scored),
        log_loss=log_loss(scored),
        bins=tuple(reliability(scored)),
    )


def faults(record: EvaluationRecord) -> list[str]:
    """Say where an examination does not measure what it should."""
    found = remarks(record)
    place = f"{record.label} on {record.data.source}"
    if record.mean_mass is not None and record.mean_mass < LOW_MASS:
        found.append(
            f"Letter form, {place}: only {100 * record.mean_mass:.1f} % of the probability lies on "
            "the letters. The model does not answer in letters; its letter accuracy says "
            "little about what it knows."
        )
    top = max(record.letters_chosen.values(), default=0)
    if record.method == "letter" and top >= CONSTANT * record.counts.n:
        letter = max(record.letters_chosen, key=lambda c: record.letters_chosen[c])
        found.append(
            f"Letter form, {place}: {letter} was given to {top} of {record.counts.n} questions; "
            "this is a constant, not a choice."
        )
    if record.method == "generate" and record.answer_rate.value < 0.9:
        found.append(
            f"Free answers, {place}: {record.counts.unparsed} of {record.counts.n} name no option "
            "and count as not correct."
        )
    return found


def warnings(record: EvaluationRecord, flipped: Flips | None) -> list[str]:
    """Say what a reader must know before believing the number."""
    found = faults(record)
    place = f"{record.label} on {record.data.source}"
    if record.accuracy.low <= record.majority.value:
        mean = ", the mean over the orders," if record.orders == "cyclic" else ""
        found.append(
            f"{place}: {100 * record.accuracy.value:.1f} %{mean} is not shown to be above always "
            f"giving {record.majority_letter} ({100 * record.majority.value:.1f} %)."
        )
    if note := stem_note(record):
        found.append(note)
    if flipped is not None and flipped.any.value >= MANY_FLIPS:
        found.append(
            f"{place}: {100 * flipped.any.value:.1f} % of the answers change with the order of "
            "the options."
        )
    return found


def _edge(record: EvaluationRecord, selective: SelectivePrediction) -> list[str]:
    """Warn of a temperature that is no estimate."""
    assert selective.temperature is not None
    if not at_bound(selective.temperature):
        return []
    low, high = TEMPERATURES
    return [
        f"{record.label} on {record.data.source}: the temperature of {selective.temperature:.3g} "
        f"lies on the edge of where it was looked for ({low:g} to {high:g}). No temperature makes "
        "these probabilities mean what they say; thresholds and sets rest on it."
    ]


def _calibration_scores(evaluation: Evaluation, calibration: Evaluation) -> ScoredOptions:
    """Read the calibration questions, and refuse what would make them worthless."""
    (record, predictions), (other, others) = evaluation, calibration
    if record.method == "generate":
        raise PredictionsError(
            f"{record.label} was examined by generate: free answers have no probabilities to "
            "calibrate",
            expected="an examination by letter or cloze",
            fix="analyse it without a calibration, or evaluate by letter or cloze",
        )
    if unlike := differences(record, other, ALIKE):
        raise PredictionsError(
            f"the calibration differs from the evaluation in its {', '.join(unlike)}",
            expected="the same model, examined in the same way, on other questions",
            fix="evaluate the same model on the calibration split with the same options",
        )
    asked = {p.id: p.id for p in predictions} | {_content(p): p.id for p in predictions}
    shared = [(p.id, twin) for p in others if (twin := asked.get(p.id) or asked.get(_content(p)))]
    if shared:
        theirs, mine = min(shared)
        name = mine if theirs == mine else f"{theirs}, which is {mine} there"
        raise PredictionsError(
            f"{len(shared)} calibration questions are among the evaluated ones, such as {name}",
            expected="two sets without a common question",
            fix="calibrate on another split: snapshot:FOLDER:calibration",
        )
    return ScoredOptions.of(others)


def _content(prediction: Prediction) -> str:
    return content_key(prediction.stem, prediction.options)


def _selective(
    scored: ScoredOptions,
    held: ScoredOptions | None,
    source: str | None,
    predictions: Sequence[Prediction],
) -> SelectivePrediction:
    curve = _curve(scored)
    if held is None:
        return SelectivePrediction(curve=curve)
    temperature = fit_temperature(held)
    here, there = scored.heated(temperature), held.heated(temperature)
    return SelectivePrediction(
        curve=curve,
        temperature=temperature,
        calibrated_on=source,
        calibrated_n=len(held),
        after=measure(here),
        thresholds=tuple(_threshold(here, there, target) for target in TARGETS),
        sets=_sets(here, there, [p.subject or UNKNOWN for p in predictions]),
    )


def _sets(
    here: ScoredOptions, there: ScoredOptions, subjects: Sequence[str]
) -> tuple[SetFinding, ...]:
    """Make prediction sets; none where the calibration questions are too few to promise any."""
    found = []
    for score in ("lac", "aps"):
        try:
            made = conformal(there, LEVEL, score)
        except PredictionsError:
            return ()
        coverage, size = made.realised(here)
        found.append(
            SetFinding(
                score=score,
                level=LEVEL,
                coverage=coverage,
                size=size,
                subjects=by_group(made, here, subjects),
            )
        )
    return tuple(found)


def _threshold(here: ScoredOptions, there: ScoredOptions, target: float) -> ThresholdFinding:
    """Choose a threshold on the calibration questions, and see what it does on the others."""
    found, power = threshold_for_risk(there, target), search_power(there, target)
    if found is None:
        return ThresholdFinding(target=target, found=None, power=power)
    answered = here.confidence >= found.confidence
    n = int(answered.sum())
    wrong = int((answered & ~here.right).sum())
    return ThresholdFinding(
        target=target,
        found=found,
        answered=wilson(n, len(here)),
        risk=wilson(wrong, n) if n else None,
        power=power,
    )


def _curve(scored: ScoredOptions) -> RiskCurve:
    whole = risk_coverage(scored)
    last = len(whole.coverage) - 1
    step = max(1, last // CURVE_POINTS)
    places = sorted({*range(0, last, step), last})
    n, right = len(scored), int(scored.right.sum())
    # With all right answers first the risk is 0 until they are used up.
    best = sum((k - right) / k for k in range(right + 1, n + 1)) / n
    return RiskCurve(
        coverage=tuple(float(whole.coverage[i]) for i in places),
        risk=tuple(float(whole.risk[i]) for i in places),
        area=min(1.0, whole.area),
        # Where the order is the best one, rounding must not put it below itself.
        best=min(1.0, whole.area, best),
    )
