"""Curation strategies, each of which excludes questions with a reason.

They run in the order of `STRATEGIES`, each on the remaining questions.  Diversity is not a filter
but an order of drawing: see `data.sampling.balance`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from medtune.core.errors import DataError
from medtune.core.experiment import CurationConfig, QualityConfig
from medtune.core.negation import is_negated
from medtune.core.predictions_io import read_evaluation
from medtune.core.records import LETTERS, Question
from medtune.core.schemas.dataset import CurationStep, Exclusion
from medtune.data.arrow_table import QuestionTable
from medtune.data.cleaning.normalize_text import has_damaged_encoding
from medtune.data.dedup.canonical_form import canonicalize_text
from medtune.data.hash_sampling import order_by_hash

ExclusionReasons = Mapping[int, str]
"""Index -> reason of exclusion."""

_LETTER_OPTION = re.compile(
    r"^(?:both\s+|only\s+|all\s+|neither\s+)?\(?[a-e]\)?(?:\s*(?:,|&|\+|/|and|or|nor)\s*\(?[a-e]\)?)+"
    r"(?:\s+(?:are\s+)?(?:both|only|correct|true|above))?\s*$",
    re.IGNORECASE,
)
# Phrases by which explanations of question banks name the right letter ...
_NAMED_LETTER = re.compile(
    r"^\W*(?:the\s+)?(?:correct\s+)?ans(?:wer)?\b\.?\s*(?:is|:|-|=|\.|–)?\s*"
    r"[\"'(\[]?(?:option\s+)?([A-Ea-e])[\"')\].:-](?!\w)",
    re.IGNORECASE,
)
# ... and several letters.
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


def filter_quality(questions: QuestionTable, config: CurationConfig, seed: int) -> ExclusionReasons:  # noqa: ARG001
    """Exclude questions that are unreadable, unanswerable from the text, or contradictory."""
    if not config.quality.on:
        return {}
    faults = {place: _find_quality_fault(q, config.quality) for place, q in enumerate(questions)}
    return {place: fault for place, fault in faults.items() if fault}


def filter_length(questions: QuestionTable, config: CurationConfig, seed: int) -> ExclusionReasons:  # noqa: ARG001
    """Exclude questions that are shorter or longer than the limits."""
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


def filter_difficulty(
    questions: QuestionTable,
    config: CurationConfig,
    seed: int,  # noqa: ARG001
) -> ExclusionReasons:
    """Exclude questions by the probability that a reference model gave the right option.

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


def limit_negation(questions: QuestionTable, config: CurationConfig, seed: int) -> ExclusionReasons:
    """Exclude random negated stems, so that the rest does not exceed the allowed share."""
    most = config.negation.max_share
    if most is None:
        return {}
    negated = [place for place, q in enumerate(questions) if is_negated(q.stem)]
    others = len(questions) - len(negated)
    # n / (n + others) <= most, at most all of them
    room = len(negated) if most == 1 else int(most * others / (1 - most) + 1e-9)
    ids = questions.ids
    order = order_by_hash(seed, [ids[place] for place in negated])
    return {negated[at]: "over the share of negated stems" for at in order[room:]}


STRATEGIES: dict[str, Callable[[QuestionTable, CurationConfig, int], ExclusionReasons]] = {
    "quality": filter_quality,
    "length": filter_length,
    "difficulty": filter_difficulty,
    "negation": limit_negation,
}


def curate(
    questions: QuestionTable, config: CurationConfig, seed: int, source: str
) -> tuple[QuestionTable, tuple[CurationStep, ...], tuple[Exclusion, ...]]:
    """Apply the enabled curation strategies.

    Returns:
        The remaining questions, the record of each step, and the exclusions with reasons.

    Raises:
        DataError: A reference evaluation does not match, or no question is left.
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
        questions = questions.take(np.setdiff1d(np.arange(len(questions)), list(reasons)))
    return questions, tuple(steps), tuple(excluded)


def _find_quality_fault(question: Question, limits: QualityConfig) -> str:
    """Return the quality fault of a question; "" if there is none."""
    text = _BLANK.sub("", "".join((question.stem, *question.options)))
    symbols = sum(not c.isalnum() and not c.isspace() for c in text)
    faults = {
        "stem too short": len(question.stem) < limits.min_stem_characters,
        "too many symbols": symbols > limits.max_symbols * len(text),
        "damaged encoding": has_damaged_encoding(text),
        "points at a picture": _POINTS_AT_PICTURE.search(question.stem),
        # "Both A and B" changes its meaning with the order of options.
        "options name letters": any(map(_LETTER_OPTION.match, question.options)),
        "explanation names another letter": _explanation_contradicts(question),
    }
    return next((fault for fault, found in faults.items() if found), "")


def _explanation_contradicts(question: Question) -> bool:
    """Return whether the explanation begins with one letter, and it is not the right one."""
    named = _NAMED_LETTER.match(question.explanation or "")
    if named is None or question.answer is None:
        return False
    assert question.explanation is not None
    rest = question.explanation[named.end() : named.end() + 200]
    if LETTERS.index(named[1].upper()) == question.answer or _ANOTHER_LETTER.search(rest):
        return False
    # The letter may be of another edition of the question, followed by the right text.
    return canonicalize_text(question.answer_text)[:20] not in canonicalize_text(rest)
