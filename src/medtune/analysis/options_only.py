"""What the options alone explain of an accuracy, and of a difference between two, in sentences."""

from __future__ import annotations

from medtune.analysis.breakdown import ALPHA
from medtune.core.formatting import equation, interval, percent
from medtune.core.records import EvaluationRecord, Proportion


def stem_note(record: EvaluationRecord) -> str | None:
    """Say what the stem adds, where the options alone may explain an accuracy.

    That is where answers without the stem are shown to be better than what needs no knowledge, or
    where the accuracy is, and the stem is not shown to add to it.

    Returns:
        The sentences; None where there is nothing to say, or nothing was measured.
    """
    blind, effect = record.options_only, record.stem_effect
    if blind is None:
        return None
    name, value = record.no_knowledge
    if effect is None:
        needed = blind.high < record.accuracy.low
    else:
        gained = effect.with_stem.value > blind.value
        needed = gained and effect.p_value < ALPHA
    if not (record.options_tell or (record.accuracy.low > value and not needed)):
        return None
    seen = record.accuracy if effect is None else effect.with_stem
    adds = "" if effect is None else f" (exact McNemar p {equation(effect.p_value)})"
    verdict = (
        "The options alone explain a part of its accuracy."
        if needed
        else "The options alone may explain its accuracy."
    )
    return (
        f"{record.label} on {record.data.source}, {record.method}: without the stem "
        f"{_share(blind)} are still right, {name} gives {percent(value)} %; with the stem "
        f"{_share(seen)}: it adds {100 * (seen.value - blind.value):+.1f} points{adds}. {verdict}"
    )


def gain_note(a: EvaluationRecord, b: EvaluationRecord, difference: float) -> str | None:
    """Say how much of a gain is there without the stem.

    Args:
        a: The reference.
        b: The candidate.
        difference: Accuracy of b minus that of a.

    Returns:
        A sentence; None where nothing was gained or measured, or the options tell b nothing.
    """
    if difference <= 0 or not b.options_tell or a.options_only is None or b.options_only is None:
        return None
    blind = b.options_only.value - a.options_only.value
    return (
        f"Without the stem the difference is {100 * blind:+.1f} points ({a.label} "
        f"{percent(a.options_only.value)} %, {b.label} {percent(b.options_only.value)} %, "
        f"n = {b.options_only.n:,}), with it {100 * difference:+.1f}."
    )


def _share(value: Proportion) -> str:
    return f"{percent(value.value)} % ({interval(value)}, n = {value.n:,})"
