"""Notes on how much of an accuracy, or of a gain, the options alone explain."""

from __future__ import annotations

from medtune.analysis.breakdown import ALPHA
from medtune.core.formatting import format_p_value, format_percent, format_share
from medtune.core.records import EvaluationRecord


def stem_note(record: EvaluationRecord) -> str | None:
    """Return a note on the effect of the stem, if the options alone may explain an accuracy.

    That is the case if answers without the stem are significantly above the no-knowledge baseline,
    or if the accuracy is above it and the stem does not significantly increase it.

    Returns:
        The note; None if it is not needed, or nothing was measured.
    """
    blind, effect = record.options_only, record.stem_effect
    if blind is None:
        return None
    name, value = record.no_knowledge_baseline
    if effect is None:
        needed = blind.high < record.accuracy.low
    else:
        gained = effect.with_stem.value > blind.value
        needed = gained and effect.p_value < ALPHA
    if not (record.options_leak_answers or (record.accuracy.low > value and not needed)):
        return None
    seen = record.accuracy if effect is None else effect.with_stem
    adds = "" if effect is None else f" (exact McNemar p {format_p_value(effect.p_value)})"
    verdict = (
        "The options alone explain a part of its accuracy."
        if needed
        else "The options alone may explain its accuracy."
    )
    return (
        f"{record.label} on {record.data.source}, {record.method}: without the stem "
        f"{format_share(blind)} are still right, {name} gives {format_percent(value)} %; with the "
        f"stem {format_share(seen)}: the stem adds {100 * (seen.value - blind.value):+.1f} "
        f"points{adds}. {verdict}"
    )


def gain_note(a: EvaluationRecord, b: EvaluationRecord, difference: float) -> str | None:
    """Return a note on how much of a gain remains without the stem.

    b is the candidate, `difference` its accuracy minus that of a.

    Returns:
        The note; None if nothing was gained or measured, or the options give b no answers away.
    """
    if (
        difference <= 0
        or not b.options_leak_answers
        or a.options_only is None
        or b.options_only is None
    ):
        return None
    blind = b.options_only.value - a.options_only.value
    return (
        f"Without the stem the difference is {100 * blind:+.1f} points ({a.label} "
        f"{format_percent(a.options_only.value)} %, {b.label} "
        f"{format_percent(b.options_only.value)} %, "
        f"n = {b.options_only.n:,}), with it {100 * difference:+.1f}."
    )
