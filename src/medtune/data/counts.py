"""Count the properties of a split."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from statistics import median_low

from medtune.core.negation import is_negated
from medtune.core.records import Question
from medtune.core.schemas.dataset import LENGTH_EDGES, NO_SUBJECT, SplitCounts


def count_split(questions: Iterable[Question]) -> SplitCounts:
    """Count the subjects, letters, lengths and kinds of questions in a split."""
    subjects: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    options: Counter[int] = Counter()
    lengths: list[int] = []
    negated = explained = unlabelled = 0
    for question in questions:
        subjects[question.subject or NO_SUBJECT] += 1
        options[len(question.options)] += 1
        lengths.append(len(question.stem) + sum(map(len, question.options)))
        negated += is_negated(question.stem)
        explained += question.explanation is not None
        if question.answer is None:
            unlabelled += 1
        else:
            letters[question.letters[question.answer]] += 1
    bins = Counter(bisect_right(LENGTH_EDGES, length) - 1 for length in lengths)
    return SplitCounts(
        subjects=dict(sorted(subjects.items(), key=lambda item: (-item[1], item[0]))),
        letters=dict(sorted(letters.items())),
        options=dict(sorted(options.items())),
        lengths=tuple(bins[place] for place in range(len(LENGTH_EDGES))),
        median_length=median_low(lengths) if lengths else 0,
        negated=negated,
        explained=explained,
        unlabelled=unlabelled,
    )
