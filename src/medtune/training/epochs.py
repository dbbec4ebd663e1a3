"""Select the training questions that fit, and plan the steps of each epoch."""

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
from medtune.core.token_batching import group_epoch_by_length

EncodeQuestion = Callable[[Question], Example]
ShownQuestion = tuple[Question, tuple[int, ...]]
"""A question and the order in which its options are shown."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def filter_by_length(
    questions: Sequence[Question],
    encode: EncodeQuestion,
    settings: TrainingConfig,
    progress: Progress,
) -> list[Question]:
    """Drop questions longer than `max_tokens`, or truncate their explanations, and report counts.

    Raises:
        EmptySplitError: No question is left.
    """
    limit = settings.max_tokens
    fits: list[Question] = []
    cut = 0
    for question in questions:
        if encode(question).longest <= limit:
            fits.append(question)
        elif settings.target == "text+explanation" and settings.too_long == "cut explanation":
            shorter = _truncate_explanation(question, encode, limit)
            fits += [shorter] if shorter is not None else []
            cut += shorter is not None
    if cut:
        progress.log_message(
            f"{cut} of {len(questions)} explanations were cut to fit {limit} tokens"
        )
    if dropped := len(questions) - len(fits):
        progress.log_message(
            f"{dropped} of {len(questions)} examples exceed {limit} tokens: left out"
        )
    if not fits:
        raise EmptySplitError(
            f"all {len(questions)} training examples exceed {limit} tokens",
            fix="raise training.max_tokens",
        )
    return fits


def _truncate_explanation(
    question: Question, encode: EncodeQuestion, limit: int
) -> Question | None:
    """Truncate an explanation to the sentences that fit; None if the rest alone is too long."""
    sentences = _SENTENCE_END.split(question.explanation or "")
    for kept in range(len(sentences) - 1, -1, -1):
        shorter = question.model_copy(update={"explanation": " ".join(sentences[:kept]) or None})
        if encode(shorter).longest <= limit:
            return shorter
    return None


def plan_epoch(
    questions: Sequence[Question],
    encode: EncodeQuestion,
    settings: TrainingConfig,
    seed: int,
    epoch: int,
) -> list[list[ShownQuestion]]:
    """Plan the steps of one epoch, as a pure function of the seed and the epoch number.

    Only lengths are kept of the encoded examples: those of 60,000 questions take 300 MB.
    """
    rng = random.Random(f"{seed}/{epoch}")
    shown: list[ShownQuestion] = []
    for question in questions:
        order = list(range(len(question.options)))
        if settings.permute_options:
            rng.shuffle(order)
        shown.append((question, tuple(order)))
    lengths = [encode(question.permute_options(order)).longest for question, order in shown]
    steps = group_epoch_by_length(lengths, settings.batch_size, rng)
    return [[shown[i] for i in members] for members in steps]


def build_weight_function(
    questions: Sequence[Question], settings: TrainingConfig
) -> Callable[[Question], float]:
    """Return a weight function that balances subjects or right letters; the mean weight is 1."""
    if settings.weigh_by == "none":
        return lambda _: 1.0

    def group(question: Question) -> object:
        return question.subject if settings.weigh_by == "subject" else question.answer

    counts = Counter(map(group, questions))
    return lambda question: len(questions) / (len(counts) * counts[group(question)])
