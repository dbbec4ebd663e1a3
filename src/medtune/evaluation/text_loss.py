"""Measure a model's loss on plain texts, in bits per byte.

Bits per byte compare models of different tokenizers.  A text is scored as an assistant's turn,
because fine-tuned models are chat models.  Its first sentence is given: how a turn begins is a
habit that every fine-tune changes, not knowledge.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence

from medtune.core.protocols import AnswerModel, Message, ModelIdentity, ScoreRequest
from medtune.core.records import PlainText, TextLoss, content_hash
from medtune.evaluation.score import check_finite

PROMPT = (Message("user", "Write a short text in plain English."),)
_SENTENCE_END = re.compile(r"(?<=[.!?])(?= )")


def measure_text_loss(model: AnswerModel, texts: Sequence[PlainText]) -> TextLoss:
    """Measure a model's loss on each text.

    Raises:
        ModelError: The model fails, or gives scores that are not numbers.
    """
    requests = []
    for text in texts:
        lead, rest = split_first_sentence(text.text)
        requests.append(ScoreRequest(text.id, lead, (rest,), PROMPT, lead, (rest,)))
    start = time.perf_counter()
    found = model.score(requests)
    for request, scores in zip(requests, found, strict=True):
        check_finite(model, request, scores)
    return TextLoss(
        inputs=hash_text_inputs(model, texts),
        model=model.describe(),
        losses=tuple(-score.logprob / math.log(2) / score.bytes for (score,) in found),
        duration_s=time.perf_counter() - start,
    )


def hash_text_inputs(model: ModelIdentity, texts: Sequence[PlainText]) -> str:
    """Hash everything that determines a model's loss on texts."""
    described = model.describe().model_dump(mode="json")
    return content_hash([described, model.render(PROMPT), [text.text for text in texts]])


def split_first_sentence(text: str) -> tuple[str, str]:
    """Split a text after its first sentence; the space belongs to the rest, as in tokenizers.

    Raises:
        ValueError: The text is a single sentence.
    """
    end = _SENTENCE_END.search(text)
    if end is None:
        raise ValueError(f"{text!r} is a single sentence: nothing is left to score")
    return text[: end.start()], text[end.start() :]
