"""Questions that may only be trained on: corrections of the endpoint, told by their ids.

What an endpoint was unsure of, and people settled, is no fair sample of anything, and a model that
was taught with it knows it.  The mark is part of every question's id, so that it goes where the
question goes: into other snapshots, other formats, and files that hold other questions as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from medtune.core.errors import DataError
from medtune.core.records import content_hash
from medtune.core.schemas.dataset import Purpose

ELSEWHERE = "examine on another split, and train on this one"
_MARKED = re.compile(r"correction-[0-9a-f]{16}(?![0-9a-f])")


def correction_id(stem: str, options: Sequence[str]) -> str:
    """Name a correction after its question: the same one always gets the same name."""
    return f"correction-{content_hash([stem, list(options)])[:16]}"


def is_correction(name: str) -> bool:
    """Tell a correction by its id; a repetition in a balanced split is one as well."""
    return _MARKED.match(name) is not None


def purpose_of(ids: Iterable[str]) -> Purpose:
    """Tell what a split may be used for: one correction marks all of it."""
    return "training" if any(map(is_correction, ids)) else "any"


def refuse_corrections(ids: Iterable[str], source: str, fix: str = ELSEWHERE) -> None:
    """Refuse questions that are to be examined, if there is a correction among them.

    Raises:
        DataError: There is one.
    """
    if count := sum(map(is_correction, ids)):
        raise for_training_only(source, f"{count} of them", fix)


def for_training_only(source: str, which: str, fix: str = ELSEWHERE) -> DataError:
    """Say that what holds corrections is not examined on.

    Args:
        source: What was to be examined on.
        which: How many of its questions, or which of its files.
        fix: What to do.
    """
    return DataError(
        f"{source} holds corrections of the endpoint ({which}), which are for training only",
        expected="for an examination, validation or calibration: questions that nobody chose by "
        "what an endpoint was unsure of",
        fix=fix,
    )
