"""Curation strategies: each leaves questions out and says why.

They run in the order of `STRATEGIES`, each on what the former ones left.  Diversity is no filter
but an order of drawing: see `data.sampling.balance`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from medtune.core.errors import DataError
from medtune.core.experiment import CurationConfig
from medtune.core.negation import asks_exception
from medtune.core.predictions_io import read_evaluation
from medtune.core.records import LETTERS, Question
from medtune.core.schemas.dataset import CurationStep, Exclusion
from medtune.data.arrow_table import QuestionTable
from medtune.data.cleaning.normalize_text import damaged
from medtune.data.dedup.canonical_form import fold
from medtune.data.hash_sampling import lowest

Reasons = Mapping[int, str]
"""Place -> why it is left out."""

_LETTER_OPTION = re.compile(
    r"^(?:both\s+|only\s+|all\s+|neither\s+)?\(?[a-e]\)?(?:\s*(?:,|&|\+|/|and|or|nor)\s*\(?[a-e]\)?)+"
    r"(?:\s+(?:are\s+)?(?:both|only|correct|true|above))?\s*$",
    re.IGNORECASE,
)
# How explanations of question banks name the right letter ...
_NAMED_LETTER = re.compile(
    r"^\W*(?:the\s+)?(?:correct\s+)?ans(?:wer)?\b\.?\s*(?:is|:|-|=|\.|–)?\s*"
    r"[\"'(\[]?(?:option\s+)?([A-Ea-e])[\"')\].:-](?!\w)",
    re.IGNORECASE,
)
# ... and how they name several.
_ANOTHER_LETTER = re.compile(r"[\"'(\[][A-Ea-e][\"')\]]|(?:,|&|\band|\bor)\s*[A-Ea-e]\b")
_BLANK = re.compile(r"[.…_-]{3,}")
_POINTS_AT_PICTURE = re.compile(
    r"\b(?:shown|seen|depicted|marked|given|labell?ed)\s+(?:\w+\s+){0,3}"
    r"(?:in|below|above|by)\s+(?:the\s+)?(?:\w+\s+){0,2}"
    r"(?:figure|image|picture|photograph|diagram|arrow|graph|slide)\b"
    r"|\b(?:image|picture|photograph|figure|diagram)\s+(?:shown\s+|given\s+)?"
    r"(?:below|above|shows|depicts)\b",
    re.IGNORECASE,
)


def quality(questions: QuestionTable, config: CurationConfig, seed: int) -> Reasons:  # noqa: ARG001
    """Leave out what reads badly, cannot be answered from its text, or contradicts itself."""
    settings = config.quality
    if not settings.on:
        return {}
    return {
        place: reason
        for place, question in enumerate(questions)
        if (reason := _flaw(question, settings.min_stem_characters, settings.max_symbols))
    }


def length(questions: QuestionTable, config: CurationConfig, seed: int) -> Reasons:  # noqa: ARG001
    """Leave out what is shorter or longer than asked for."""
    least, most = config.length.min_characters, config.length.max_characters
    if least is None and most is None:
        return {}
    reasons = {}
    for place, question in enumerate(questions):
        size = len(question.stem) + sum(map(len, question.options))
        if least is not None and size < least:
            reasons[place] = "too short"
        elif most is not None and size > most:
            reasons[place] = "too long"
    return reasons


def difficulty(questions: QuestionTable, config: CurationConfig, seed: int) -> Reasons:  # noqa: ARG001
    """Keep questions by the probability that a reference model gave the right option.

    Raises:
        DataError: The reference evaluation holds no probabilities, or none of these questions.
    """
    settings = config.difficulty
    if not settings.predictions:
        return {}
    folder = Path(settings.predictions)
    _, predictions = read_evaluation(folder)
    right = {p.id: p.probabilities[p.answer] for p in predictions if p.probabilities is not None}
    ids = questions.ids
    if not right or right.keys().isdisjoint(ids):
        found = "none of the questions to curate" if right else "no probabilities"
        raise DataError(
            f"{folder} holds {found}",
            expected="an evaluation of the train source by letter or cloze",
            fix="make one: medtune evaluate MODEL TRAIN-SOURCE --method letter --out FOLDER",
        )
    reasons = {}
    for place, name in enumerate(ids):
        if name not in right:
            reasons[place] = "no reference score"
        elif right[name] < settings.min_probability:
            reasons[place] = "too hard for the reference model"
        elif right[name] > settings.max_probability:
            reasons[place] = "too easy for the reference model"
    return reasons


def negation(questions: QuestionTable, config: CurationConfig, seed: int) -> Reasons:
    """Hold negated stems to a share; by lot, so many as it takes are left out."""
    most = config.negation.max_share
    if most is None:
        return {}
    negated = [place for place, q in enumerate(questions) if asks_exception(q.stem)]
    others = len(questions) - len(negated)
    # n / (n + others) <= most, at most all of them
    room = len(negated) if most == 1 else int(most * others / (1 - most) + 1e-9)
    ids = questions.ids
    order = lowest(seed, [ids[place] for place in negated])
    return {negated[at]: "over the share of negated stems" for at in order[room:]}


STRATEGIES: dict[str, Callable[[QuestionTable, CurationConfig, int], Reasons]] = {
    "quality": quality,
    "length": length,
    "difficulty": difficulty,
    "negation": negation,
}


def curate(
    questions: QuestionTable, config: CurationConfig, seed: int, source: str
) -> tuple[QuestionTable, tuple[CurationStep, ...], tuple[Exclusion, ...]]:
    """Apply the strategies that are set.

    Returns:
        What is left, what each step did, and every question left out with its reason.

    Raises:
        DataError: A reference evaluation does not fit, or nothing is left.
    """
    steps, excluded = [], []
    for name, strategy in STRATEGIES.items():
        reasons = strategy(questions, config, seed)
        if not reasons:
            continue
        steps.append(
            CurationStep(
                name=name,
                before=len(questions),
                left_out=dict(Counter(reasons.values()).most_common()),
            )
        )
        if len(reasons) == len(questions):
            raise DataError(
                f"{source}: curation by {name} leaves no question; "
                + ", ".join(f"{count} × {reason}" for reason, count in steps[-1].left_out.items()),
                fix=f"loosen data.curation.{name}",
            )
        ids = questions.ids
        excluded += [
            Exclusion(source=source, id=ids[place], reason=reason)
            for place, reason in sorted(reasons.items())
        ]
        kept = np.setdiff1d(np.arange(len(questions)), list(reasons))
        questions = questions.take(kept)
    return questions, tuple(steps), tuple(excluded)


def _flaw(question: Question, least: int, symbols: float) -> str:
    """Name what is wrong with a question; "" for nothing."""
    text = _BLANK.sub("", "".join((question.stem, *question.options)))
    plain = sum(c.isalnum() or c.isspace() for c in text)
    if len(question.stem) < least:
        return "stem too short"
    if len(text) - plain > symbols * len(text):
        return "too many symbols"
    if damaged(text):
        return "damaged encoding"
    if _POINTS_AT_PICTURE.search(question.stem):
        return "points at a picture"
    # "Both A and B" means other options as soon as the order changes.
    if any(_LETTER_OPTION.match(option) for option in question.options):
        return "options name letters"
    return "explanation names another letter" if _contradicted(question) else ""


def _contradicted(question: Question) -> bool:
    """Tell whether the explanation opens with one letter, and not with the right one."""
    named = _NAMED_LETTER.match(question.explanation or "")
    if named is None or question.answer is None:
        return False
    assert question.explanation is not None
    rest = question.explanation[named.end() : named.end() + 200]
    if LETTERS.index(named[1].upper()) == question.answer or _ANOTHER_LETTER.search(rest):
        return False
    # Letters of another edition of the question, but the right text behind them.
    return fold(question.answer_text)[:20] not in fold(rest)
