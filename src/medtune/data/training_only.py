"""Questions for training only: corrections of the endpoint, recognised by their ids.

Questions that were reviewed because the endpoint was unsure are not a fair sample, and a model
trained on them knows their answers.  The mark is part of every question's id, so that it is kept
in other snapshots, other formats, and files with other questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from medtune.core.errors import DataError
from medtune.core.records import content_hash
from medtune.core.schemas.dataset import Purpose

USE_ANOTHER_SPLIT = "evaluate on another split, and train on this one"
_MARKED = re.compile(r"correction-[0-9a-f]{16}(?![0-9a-f])")


def correction_id(stem: str, options: Sequence[str]) -> str:
    """Return the id of a correction, a hash of its question."""
    return f"correction-{content_hash([stem, list(options)])[:16]}"


def is_correction(name: str) -> bool:
    """Return whether an id is that of a correction, or of its repetition in a balanced split."""
    return _MARKED.match(name) is not None


def infer_purpose(ids: Iterable[str]) -> Purpose:
    """Return the purpose of a split: "training" if it contains any correction."""
    return "training" if any(map(is_correction, ids)) else "any"


def refuse_corrections(ids: Iterable[str], source: str, fix: str = USE_ANOTHER_SPLIT) -> None:
    """Refuse corrections among questions that are to be evaluated.

    Raises:
        DataError: There is a correction among them.
    """
    if count := sum(map(is_correction, ids)):
        raise training_only_error(source, f"{count} of them", fix)


def training_only_error(source: str, which: str, fix: str = USE_ANOTHER_SPLIT) -> DataError:
    """Return the error for evaluating on corrections: so many questions, or these files."""
    return DataError(
        f"{source} holds corrections of the endpoint ({which}), which are for training only",
        expected="for evaluation, validation or calibration: questions that were not selected by "
        "an endpoint's uncertainty",
        fix=fix,
    )
