"""Count the questions of an evaluation that the model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.errors import DataError
from medtune.core.model_names import MIX_PREFIX
from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.data.trained_on import count_trained_on, question_hashes
from medtune.models.mixture import read_mixture
from medtune.models.weights_card import (
    WeightsCard,
    find_card,
    find_card_folder,
    read_training_hashes,
)


def count_training_overlap(
    model: str, questions: Sequence[Question], adapter: Path | None = None
) -> int | None:
    """Count the questions that a model was trained on, by their texts.

    The hashes come from the file beside the weights; for an adapter without that file they are
    computed from the snapshot of its run folder.

    Args:
        model: Name of the model.
        questions: Questions of the evaluation.
        adapter: See `resolve_prompt_defaults`.

    Returns:
        The count, of a mixture the largest of its parents; None if the training questions are
        unknown, as for every base model.

    Raises:
        AdapterError: The card cannot be read, or the hashes beside it were changed.
        ModelError: There is no such mixture.
    """
    if model.startswith(MIX_PREFIX):
        names = [parent.name for parent in read_mixture(model).parents]
        counts = [count_training_overlap(name, questions) for name in names if name is not None]
        return max((count for count in counts if count is not None), default=None)
    card, folder = find_card(model, adapter), find_card_folder(model, adapter)
    if card is None or folder is None:
        return None
    hashes = read_training_hashes(folder, card) or _hashes_of_run(folder, card)
    return None if hashes is None else count_trained_on(questions, hashes)


def _hashes_of_run(folder: Path, card: WeightsCard) -> tuple[str, ...] | None:
    """Hash the train split of the run folder around the weights, if it matches the card."""
    try:
        split = load_split(f"snapshot:{folder.resolve().parent / 'data'}:train", for_training=True)
    except DataError:
        return None
    if split.description.hash != card.data_hash:
        return None
    return question_hashes(split.questions)
