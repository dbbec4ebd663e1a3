"""Compare what two models know besides medicine, and say it in a sentence."""

from __future__ import annotations

import math
import statistics

from medtune.analysis.breakdown import ALPHA, holm_correction
from medtune.core.formatting import format_p_value, format_percent, join_words
from medtune.core.records import ComparisonRecord, ForgettingRecord, TextLoss, TextLossComparison


def compare_text_losses(a: TextLoss, b: TextLoss) -> TextLossComparison:
    """Compare two models, text by text; b is the candidate.

    The interval is Student's t over the texts, of which there are few, and the test is its dual.

    Raises:
        ValueError: They are not of the same number of texts.
    """
    from scipy.stats import t

    gaps = [after - before for before, after in zip(a.losses, b.losses, strict=True)]
    n, mean = len(gaps), statistics.fmean(gaps)
    error = statistics.stdev(gaps) / math.sqrt(n)
    margin = float(t.ppf(0.975, n - 1)) * error
    p_value = 2 * float(t.sf(abs(mean) / error, n - 1)) if error else float(mean == 0)
    return TextLossComparison(
        n=n,
        loss_a=statistics.fmean(a.losses),
        loss_b=statistics.fmean(b.losses),
        difference=mean,
        difference_low=mean - margin,
        difference_high=mean + margin,
        p_value=p_value,
    )


def describe_forgetting(record: ForgettingRecord) -> str:
    """Say in one sentence what a fine-tuned model forgot, after Holm's correction."""
    text, name = record.text_loss, record.answers[0].b
    lost = [(found.p_value, -found.difference) for found in record.answers]
    lost.append((text.p_value, text.difference))
    held = holm_correction([p for p, _ in lost])
    worse = any(p < ALPHA and loss > 0 for p, (_, loss) in zip(held, lost, strict=True))
    verdict = f"{name} has forgotten something" if worse else f"{name}: no forgetting is shown"
    questions = ", ".join(map(_describe_answers, record.answers))
    return (
        f"{verdict}: general questions {questions} (n = {record.answers[0].n}); plain text "
        f"{text.loss_a:.3f} to {text.loss_b:.3f} bits per byte ({text.difference:+.3f}, 95 % "
        f"interval {text.difference_low:+.3f} to {text.difference_high:+.3f}, p "
        f"{format_p_value(text.p_value)}, n = {text.n})."
    )


def list_forgetting_caveats(record: ForgettingRecord) -> list[str]:
    """List what these figures cannot show."""
    empty = [c.method for c in record.answers if not record.has_something_to_lose(c)]
    found = []
    if empty:
        found.append(
            f"By {join_words(empty)} {record.answers[0].a} is not shown to be above chance "
            f"({format_percent(record.chance)} %) on the general questions: what was a guess "
            "cannot be forgotten, and the loss on plain text has to tell."
        )
    if record.trained_on:
        found.append(f"{record.trained_on} of the general questions were trained on.")
    return found


def _describe_answers(found: ComparisonRecord) -> str:
    before, after = found.accuracy_a.value, found.accuracy_b.value
    return (
        f"{format_percent(before)} to {format_percent(after)} % by {found.method} "
        f"({100 * found.difference:+.1f} points, {100 * found.difference_low:+.1f} to "
        f"{100 * found.difference_high:+.1f}, p {format_p_value(found.p_value)})"
    )
