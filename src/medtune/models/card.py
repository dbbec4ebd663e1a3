"""The card beside trained weights: what they were trained on, readable without torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from medtune.core.errors import AdapterError
from medtune.core.prompt import Form, PromptStyle
from medtune.core.records import Record

CARD = "medtune.json"
WEIGHTS = {"adapter": "adapter_model.safetensors", "model": "model.safetensors"}


class Card(Record):
    """What weights were trained on; stands beside them as `medtune.json`."""

    kind: Literal["adapter", "model"] = "adapter"
    """Low-rank updates to a base, or a whole model."""
    base: str
    """Name of the base model."""
    base_fingerprint: str
    prompt_hash: str
    """Fingerprint of style and chat template; see `core.prompt.fingerprint`."""
    style: PromptStyle
    target: Form
    data_hash: str
    """Hash of the train split."""
    config_hash: str
    weights_hash: str
    """sha256 of the weights' file."""
    medtune: str
    """Version that trained it."""


def read_card(folder: Path) -> Card:
    """Read the card of an adapter or a trained model.

    Raises:
        AdapterError: The folder was not written by medtune, or its weights were changed.
    """
    try:
        card = Card.model_validate_json((folder / CARD).read_bytes())
        weights = folder / WEIGHTS[card.kind]
        found = file_hash(weights)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AdapterError(
            f"{folder} is no adapter of medtune's: {Path(error.filename).name} is missing",
            expected=f"adapter_config.json, {WEIGHTS['adapter']} and {CARD}",
            fix="point to the adapter/ folder of a run",
        ) from error
    except ValidationError as error:
        raise AdapterError(f"{folder / CARD} cannot be read: {error}") from error
    if found != card.weights_hash:
        raise AdapterError(
            f"{weights} has sha256 {found}",
            expected=card.weights_hash,
            fix="the weights were changed after training: train again, or restore them",
        )
    return card


@dataclass(frozen=True, slots=True)
class Manner:
    """How a model is asked where the command line leaves it open."""

    style: PromptStyle
    target: Form
    """Form in which free answers are asked for."""
    label: str


def manner(
    model: str,
    adapter: Path | None,
    style: PromptStyle | None,
    form: Form | None,
    label: str | None,
) -> Manner:
    """Settle how a model is asked: as said, else as it was trained, else by default.

    Raises:
        AdapterError: The adapter has no card that can be read.
    """
    card = _card(model, adapter)
    return Manner(
        style=style or (card.style if card else PromptStyle()),
        target=form or (card.target if card else "letter"),
        label=label or ("tuned" if card else model),
    )


def _card(model: str, adapter: Path | None) -> Card | None:
    if adapter is not None:
        return read_card(adapter)
    kind, _, folder = model.partition(":")
    return read_card(Path(folder)) if kind == "path" and (Path(folder) / CARD).is_file() else None


def file_hash(path: Path) -> str:
    """Hash a file; sha256, 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
