"""How many of the questions of an examination the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.data.trained_on import count_trained_on, question_hashes
from medtune.models.weights_card import WeightsCard, card_named, folder_of, hashes_beside


def trained_on(
    model: str, questions: Sequence[Question], adapter: Path | None = None
) -> int | None:
    """Count the questions that a model was trained on, by their texts.

    What lies beside the weights tells; for an adapter that was trained before hashes were kept,
    the snapshot of its run folder does.

    Args:
        model: Name of the model.
        questions: Of the examination.
        adapter: As for `manner`.

    Returns:
        None where what the model was trained on is unknown, as it is of every base model.

    Raises:
        AdapterError: The card cannot be read, or the hashes beside it were changed.
    """
    card, folder = card_named(model, adapter), folder_of(model, adapter)
    if card is None or folder is None:
        return None
    hashes = hashes_beside(folder, card) or _of_run(folder, card)
    return None if hashes is None else count_trained_on(questions, hashes)


def _of_run(folder: Path, card: WeightsCard) -> tuple[str, ...] | None:
    """Hash the train split of the run folder in which weights lie, if it is the one of the card."""
    try:
        split = load_split(f"snapshot:{folder.resolve().parent / 'data'}:train", teaching=True)
    except DataError:
        return None
    if split.description.hash != card.data_hash:
        return None
    return question_hashes(split.questions)
