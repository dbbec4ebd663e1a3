"""How does a model fail? Kinds of failures, found from the predictions alone.

They are the patterns that a reader of wrong answers finds by hand: options that are easily taken
for one another, exceptions read as rules, rare topics; and four that only a count can show.  A
failure is a wrong or an unparsed answer; an abstention is none.  One failure may be of several
kinds.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.utils import default_process

from medtune.core.intervals import wilson
from medtune.core.negation import asks_exception
from medtune.core.records import LETTERS, Outcome, Prediction
from medtune.core.schemas.analysis import Failure, FailureExample, FailureKind
from medtune.core.schemas.dataset import UNKNOWN

EXAMPLES = 5
"""Per kind."""
LIKE = 60
"""Likeness of two options, 0 to 100, from which on they are easily taken for one another."""
RARE = 5
"""A topic with fewer questions is rare."""
OVERUSE = 1.5
"""A letter is a habit when it is chosen this many times as often as it is right ..."""
OFTEN = 10
"""... and at least so often."""
SURE = 0.8
LOW_MASS = 0.5
"""Below this probability on the letters together, the model does not answer in letters."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What one kind of failure came to."""

    explanation: str
    notes: Mapping[int, str]
    """Per failure of this kind its place among the predictions, and why it counts."""


def failures(
    predictions: Sequence[Prediction], train_topics: Mapping[str, int] | None = None
) -> tuple[Failure, ...]:
    """Sort failures into kinds, each with what its share is to be held against.

    A kind that cannot be judged from these predictions is left out; one that was looked for and
    did not occur has a share of 0.

    Args:
        predictions: One evaluation's, wrong or not: the right ones are what shares are compared
            with.
        train_topics: How many training questions each topic had; without it, a topic is rare
            when it is rare among the predictions.

    Returns:
        The kinds in a fixed order; nothing where nothing failed.
    """
    failed = sum(p.outcome in (Outcome.WRONG, Outcome.UNPARSED) for p in predictions)
    if not failed:
        return ()
    kinds: dict[FailureKind, Callable[[], _Found | None]] = {
        "plausible option": lambda: _plausible(predictions),
        "exception missed": lambda: _exceptions(predictions),
        "rare topic": lambda: _rare(predictions, train_topics),
        "letter habit": lambda: _habits(predictions),
        "sure and wrong": lambda: _sure(predictions),
        "format": lambda: _format(predictions),
    }
    return tuple(
        Failure(
            name=name,
            explanation=found.explanation,
            share=wilson(len(found.notes), failed),
            examples=_examples(predictions, found.notes),
        )
        for name, judge in kinds.items()
        if (found := judge()) is not None
    )


def _plausible(predictions: Sequence[Prediction]) -> _Found | None:
    """Find wrong choices that read like the right option, more than any other wrong option."""
    notes: dict[int, str] = {}
    judged = 0
    blind: list[float] = []
    for place, p, chosen in _wrong(predictions):
        if len(p.options) < 3:
            continue  # a single wrong option cannot be more alike than others
        judged += 1
        texts = [default_process(option) for option in p.options]
        alike = {
            i: fuzz.token_set_ratio(text, texts[p.answer])
            for i, text in enumerate(texts)
            if i != p.answer
        }
        nearest, second = sorted(alike.values(), reverse=True)[:2]
        if nearest < LIKE or nearest == second:
            continue
        blind.append(1 / len(alike))
        if alike[chosen] == nearest:
            notes[place] = (
                f"{LETTERS[chosen]} reads most like the right {LETTERS[p.answer]}: likeness "
                f"{nearest:.0f} of 100, no other wrong option above {second:.0f}."
            )
    if not judged:
        return None
    return _Found(
        "The wrong option that was chosen reads like the right one (token-set likeness of at "
        f"least {LIKE} of 100) and more so than any other; this looks at words, not at medicine. "
        f"True of {len(notes)} of {judged} wrong choices; a blind choice among the wrong options "
        f"would come to {math.fsum(blind):.1f}.",
        notes,
    )


def _exceptions(predictions: Sequence[Prediction]) -> _Found | None:
    """Find wrong answers to stems that ask for the exception."""
    negated = [asks_exception(p.stem) for p in predictions]
    if not any(negated):
        return None
    notes = {
        place: f"The stem is negated; the model chose {LETTERS[chosen]}, right is "
        f"{LETTERS[p.answer]}."
        for place, p, chosen in _wrong(predictions)
        if negated[place]
    }
    return _Found(
        "Wrong on a stem that asks for the exception (except, not, least, ...). "
        + _rates(predictions, negated, "negated", "plain"),
        notes,
    )


def _rare(
    predictions: Sequence[Prediction], train_topics: Mapping[str, int] | None
) -> _Found | None:
    """Find wrong answers on topics that few questions are about."""
    what = "topic"
    names = [p.topic for p in predictions]
    if train_topics is None and not any(names):
        what, names = "subject", [p.subject for p in predictions]
    if not any(names):
        return None
    where = "here" if train_topics is None else "in training"
    sizes = Counter(names) if train_topics is None else train_topics
    counts = [sizes.get(name, 0) if name else None for name in names]
    rare = [None if count is None else count < RARE for count in counts]
    notes = {
        place: f"The {what} {names[place]} has {_count(counts[place] or 0, 'question')} {where}."
        for place, _, _ in _wrong(predictions)
        if rare[place]
    }
    return _Found(
        f"Wrong on a {what} with fewer than {RARE} questions {where}. "
        + _rates(predictions, rare, "rare", "other"),
        notes,
    )


def _habits(predictions: Sequence[Prediction]) -> _Found | None:
    """Find wrong answers that give a letter which the model gives too often.

    Where the options were shown in several orders, letters are counted as they were shown, and
    one failure is a habit when the same letter was given in more than half of its orders: its
    content changed, its place did not.
    """
    given = {place: shown for place, p in enumerate(predictions) if (shown := _shown(p))}
    if not given:
        return None
    chosen = Counter(letter for letters in given.values() for letter, _ in letters)
    right = Counter(letter for letters in given.values() for _, letter in letters)
    overused = {
        letter: f"{letter} ({count} times, right {right[letter]} times)"
        for letter, count in sorted(chosen.items())
        if count >= OFTEN and count >= OVERUSE * right[letter]
    }
    notes: dict[int, str] = {}
    for place, p, _ in _wrong(predictions):
        counts = Counter(letter for letter, _ in given.get(place, []))
        if not counts:
            continue
        letter, times = counts.most_common(1)[0]
        if letter not in overused or 2 * times <= len(given[place]):
            continue
        if p.orders is None:
            notes[place] = f"The model chose {letter}, as it does too often."
        elif len({order.chosen for order in p.orders}) > 1:
            notes[place] = (
                f"The model chose {letter} in {times} of {len(p.orders)} orders, whatever "
                "stood there."
            )
    letters = ", ".join(overused.values())
    return _Found(
        f"Wrong with a letter that is chosen at least {OVERUSE} times as often as it is right, and "
        f"at least {OFTEN} times: {letters or 'there is no such letter'}.",
        notes,
    )


def _sure(predictions: Sequence[Prediction]) -> _Found | None:
    """Find wrong answers of which the model was sure."""
    if all(p.probabilities is None for p in predictions):
        return None
    notes: dict[int, str] = {}
    for place, p, chosen in _wrong(predictions):
        if _confidence(p) >= SURE and p.probabilities is not None:
            notes[place] = (
                f"The model gave {LETTERS[chosen]} {100 * _confidence(p):.1f} %, and the right "
                f"{LETTERS[p.answer]} {100 * p.probabilities[p.answer]:.1f} %."
            )
    sure = sum(_confidence(p) >= SURE for p in predictions)
    return _Found(
        f"Wrong with a probability of at least {100 * SURE:.0f} % for the chosen option: "
        f"{len(notes)} of {sure} such answers.",
        notes,
    )


def _format(predictions: Sequence[Prediction]) -> _Found | None:
    """Find free texts that give no option, and scores of a model that does not say letters."""
    texts = any(p.text is not None or p.outcome == Outcome.UNPARSED for p in predictions)
    if not texts and all(p.mass is None for p in predictions):
        return None
    notes: dict[int, str] = {}
    reasons: Counter[str] = Counter()
    for place, p in enumerate(predictions):
        if p.outcome == Outcome.UNPARSED:
            reason = p.reason or "no reason given"
            reasons[reason] += 1
            notes[place] = f"Unparsed: {reason}."
        elif p.outcome == Outcome.WRONG and _outside_letters(p):
            notes[place] = f"The letters have only {100 * (p.mass or 0):.1f} % of the probability."
    if texts:
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{reason} ({count})" for reason, count in ordered)
        return _Found(f"No option could be read out of the free text: {listed or 'none'}.", notes)
    low = sum(map(_outside_letters, predictions))
    return _Found(
        f"Wrong with less than {100 * LOW_MASS:.0f} % of the probability on the letters: the "
        f"model does not answer in letters.  So it is on {low} of "
        f"{_count(len(predictions), 'question')}.",
        notes,
    )


def _examples(
    predictions: Sequence[Prediction], notes: Mapping[int, str]
) -> tuple[FailureExample, ...]:
    """Choose examples: each subject's surest first, then each one's second, ..."""
    surest = sorted(notes, key=lambda i: (-_confidence(predictions[i]), predictions[i].id))
    taken: defaultdict[str, int] = defaultdict(int)
    turns: dict[int, int] = {}
    for place in surest:
        subject = predictions[place].subject or UNKNOWN
        turns[place] = taken[subject]
        taken[subject] += 1
    chosen = sorted(surest, key=lambda place: turns[place])[:EXAMPLES]
    return tuple(FailureExample(prediction=predictions[i], note=notes[i]) for i in chosen)


def _wrong(predictions: Sequence[Prediction]) -> Iterator[tuple[int, Prediction, int]]:
    """Go through the wrong answers: place, prediction, and the option that was chosen."""
    for place, p in enumerate(predictions):
        if p.outcome == Outcome.WRONG and p.chosen is not None:
            yield place, p, p.chosen


def _confidence(p: Prediction) -> float:
    """Return the probability of the chosen option; 0 where there is none."""
    return 0.0 if p.probabilities is None or p.chosen is None else p.probabilities[p.chosen]


def _shown(p: Prediction) -> list[tuple[str, str]]:
    """List the chosen and the right letter as they were shown, for every order.

    Nothing where there is no choice, and nothing for cloze in one order, which gives no letter.
    """
    if p.orders is not None:
        return [
            (LETTERS[o.order.index(o.chosen)], LETTERS[o.order.index(p.answer)]) for o in p.orders
        ]
    cloze = p.logprobs is not None and p.mass is None
    return [] if cloze or p.chosen is None else [(LETTERS[p.chosen], LETTERS[p.answer])]


def _outside_letters(p: Prediction) -> bool:
    return p.mass is not None and p.mass < LOW_MASS


def _rates(
    predictions: Sequence[Prediction], flags: Sequence[bool | None], yes: str, no: str
) -> str:
    """Say how often the model is wrong on the questions of a property, and on the others."""
    parts = []
    for flag, name in ((True, yes), (False, no)):
        own = [p.outcome for p, has in zip(predictions, flags, strict=True) if has is flag]
        if own:
            wrong = sum(outcome == Outcome.WRONG for outcome in own)
            parts.append(f"{100 * wrong / len(own):.1f} % of {len(own)} {name} ones")
    return f"Wrong are {' and '.join(parts) or 'none'}."


def _count(n: int, noun: str) -> str:
    return f"1 {noun}" if n == 1 else f"{n} {noun}s"
