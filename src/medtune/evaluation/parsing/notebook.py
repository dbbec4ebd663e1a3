"""The notebook's matcher, unchanged, as a baseline; not recommended.

Source: the seed notebook, cells "check_accuracy" and "selected_indices".  By its first rule an
output is right if it contains the answer's text anywhere, so an output that lists all options is
"exact".
"""

from __future__ import annotations

import random
import re
import string
from typing import Literal

# fmt: off
STOP_WORDS = frozenset({
    "the", "a", "an", "is", "are", "was", "were", "of", "in", "to", "for",
    "with", "on", "at", "and", "or", "by", "from",
})
# fmt: on
OPTION_COLUMNS = ("opa", "opb", "opc", "opd")
PARTIAL_THRESHOLD = 0.7
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)

MatchKind = Literal["exact", "partial", "no_match"]


def match_output(prediction: str, truth: str) -> MatchKind:
    """Match an output with the right option's text.

    Returns:
        exact: the normalised truth is a substring of the normalised output.
        partial: Jaccard similarity of the words without stop words is at least 0.7.
        no_match: neither.
    """
    said, true = normalize_output(prediction), normalize_output(truth)
    if true and true in said:
        return "exact"
    said_words = {word for word in said.split() if word not in STOP_WORDS}
    true_words = {word for word in true.split() if word not in STOP_WORDS}
    if not said_words or not true_words:
        return "no_match"
    overlap = len(said_words & true_words) / len(said_words | true_words)
    return "partial" if overlap >= PARTIAL_THRESHOLD else "no_match"


def normalize_output(text: str) -> str:
    """Normalise a text: lower case, no ASCII punctuation, single spaces."""
    return re.sub(r"\s+", " ", text.lower().translate(_NO_PUNCTUATION)).strip()


def sample_evaluation_rows(rows: int, cutoff: int, count: int, seed: int) -> list[int]:
    """Sample the notebook's evaluation rows, as indices into the rows after the cutoff.

    On MedMCQA's 182,822 train rows with cutoff 1000 and seed 42: 167621, 29184, 6556, ...

    Raises:
        ValueError: Fewer than `count` rows lie after the cutoff.
    """
    return random.Random(seed).sample(range(rows - cutoff), count)
