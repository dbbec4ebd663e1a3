"""Guards that look at an answer: is the model sure enough, and did it answer at all?"""

from __future__ import annotations

import math

from medtune.core.schemas.guardrails import GuardVerdict, Inquiry, OptionScores, ServingCalibration
from medtune.guardrails.policy import Policy

LEAST_MASS = 0.1
"""Probability of all letters together; below it the model was about to write something else."""
TIE = 1e-6


def confidence(
    inquiry: Inquiry, thought: OptionScores, calibration: ServingCalibration | None, policy: Policy
) -> GuardVerdict:
    """Hold an answer to the confidence at which the risk is bounded.

    Args:
        inquiry: What was asked.
        thought: After calibration.
        calibration: None where the model was never calibrated.
        policy: How strict to be.
    """
    rule = policy.confidence
    if calibration is None:
        return GuardVerdict(
            guard="confidence", action=rule.uncalibrated, reason="confidence.uncalibrated"
        )
    if inquiry.subject is not None and inquiry.subject not in calibration.subjects:
        return GuardVerdict(
            guard="confidence", action=rule.unseen, reason="confidence.unseen_subject"
        )
    if calibration.threshold is None or thought.confidence < calibration.threshold:
        return GuardVerdict(guard="confidence", action=rule.action, reason="confidence.low")
    return GuardVerdict(guard="confidence", action="allow")


def output(thought: OptionScores) -> GuardVerdict:
    """Defer what is no answer: no letter likely, or two options alike."""
    if not all(map(math.isfinite, thought.probabilities)):
        return GuardVerdict(guard="output", action="defer", reason="output.no_number")
    if thought.mass is not None and thought.mass < LEAST_MASS:
        return GuardVerdict(guard="output", action="defer", reason="output.no_letter")
    best, second, *_ = sorted(thought.probabilities, reverse=True)
    if best - second < TIE:
        return GuardVerdict(guard="output", action="defer", reason="output.tie")
    return GuardVerdict(guard="output", action="allow")


def unavailable() -> GuardVerdict:
    """Defer what could not be answered: the model or the store is away, or too much waits."""
    return GuardVerdict(guard="output", action="defer", reason="output.unavailable")


def prediction_set(thought: OptionScores, calibration: ServingCalibration) -> tuple[int, ...]:
    """List the options that hold the right one as often as promised (LAC), at least the likeliest.

    An empty set would be shown as if nothing were possible.
    """
    inside = tuple(
        index
        for index, probability in enumerate(thought.probabilities)
        if 1 - probability <= calibration.quantile
    )
    return inside or (thought.chosen,)
