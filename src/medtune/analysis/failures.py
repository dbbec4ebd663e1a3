"""Classify failures into kinds, from the predictions alone.

Some kinds are patterns in wrong answers: options that are easily confused, missed exceptions, rare
topics; the others show in counts only.  A failure is a wrong or an unparsed answer, not an
abstention.  One failure may be of several kinds.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz
from rapidfuzz.utils import default_process

from medtune.core.intervals import wilson_interval
from medtune.core.negation import is_negated
from medtune.core.records import LETTERS, Outcome, Prediction
from medtune.core.schemas.analysis import Failure, FailureExample, FailureKind
from medtune.core.schemas.dataset import NO_SUBJECT

MAX_EXAMPLES = 5
"""Largest number of examples per kind."""
MIN_LIKENESS = 60
"""Least similarity of two options, 0 to 100, to count as easily confused."""
RARE_TOPIC_SIZE = 5
"""Number of questions below which a topic is rare."""
OVERUSE_FACTOR = 1.5
"""Least ratio of how often a letter is chosen to how often it is right, to count as a habit."""
MIN_HABIT_COUNT = 10
"""Least number of times that a letter is chosen, to count as a habit."""
HIGH_CONFIDENCE = 0.8
LOW_LETTER_MASS = 0.5
"""Total probability of the letters below which a model does not answer in letters."""


@dataclass(frozen=True, slots=True)
class _FoundFailures:
    """Failures of one kind."""

    explanation: str
    notes: Mapping[int, str]
    """Index of each failure among the predictions -> why it counts."""


def classify_failures(
    predictions: Sequence[Prediction], train_topics: Mapping[str, int] | None = None
) -> tuple[Failure, ...]:
    """Classify failures into kinds, each with its share and a baseline.

    A kind that cannot be judged from these predictions is left out; a kind that did not occur has a
    share of 0.

    Args:
        predictions: All predictions of an evaluation; right ones are needed for the baselines.
        train_topics: Number of training questions by topic; without it, a topic is rare if it is
            rare among the predictions.

    Returns:
        The kinds in a fixed order; empty without failures.
    """
    failed = sum(p.outcome in (Outcome.WRONG, Outcome.UNPARSED) for p in predictions)
    if not failed:
        return ()
    kinds: dict[FailureKind, _FoundFailures | None] = {
        "plausible option": _find_plausible_options(predictions),
        "exception missed": _find_missed_exceptions(predictions),
        "rare topic": _find_rare_topics(predictions, train_topics),
        "letter habit": _find_letter_habits(predictions),
        "sure and wrong": _find_confident_errors(predictions),
        "format": _find_format_failures(predictions),
    }
    return tuple(
        Failure(
            name=name,
            explanation=found.explanation,
            share=wilson_interval(len(found.notes), failed),
            examples=_select_examples(predictions, found.notes),
        )
        for name, found in kinds.items()
        if found is not None
    )


def _find_plausible_options(predictions: Sequence[Prediction]) -> _FoundFailures | None:
    """Find wrong choices that are the wrong option most similar to the right one."""
    notes: dict[int, str] = {}
    judged = 0
    blind: list[float] = []
    for place, p, chosen in _wrong_answers(predictions):
        if len(p.options) < 3:
            continue  # a single wrong option has no others to compare with
        judged += 1
        texts = [default_process(option) for option in p.options]
        alike = {
            i: fuzz.token_set_ratio(text, texts[p.answer])
            for i, text in enumerate(texts)
            if i != p.answer
        }
        nearest, second = sorted(alike.values(), reverse=True)[:2]
        if nearest < MIN_LIKENESS or nearest == second:
            continue
        blind.append(1 / len(alike))
        if alike[chosen] == nearest:
            notes[place] = (
                f"{LETTERS[chosen]} reads most like the right {LETTERS[p.answer]}: similarity "
                f"{nearest:.0f} of 100, no other wrong option above {second:.0f}."
            )
    if not judged:
        return None
    return _FoundFailures(
        "The wrong option that was chosen reads like the right one (token-set similarity of at "
        f"least {MIN_LIKENESS} of 100), more so than any other; only words are compared, not their "
        f"medical meaning. True of {len(notes)} of {judged} wrong choices; {math.fsum(blind):.1f} "
        "are expected if the model chose at random among the wrong options.",
        notes,
    )


def _find_missed_exceptions(predictions: Sequence[Prediction]) -> _FoundFailures | None:
    """Find wrong answers to negated stems."""
    negated = [is_negated(p.stem) for p in predictions]
    if not any(negated):
        return None
    notes = {
        place: f"The stem is negated; the model chose {LETTERS[chosen]}, the right "
        f"option is {LETTERS[p.answer]}."
        for place, p, chosen in _wrong_answers(predictions)
        if negated[place]
    }
    return _FoundFailures(
        "Wrong on a stem that asks for the exception (except, not, least, ...). "
        + _describe_error_rates(predictions, negated, "negated", "plain"),
        notes,
    )


def _find_rare_topics(
    predictions: Sequence[Prediction], train_topics: Mapping[str, int] | None
) -> _FoundFailures | None:
    """Find wrong answers on rare topics."""
    what = "topic"
    names = [p.topic for p in predictions]
    if train_topics is None and not any(names):
        what, names = "subject", [p.subject for p in predictions]
    if not any(names):
        return None
    where = "here" if train_topics is None else "in training"
    sizes = Counter(names) if train_topics is None else train_topics
    counts = [sizes.get(name, 0) if name else None for name in names]
    rare = [None if count is None else count < RARE_TOPIC_SIZE for count in counts]
    notes = {
        place: f"The {what} {names[place]} has {_pluralize(counts[place] or 0, 'question')} "
        f"{where}."
        for place, _, _ in _wrong_answers(predictions)
        if rare[place]
    }
    return _FoundFailures(
        f"Wrong on a {what} with fewer than {RARE_TOPIC_SIZE} questions {where}. "
        + _describe_error_rates(predictions, rare, "rare", "other"),
        notes,
    )


def _find_letter_habits(predictions: Sequence[Prediction]) -> _FoundFailures | None:
    """Find wrong answers with a letter that the model gives too often.

    If the options were shown in several orders, displayed letters are counted, and a failure is a
    habit if the same letter was given in more than half of its orders, whatever its content.
    """
    given = {
        place: shown for place, p in enumerate(predictions) if (shown := _displayed_letters(p))
    }
    if not given:
        return None
    chosen = Counter(letter for letters in given.values() for letter, _ in letters)
    right = Counter(letter for letters in given.values() for _, letter in letters)
    overused = {
        letter: f"{letter} ({count} times, right {right[letter]} times)"
        for letter, count in sorted(chosen.items())
        if count >= MIN_HABIT_COUNT and count >= OVERUSE_FACTOR * right[letter]
    }
    notes: dict[int, str] = {}
    for place, p, _ in _wrong_answers(predictions):
        counts = Counter(letter for letter, _ in given.get(place, []))
        if not counts:
            continue
        letter, times = counts.most_common(1)[0]
        if letter not in overused or 2 * times <= len(given[place]):
            continue
        if p.orders is None:
            notes[place] = f"The model chose {letter}, which it chooses too often."
        elif len({order.chosen for order in p.orders}) > 1:
            notes[place] = (
                f"The model chose {letter} in {times} of {len(p.orders)} orders, whatever "
                "option had that letter."
            )
    letters = ", ".join(overused.values())
    return _FoundFailures(
        f"Wrong with a letter that the model chooses at least {MIN_HABIT_COUNT} times, and at "
        f"least {OVERUSE_FACTOR} times as often as it is right: "
        f"{letters or 'there is no such letter'}.",
        notes,
    )


def _find_confident_errors(predictions: Sequence[Prediction]) -> _FoundFailures | None:
    """Find wrong answers with a high confidence."""
    if all(p.probabilities is None for p in predictions):
        return None
    notes = {
        place: f"The model gave {LETTERS[chosen]} {100 * _choice_probability(p):.1f} %, and the "
        f"right {LETTERS[p.answer]} {100 * p.probabilities[p.answer]:.1f} %."
        for place, p, chosen in _wrong_answers(predictions)
        if _choice_probability(p) >= HIGH_CONFIDENCE and p.probabilities is not None
    }
    sure = sum(_choice_probability(p) >= HIGH_CONFIDENCE for p in predictions)
    return _FoundFailures(
        f"Wrong with a probability of at least {100 * HIGH_CONFIDENCE:.0f} % for the chosen "
        f"option: {len(notes)} of {sure} such answers.",
        notes,
    )


def _find_format_failures(predictions: Sequence[Prediction]) -> _FoundFailures | None:
    """Find unparsed free texts, and wrong answers with a low total probability of the letters."""
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
        elif p.outcome == Outcome.WRONG and _has_low_letter_mass(p):
            notes[place] = f"The letters have only {100 * (p.mass or 0):.1f} % of the probability."
    if texts:
        ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        listed = ", ".join(f"{reason} ({count})" for reason, count in ordered)
        return _FoundFailures(
            f"No option could be read out of the free text: {listed or 'none'}.", notes
        )
    low = sum(map(_has_low_letter_mass, predictions))
    return _FoundFailures(
        f"Wrong with less than {100 * LOW_LETTER_MASS:.0f} % of the probability on the letters: "
        f"the model does not answer in letters. This is the case on {low} of "
        f"{_pluralize(len(predictions), 'question')}.",
        notes,
    )


def _select_examples(
    predictions: Sequence[Prediction], notes: Mapping[int, str]
) -> tuple[FailureExample, ...]:
    """Select examples: the most confident one of each subject first, then the second, ..."""
    surest = sorted(notes, key=lambda i: (-_choice_probability(predictions[i]), predictions[i].id))
    taken: defaultdict[str, int] = defaultdict(int)
    turns: dict[int, int] = {}
    for place in surest:
        subject = predictions[place].subject or NO_SUBJECT
        turns[place] = taken[subject]
        taken[subject] += 1
    chosen = sorted(surest, key=lambda place: turns[place])[:MAX_EXAMPLES]
    return tuple(FailureExample(prediction=predictions[i], note=notes[i]) for i in chosen)


def _wrong_answers(predictions: Sequence[Prediction]) -> Iterator[tuple[int, Prediction, int]]:
    """Yield the wrong answers: index, prediction, and chosen option."""
    for place, p in enumerate(predictions):
        if p.outcome == Outcome.WRONG and p.chosen is not None:
            yield place, p, p.chosen


def _choice_probability(p: Prediction) -> float:
    """Return the probability of the chosen option; 0 if there is none."""
    return 0.0 if p.probabilities is None or p.chosen is None else p.probabilities[p.chosen]


def _displayed_letters(p: Prediction) -> list[tuple[str, str]]:
    """Return the displayed letters of the chosen and the right option, for every order.

    Empty without a choice, and for cloze in one order, which gives no letter.
    """
    if p.orders is not None:
        return [
            (LETTERS[o.order.index(o.chosen)], LETTERS[o.order.index(p.answer)]) for o in p.orders
        ]
    cloze = p.logprobs is not None and p.mass is None
    return [] if cloze or p.chosen is None else [(LETTERS[p.chosen], LETTERS[p.answer])]


def _has_low_letter_mass(p: Prediction) -> bool:
    return p.mass is not None and p.mass < LOW_LETTER_MASS


def _describe_error_rates(
    predictions: Sequence[Prediction], flags: Sequence[bool | None], yes: str, no: str
) -> str:
    """Return a sentence with the error rates on questions with a property and on the others."""
    parts = []
    for flag, name in ((True, yes), (False, no)):
        own = [p.outcome for p, has in zip(predictions, flags, strict=True) if has is flag]
        if own:
            wrong = sum(outcome == Outcome.WRONG for outcome in own)
            parts.append(f"{100 * wrong / len(own):.1f} % of {len(own)} {name} questions")
    return f"Wrong answers: {', '.join(parts) or 'none'}."


def _pluralize(n: int, noun: str) -> str:
    return f"1 {noun}" if n == 1 else f"{n} {noun}s"
