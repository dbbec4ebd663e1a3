"""Guards that look at an answer: is the model sure enough, and did it answer at all?"""

from __future__ import annotations

import math

from medtune.core.schemas.guardrails import Calibration, Inquiry, Thought, Verdict
from medtune.guardrails.policy import Policy

LEAST_MASS = 0.1
"""Probability of all letters together; below it the model was about to write something else."""
TIE = 1e-6


def confidence(
    inquiry: Inquiry, thought: Thought, calibration: Calibration | None, policy: Policy
) -> Verdict:
    """Hold an answer to the confidence at which the risk is bounded.

    Args:
        inquiry: What was asked.
        thought: After calibration.
        calibration: None where the model was never calibrated.
        policy: How strict to be.
    """
    rule = policy.confidence
    if calibration is None:
        return Verdict(
            guard="confidence", action=rule.uncalibrated, reason="confidence.uncalibrated"
        )
    if inquiry.subject is not None and inquiry.subject not in calibration.subjects:
        return Verdict(guard="confidence", action=rule.unseen, reason="confidence.unseen_subject")
    if calibration.threshold is None or thought.confidence < calibration.threshold:
        return Verdict(guard="confidence", action=rule.action, reason="confidence.low")
    return Verdict(guard="confidence", action="allow")


def output(thought: Thought) -> Verdict:
    """Defer what is no answer: no letter likely, or two options alike."""
    if not all(map(math.isfinite, thought.probabilities)):
        return Verdict(guard="output", action="defer", reason="output.no_number")
    if thought.mass is not None and thought.mass < LEAST_MASS:
        return Verdict(guard="output", action="defer", reason="output.no_letter")
    best, second, *_ = sorted(thought.probabilities, reverse=True)
    if best - second < TIE:
        return Verdict(guard="output", action="defer", reason="output.tie")
    return Verdict(guard="output", action="allow")


def unavailable() -> Verdict:
    """Defer what could not be answered: the model or the store is away, or too much waits."""
    return Verdict(guard="output", action="defer", reason="output.unavailable")


def prediction_set(thought: Thought, calibration: Calibration) -> tuple[int, ...]:
    """List the options that hold the right one as often as promised (LAC), at least the likeliest.

    An empty set would be shown as if nothing were possible.
    """
    inside = tuple(
        index
        for index, probability in enumerate(thought.probabilities)
        if 1 - probability <= calibration.quantile
    )
    return inside or (thought.chosen,)
