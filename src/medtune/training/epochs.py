"""Which questions are shown, and how an epoch shows them."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence

from medtune.core.errors import EmptySplitError
from medtune.core.experiment import TrainingConfig
from medtune.core.progress import Progress
from medtune.core.protocols import Example
from medtune.core.records import Question
from medtune.core.token_batching import epoch_order

Encode = Callable[[Question], Example]
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def that_fit(
    questions: Sequence[Question], encode: Encode, settings: TrainingConfig, progress: Progress
) -> list[Question]:
    """Leave out what is longer than `max_tokens`, or cut its explanation, and say how often.

    Raises:
        EmptySplitError: Nothing is left.
    """
    limit = settings.max_tokens
    fits: list[Question] = []
    cut = 0
    for question in questions:
        if len(encode(question).tokens) <= limit:
            fits.append(question)
        elif settings.target == "text+explanation" and settings.too_long == "cut explanation":
            shorter = _cut(question, encode, limit)
            fits += [shorter] if shorter is not None else []
            cut += shorter is not None
    if cut:
        progress.say(f"{cut} of {len(questions)} explanations were cut to fit {limit} tokens")
    if dropped := len(questions) - len(fits):
        progress.say(f"{dropped} of {len(questions)} examples exceed {limit} tokens: left out")
    if not fits:
        raise EmptySplitError(
            f"all {len(questions)} training examples exceed {limit} tokens",
            fix="raise training.max_tokens",
        )
    return fits


def _cut(question: Question, encode: Encode, limit: int) -> Question | None:
    """Keep as many sentences of the explanation as fit; None where even none is too long."""
    sentences = _SENTENCE_END.split(question.explanation or "")
    for kept in range(len(sentences) - 1, -1, -1):
        shorter = question.model_copy(update={"explanation": " ".join(sentences[:kept]) or None})
        if len(encode(shorter).tokens) <= limit:
            return shorter
    return None


def lay_out(
    questions: Sequence[Question], encode: Encode, settings: TrainingConfig, seed: int, epoch: int
) -> tuple[list[Example], list[list[int]]]:
    """Lay out one epoch, a pure function of the seed and its number.

    Returns:
        The encoded examples, and the indices of each step's members.
    """
    rng = random.Random(f"{seed}/{epoch}")
    shown = [_permuted(q, rng) if settings.permute_options else q for q in questions]
    examples = [encode(question) for question in shown]
    lengths = [len(example.tokens) for example in examples]
    return examples, epoch_order(lengths, settings.batch_size, rng)


def _permuted(question: Question, rng: random.Random) -> Question:
    order = list(range(len(question.options)))
    rng.shuffle(order)
    return question.permuted(tuple(order))


def weigher(questions: Sequence[Question], settings: TrainingConfig) -> Callable[[Question], float]:
    """Make every subject, or every right letter, weigh alike; the mean weight is 1."""
    if settings.weigh_by == "none":
        return lambda _: 1.0

    def group(question: Question) -> object:
        return question.subject if settings.weigh_by == "subject" else question.answer

    counts = Counter(map(group, questions))
    return lambda question: len(questions) / (len(counts) * counts[group(question)])
