"""Break accuracy down by slices of the questions, and estimate its standard error."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.negation import is_negated
from medtune.core.records import LETTERS, Outcome, Prediction
from medtune.core.schemas.analysis import ClusteredSpread, Dimension, Slice
from medtune.core.schemas.dataset import LENGTH_BINS, LENGTH_EDGES, NO_SUBJECT

MIN_SLICE_QUESTIONS = 10
"""Least number of questions for a test (in a slice and in its rest), and for a topic's slice."""
SMALL_TOPICS = f"(fewer than {MIN_SLICE_QUESTIONS} questions)"
"""Slice of all topics that are too small for their own."""
ALPHA = 0.05


def break_down_accuracy(predictions: Sequence[Prediction]) -> tuple[Slice, ...]:
    """Compare slices of the questions with all others, by dimension.

    A dimension with a single slice is left out.  Subjects and topics are ordered by size, other
    slices in their natural order.

    Raises:
        PredictionsError: There are no predictions.
    """
    _check_not_empty(predictions)
    found: list[Slice] = []
    for dimension in DIMENSIONS:
        slices = group_by_slice(dimension, predictions)
        if len(slices) > 1:
            outcomes = {
                name: Counter(predictions[i].outcome for i in members)
                for name, members in slices.items()
            }
            found += _make_slices(dimension, outcomes)
    return tuple(found)


def group_by_slice(dimension: Dimension, predictions: Sequence[Prediction]) -> dict[str, list[int]]:
    """Return the indices of the predictions in each slice of a dimension, slices in order."""
    members: dict[tuple[int, str], list[int]] = {}
    for index, key in enumerate(DIMENSIONS[dimension](predictions)):
        members.setdefault(key, []).append(index)
    return {name: members[rank, name] for rank, name in sorted(members)}


def holm_correction(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple testing by Holm's step-down method (Holm 1979).

    Returns:
        Adjusted p-values in the given order, each between the p-value and 1; rejecting those
        below alpha keeps the family-wise error rate below alpha.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def estimate_clustered_spread(predictions: Sequence[Prediction]) -> ClusteredSpread:
    """Estimate the standard error of the accuracy, plain and clustered.

    Questions of one cluster are correlated, so that they carry less information than independent
    ones.  The clustered error is sqrt(sum over clusters of (sum of the cluster's residuals)^2) / n,
    with score minus mean as residual (Miller 2024, arXiv 2411.00640, section 2.2).  Clusters are
    the groups if two questions share one, else the topics, else the subjects; a question without
    one is its own cluster.  With a single cluster there is no estimate.  With few clusters, below
    about 30, the error is itself uncertain and tends to be too small.

    Raises:
        PredictionsError: There are no predictions.
    """
    _check_not_empty(predictions)
    n = len(predictions)
    right = [int(p.outcome == Outcome.CORRECT) for p in predictions]
    plain = math.sqrt(sum(right) * (n - sum(right)) / n) / n
    found = find_clusters(predictions)
    if found is None:
        return ClusteredSpread(standard_error=plain)
    by, keys = found
    return ClusteredSpread(
        standard_error=plain,
        clustered=clustered_standard_error(right, keys),
        by=by,
        clusters=len(set(keys)),
    )


ClusterLevel = Literal["group", "topic", "subject"]


def find_clusters(predictions: Sequence[Prediction]) -> tuple[ClusterLevel, list[str | int]] | None:
    """Find the clusters of questions: by group, else by topic, else by subject.

    Returns:
        The level, and each question's cluster; a question without a name is a cluster under its
        index.  None if no two questions share a cluster, or all do.
    """
    for by in get_args(ClusterLevel):
        keys = [getattr(p, by) or place for place, p in enumerate(predictions)]
        if 1 < len(set(keys)) < len(keys):
            return by, keys
    return None


def clustered_standard_error(values: Sequence[int], keys: Sequence[str | int]) -> float:
    """Compute the standard error of a mean over clustered questions."""
    n, total = len(values), sum(values)
    sizes = Counter(keys)
    sums: Counter[str | int] = Counter()
    for key, value in zip(keys, values, strict=True):
        sums[key] += value
    # n times the residuals are integers: no rounding, independent of the order.
    squares = sum((n * sums[key] - total * size) ** 2 for key, size in sizes.items())
    return math.sqrt(squares) / n**2


def _check_not_empty(predictions: Sequence[Prediction]) -> None:
    if not predictions:
        raise PredictionsError("no prediction to break down", expected="at least one")


def _make_slices(dimension: Dimension, outcomes: Mapping[str, Counter[Outcome]]) -> list[Slice]:
    """Make the slices of one dimension, in the given order."""
    total = sum(outcomes.values(), Counter[Outcome]())
    n, correct = total.total(), total[Outcome.CORRECT]
    p_values = {
        name: _fisher_test(own[Outcome.CORRECT], own.total(), correct, n)
        for name, own in outcomes.items()
        if own.total() >= MIN_SLICE_QUESTIONS and n - own.total() >= MIN_SLICE_QUESTIONS
    }
    # Two slices are each other's rest: this is one test, which needs no correction.
    several = list(p_values.values())
    corrected = several if len(outcomes) == 2 else holm_correction(several)
    holms = dict(zip(p_values, corrected, strict=True))
    found = []
    for name, own in outcomes.items():
        rest = wilson_interval(correct - own[Outcome.CORRECT], n - own.total())
        accuracy = wilson_interval(own[Outcome.CORRECT], own.total())
        answered = own[Outcome.CORRECT] + own[Outcome.WRONG]
        found.append(
            Slice(
                dimension=dimension,
                name=name,
                accuracy=accuracy,
                answer_rate=wilson_interval(answered, own.total()),
                rest=rest,
                p_value=p_values.get(name),
                p_holm=holms.get(name),
                weak=accuracy.value < rest.value and holms.get(name, 1.0) < ALPHA,
            )
        )
    return found


def _fisher_test(own_correct: int, own_n: int, correct: int, n: int) -> float:
    """Test a slice against the rest, two-sided (Fisher's exact test)."""
    from scipy.stats import fisher_exact

    rest_correct, rest_n = correct - own_correct, n - own_n
    table = [[own_correct, own_n - own_correct], [rest_correct, rest_n - rest_correct]]
    return min(1.0, float(fisher_exact(table).pvalue))


# The functions below return each question's slice: a rank to order slices by, and the name.
SliceKeys = list[tuple[int, str]]


def _by_subject(predictions: Sequence[Prediction]) -> SliceKeys:
    names = [p.subject or NO_SUBJECT for p in predictions]
    sizes = Counter(names)
    return [(-sizes[name], name) for name in names]


def _by_topic(predictions: Sequence[Prediction]) -> SliceKeys:
    names = [p.topic or NO_SUBJECT for p in predictions]
    sizes = Counter(names)
    # Unstated topics may be of any kind: they are not a small topic.
    return [
        (-sizes[name], name)
        if sizes[name] >= MIN_SLICE_QUESTIONS or name == NO_SUBJECT
        else (0, SMALL_TOPICS)
        for name in names
    ]


def _by_length(predictions: Sequence[Prediction]) -> SliceKeys:
    sizes = (len(p.stem) + sum(map(len, p.options)) for p in predictions)
    bins = (bisect_right(LENGTH_EDGES, size) - 1 for size in sizes)
    return [(place, f"{LENGTH_BINS[place]} characters") for place in bins]


DIMENSIONS: dict[Dimension, Callable[[Sequence[Prediction]], SliceKeys]] = {
    "subject": _by_subject,
    "topic": _by_topic,
    "negation": lambda predictions: [
        (0, "negated") if is_negated(p.stem) else (1, "plain") for p in predictions
    ],
    "length": _by_length,
    "letter": lambda predictions: [(p.answer, LETTERS[p.answer]) for p in predictions],
    "options": lambda predictions: [
        (len(p.options), f"{len(p.options)} options") for p in predictions
    ],
}
