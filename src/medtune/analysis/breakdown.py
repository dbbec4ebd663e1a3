"""Where does a model fail more often? Accuracy slice by slice, and how sure the whole is."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.stats import fisher_exact

from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson
from medtune.core.negation import asks_exception
from medtune.core.records import LETTERS, Outcome, Prediction
from medtune.core.schemas.analysis import ClusteredSpread, Dimension, Slice
from medtune.core.schemas.dataset import LENGTH_BINS, LENGTH_EDGES, UNKNOWN

LEAST = 10
"""Questions that a slice and its rest need for a test, and a topic to stand alone."""
FEW = f"(fewer than {LEAST} questions)"
"""Gathers the topics that are too small to stand alone."""
ALPHA = 0.05


@dataclass(slots=True)
class _Tally:
    """The questions of one slice, counted."""

    n: int = 0
    correct: int = 0
    answered: int = 0

    def add(self, outcome: Outcome) -> None:
        self.n += 1
        self.correct += outcome == Outcome.CORRECT
        self.answered += outcome in (Outcome.CORRECT, Outcome.WRONG)


def breakdown(predictions: Sequence[Prediction]) -> tuple[Slice, ...]:
    """Compare slices of the questions with all others, one dimension after the other.

    A dimension in which all questions are alike is left out.  Subjects and topics come by size,
    everything else in its natural order.

    Raises:
        PredictionsError: There are no predictions.
    """
    _refuse_nothing(predictions)
    found: list[Slice] = []
    for dimension, place in DIMENSIONS.items():
        tallies: dict[str, _Tally] = {}
        ranks: dict[str, int] = {}
        for prediction, (rank, name) in zip(predictions, place(predictions), strict=True):
            tallies.setdefault(name, _Tally()).add(prediction.outcome)
            ranks[name] = rank
        if len(tallies) > 1:
            names = sorted(tallies, key=lambda name: (ranks[name], name))
            found += _slices(dimension, {name: tallies[name] for name in names})
    return tuple(found)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number, step-down (Holm 1979).

    Returns:
        Adjusted p-values in the order given; each is at least the p-value itself, at most 1, and
        rejecting those below alpha keeps the chance of any false rejection below alpha.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def spread(predictions: Sequence[Prediction]) -> ClusteredSpread:
    """Estimate the standard error of the accuracy, plain and clustered.

    Questions of one cluster may be right and wrong together, so that they say less than as many
    independent ones.  The clustered error is sqrt(sum over clusters of (sum of the cluster's
    residuals)^2) / n, with score minus mean as residual (Miller 2024, arXiv 2411.00640, section
    2.2).  Clusters are the groups where two questions share one, else the topics, else the
    subjects; a question without one stands alone.  Where all questions are one cluster, nothing
    can be said.  With few clusters, say below 30, the error is itself uncertain and rather small.

    Raises:
        PredictionsError: There are no predictions.
    """
    _refuse_nothing(predictions)
    n = len(predictions)
    right = [int(p.outcome == Outcome.CORRECT) for p in predictions]
    plain = math.sqrt(sum(right) * (n - sum(right)) / n) / n
    found = clusters(predictions)
    if found is None:
        return ClusteredSpread(standard_error=plain)
    by, keys = found
    return ClusteredSpread(
        standard_error=plain,
        clustered=clustered_error(right, keys),
        by=by,
        clusters=len(set(keys)),
    )


Cluster = Literal["group", "topic", "subject"]


def clusters(predictions: Sequence[Prediction]) -> tuple[Cluster, list[str | int]] | None:
    """Find what questions have in common: their group, else topic, else subject.

    Returns:
        By what, and each question's cluster; one without a name stands alone, under its place.
        None where no two questions share a cluster, or all do.
    """
    choices: tuple[tuple[Cluster, list[str | None]], ...] = (
        ("group", [p.group for p in predictions]),
        ("topic", [p.topic for p in predictions]),
        ("subject", [p.subject for p in predictions]),
    )
    for by, names in choices:
        keys = [name or place for place, name in enumerate(names)]
        if 1 < len(set(keys)) < len(keys):
            return by, keys
    return None


def clustered_error(values: Sequence[int], keys: Sequence[str | int]) -> float:
    """Compute the standard error of a mean over questions that come in clusters.

    Args:
        values: Of each question.
        keys: Each question's cluster.
    """
    n, total = len(values), sum(values)
    sizes = Counter(keys)
    sums: Counter[str | int] = Counter()
    for key, value in zip(keys, values, strict=True):
        sums[key] += value
    # n times the residuals are whole numbers: no rounding, whatever the order.
    squares = sum((n * sums[key] - total * size) ** 2 for key, size in sizes.items())
    return math.sqrt(squares) / n**2


def _refuse_nothing(predictions: Sequence[Prediction]) -> None:
    if not predictions:
        raise PredictionsError("no prediction to break down", expected="at least one")


def _slices(dimension: Dimension, tallies: Mapping[str, _Tally]) -> list[Slice]:
    """Make the slices of one dimension, in the order given."""
    n = sum(tally.n for tally in tallies.values())
    correct = sum(tally.correct for tally in tallies.values())
    p_values = {
        name: _fisher(tally, n, correct)
        for name, tally in tallies.items()
        if tally.n >= LEAST and n - tally.n >= LEAST
    }
    # Of two slices each is the other's rest: they are one test, and one needs no correction.
    corrected = list(p_values.values()) if len(tallies) == 2 else holm(list(p_values.values()))
    holms = dict(zip(p_values, corrected, strict=True))
    found = []
    for name, tally in tallies.items():
        rest = wilson(correct - tally.correct, n - tally.n)
        accuracy = wilson(tally.correct, tally.n)
        found.append(
            Slice(
                dimension=dimension,
                name=name,
                accuracy=accuracy,
                answer_rate=wilson(tally.answered, tally.n),
                rest=rest,
                p_value=p_values.get(name),
                p_holm=holms.get(name),
                weak=accuracy.value < rest.value and holms.get(name, 1.0) < ALPHA,
            )
        )
    return found


def _fisher(tally: _Tally, n: int, correct: int) -> float:
    """Test a slice against the rest, two-sided (Fisher's exact test)."""
    rest_correct, rest_n = correct - tally.correct, n - tally.n
    table = [[tally.correct, tally.n - tally.correct], [rest_correct, rest_n - rest_correct]]
    return min(1.0, float(fisher_exact(table).pvalue))


# What follows puts each question into its slice: a rank to order slices by, and the slice's name.
Places = list[tuple[int, str]]


def _subjects(predictions: Sequence[Prediction]) -> Places:
    names = [p.subject or UNKNOWN for p in predictions]
    sizes = Counter(names)
    return [(-sizes[name], name) for name in names]


def _topics(predictions: Sequence[Prediction]) -> Places:
    names = [p.topic or UNKNOWN for p in predictions]
    sizes = Counter(names)
    # Topics that are not stated may be of any kind: they are not a small topic.
    return [
        (-sizes[name], name) if sizes[name] >= LEAST or name == UNKNOWN else (0, FEW)
        for name in names
    ]


def _negations(predictions: Sequence[Prediction]) -> Places:
    return [(0, "negated") if asks_exception(p.stem) else (1, "plain") for p in predictions]


def _lengths(predictions: Sequence[Prediction]) -> Places:
    sizes = (len(p.stem) + sum(map(len, p.options)) for p in predictions)
    bins = (bisect_right(LENGTH_EDGES, size) - 1 for size in sizes)
    return [(place, f"{LENGTH_BINS[place]} characters") for place in bins]


def _letters(predictions: Sequence[Prediction]) -> Places:
    return [(p.answer, LETTERS[p.answer]) for p in predictions]


def _options(predictions: Sequence[Prediction]) -> Places:
    return [(len(p.options), f"{len(p.options)} options") for p in predictions]


DIMENSIONS: dict[Dimension, Callable[[Sequence[Prediction]], Places]] = {
    "subject": _subjects,
    "topic": _topics,
    "negation": _negations,
    "length": _lengths,
    "letter": _letters,
    "options": _options,
}
