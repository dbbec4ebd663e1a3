"""What a split is made of, in counts."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from statistics import median_low

from medtune.core.negation import asks_exception
from medtune.core.records import Question
from medtune.core.schemas.dataset import LENGTH_EDGES, UNKNOWN, SplitCounts


def profile(questions: Iterable[Question]) -> SplitCounts:
    """Count a split's subjects, letters, lengths and kinds of questions."""
    subjects: Counter[str] = Counter()
    letters: Counter[str] = Counter()
    options: Counter[int] = Counter()
    lengths: list[int] = []
    negated = explained = unlabelled = 0
    for question in questions:
        subjects[question.subject or UNKNOWN] += 1
        options[len(question.options)] += 1
        lengths.append(len(question.stem) + sum(map(len, question.options)))
        negated += asks_exception(question.stem)
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
