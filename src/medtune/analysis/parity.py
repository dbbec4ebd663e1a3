"""Does a packed model still answer as the one it was made from?"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from medtune.analysis.calibration import Scored, calibration_error
from medtune.analysis.compare import compare, lined_up
from medtune.core.compress import Budget, Parity
from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson
from medtune.core.records import EvaluationRecord, Prediction, Proportion

Sat = tuple[EvaluationRecord, Sequence[Prediction]]
"""An examination: record and predictions."""


def parity(
    name: str, reference: Sat, candidate: Sat, budget: Budget, file_bytes: int | None = None
) -> Parity:
    """Hold a packed model against the one it was made from.

    Agreement and drift are held to their budgets as measured; the accuracy is, by the interval of
    its loss: a loss that too few questions cannot exclude is one.

    Args:
        name: Of the packed model, for tables.
        reference: Examination of the original, by letter or cloze.
        candidate: The same examination of the packed model.
        budget: How far they may be apart.
        file_bytes: Size of its weights on disk.

    Raises:
        PredictionsError: They are not the same examination, or one without probabilities.
    """
    pairs = lined_up(reference[1], candidate[1], (reference[0].label, candidate[0].label))
    drifts = [
        abs(there - here)
        for before, after in pairs
        for here, there in zip(_logs(before), _logs(after), strict=True)
    ]
    agreement = wilson(sum(a.chosen == b.chosen for a, b in pairs), len(pairs))
    mean = fmean(drifts)
    comparison = compare(reference, candidate)
    errors = [calibration_error(Scored.of(sat[1])) for sat in (reference, candidate)]
    broken = over_budget(budget, agreement, mean, "nats a token", comparison.difference_low)
    return Parity(
        name=name,
        model=candidate[0].model,
        evaluation=candidate[0],
        agreement=agreement,
        mean_drift=mean,
        max_drift=max(drifts),
        comparison=comparison,
        calibration_shift=errors[1] - errors[0],
        budget=budget,
        broken=broken,
        file_bytes=file_bytes,
    )


def over_budget(
    budget: Budget, agreement: Proportion, drift: float, unit: str, change: float | None = None
) -> tuple[str, ...]:
    """Say in words what is over budget.

    Args:
        budget: What is allowed.
        agreement: Share of questions with the same choice.
        drift: Mean change of an option's log-probability.
        unit: Of the drift.
        change: Lower end of the change of accuracy; None where it was not measured.
    """
    broken = []
    if agreement.value < budget.agreement:
        broken.append(
            f"the same option on {100 * agreement.value:.1f} %, "
            f"at least {100 * budget.agreement:.1f} wanted"
        )
    if change is not None and change < -budget.loss:
        broken.append(
            f"up to {-100 * change:.1f} points of accuracy may be lost, "
            f"at most {100 * budget.loss:.1f} allowed"
        )
    if drift > budget.drift:
        broken.append(
            f"log-probabilities move by {drift:.3f} {unit} on average, "
            f"at most {budget.drift:.3f} allowed"
        )
    return tuple(broken)


def _logs(prediction: Prediction) -> list[float]:
    """Return each option's log-probability, nats a token: a letter has one, a text several."""
    if prediction.logprobs is None or prediction.tokens is None:
        raise PredictionsError(
            f"{prediction.id} has no log-probabilities",
            expected="an examination by letter or cloze",
        )
    pairs = zip(prediction.logprobs, prediction.tokens, strict=True)
    return [value / max(1, tokens) for value, tokens in pairs]
