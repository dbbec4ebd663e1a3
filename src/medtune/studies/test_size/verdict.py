"""Write the verdicts of the test-size study."""

from __future__ import annotations

from collections.abc import Sequence

from medtune.studies.test_size.schema import AccuracyBySize, DifferenceBySize


def write_size_verdict(
    evaluations: Sequence[AccuracyBySize], difference: DifferenceBySize | None
) -> str:
    """Write the verdict on the sizes in a few sentences."""
    last = evaluations[-1]
    first, full = last.sizes[0], last.sizes[-1]
    text = (
        f"With {full.n:,} questions the 95 % interval of {last.label}'s accuracy "
        f"({100 * last.accuracy.value:.1f} %) is ±{100 * full.half_width:.1f} points"
    )
    if first.n < full.n:
        text += (
            f"; with {first.n:,} it is ±{100 * first.half_width:.1f}, and such tests show "
            f"{100 * first.spread.low:.1f} to {100 * first.spread.high:.1f} % (19 in 20 of them)"
        )
    if difference is None:
        return f"{text}."
    observed = 100 * difference.comparison.difference
    if difference.needed is None:
        return f"{text}. No difference was observed, so no size can be named that would find it."
    text += (
        f". To find the observed difference of {observed:+.1f} points in four tests out of five "
        f"you need about {difference.needed:,} questions"
    )
    if difference.needed_if_smaller is None:
        return f"{text}; but it may be none at all: its 95 % interval holds 0."
    return (
        f"{text}, and {difference.needed_if_smaller:,} if it is as small as its 95 % interval "
        "allows."
    )


def write_subjects_verdict(exam: AccuracyBySize) -> str | None:
    """Write the verdict on stratification, at the largest size below the full split."""
    for size in reversed(exam.sizes):
        drawn = size.stratified
        if drawn and drawn.ratio is not None and size.standard_error_finite:
            theory = drawn.standard_error / size.standard_error_finite
            return (
                f"Drawn by subject, {size.n:,} questions spread {theory:.3f} times as wide as "
                f"without regard to subjects, by theory; in these subsamples {drawn.ratio:.3f} "
                f"times (95 % {drawn.ratio_low:.3f} to {drawn.ratio_high:.3f})."
            )
    return None
