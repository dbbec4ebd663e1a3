"""The card beside weights: what they were trained on and packed into, readable without torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from medtune.core.errors import AdapterError, CheckFailed
from medtune.core.prompt import Form, PromptStyle
from medtune.core.records import Record
from medtune.core.run_folder import sha256_of
from medtune.core.schemas.compression import GGUF, INTEGERS, Scheme

CARD = "medtune.json"
TRAINED_ON = "trained_on.hashes"
"""Beside a card: hashes of the questions that the weights were trained on, one a line."""
ADAPTER = "adapter:"
"""Opens the name of an adapter's folder, which stands for its base with the adapter in it."""
WEIGHTS: dict[str, str] = {
    "adapter": "adapter_model.safetensors",
    "model": "model.safetensors",
    # transformers would read integers as if they were weights: it finds no file of this name.
    **dict.fromkeys(INTEGERS, "integers.safetensors"),
    **dict.fromkeys(GGUF, "model.gguf"),
}
"""File of the weights by what it holds."""


class WeightsCard(Record):
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
    data_hash: str | None
    """Hash of the train split; None for a base model."""
    config_hash: str | None
    data_source: str | None = None
    """Where the train split comes from, as named in the experiment."""
    data_n: int | None = None
    """Questions in it."""
    trained_on: str | None = None
    """sha256 of `trained_on.hashes`; None where it was not written."""
    weights_hash: str
    """sha256 of the weights' file."""
    medtune: str
    """Version that wrote it."""
    scheme: Scheme | None = None
    """How the weights are packed; None is as they were trained."""
    made_from: str | None = None
    """Of a packed model: hash of the adapter, or of the model, that it was made from."""
    parameters: int | None = None
    """Of a packed model: how many it has."""
    fit: bool | None = None
    """Of a packed model: whether it passed the parity gate; None where it was not asked."""

    @property
    def packed(self) -> bool:
        """Whether its arithmetic is settled: nothing can be trained, merged or cast any more."""
        return self.scheme in (*INTEGERS, *GGUF)

    @property
    def file(self) -> str:
        """Name of the weights' file."""
        return WEIGHTS.get(self.scheme or self.kind, WEIGHTS[self.kind])


def read_card(folder: Path) -> WeightsCard:
    """Read the card of an adapter or a trained model.

    Raises:
        AdapterError: The folder was not written by medtune, its weights were changed, or they are
            packed in a scheme that there is no more.
    """
    try:
        card = WeightsCard.model_validate_json((folder / CARD).read_bytes())
        weights = folder / card.file
        found = file_hash(weights)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AdapterError(
            f"{folder} is no adapter of medtune's: {Path(error.filename).name} is missing",
            expected=f"adapter_config.json, {WEIGHTS['adapter']} and {CARD}",
            fix="point to the adapter/ folder of a run, or to a model that `medtune compress` made",
        ) from error
    except ValidationError as error:
        if gone := [fault["input"] for fault in error.errors() if fault["loc"] == ("scheme",)]:
            raise AdapterError(
                f"{folder} is packed as {gone[0]}, which this version does not run",
                expected=f"one of {', '.join(get_args(Scheme))}",
                fix="pack what it was made from again: medtune compress MODEL DATA --scheme int8",
            ) from error
        raise AdapterError(f"{folder / CARD} cannot be read: {error}") from error
    if found != card.weights_hash:
        raise AdapterError(
            f"{weights} has sha256 {found}",
            expected=card.weights_hash,
            fix="the file was changed or cut short: train or compress again, or restore it",
        )
    return card


@dataclass(frozen=True, slots=True)
class PromptDefaults:
    """How a model is asked where the command line leaves it open."""

    style: PromptStyle
    target: Form
    """Form in which free answers are asked for."""
    label: str


def parted(model: str, adapter: Path | None = None) -> tuple[str, Path | None]:
    """Part a model's name into base and adapter; `adapter:FOLDER` stands for both.

    Raises:
        AdapterError: Two adapters are named, or the one has no card that can be read.
    """
    if not model.startswith(ADAPTER):
        return model, adapter
    folder = Path(model.removeprefix(ADAPTER))
    if adapter is not None:
        raise AdapterError(f"{model} and --adapter {adapter}", expected="one adapter")
    return read_card(folder).base, folder


def manner(
    model: str,
    adapter: Path | None = None,
    style: PromptStyle | None = None,
    form: Form | None = None,
    label: str | None = None,
) -> PromptDefaults:
    """Settle how a model is asked: as said, else as it was trained, else by default.

    Raises:
        AdapterError: The adapter has no card that can be read.
    """
    card = card_named(model, adapter)
    return PromptDefaults(
        style=style or (card.style if card else PromptStyle()),
        target=form or (card.target if card else "letter"),
        label=label or ("tuned" if card else model),
    )


def card_named(model: str, adapter: Path | None = None) -> WeightsCard | None:
    """Read the card of a model by its name; None where it has none.

    Raises:
        AdapterError: It has one that cannot be read, or weights that are not its own.
    """
    folder = folder_of(model, adapter)
    if folder is None:
        return None
    # An adapter has a card; a base model may have none.
    return card_of(folder) if parted(model, adapter)[1] is None else read_card(folder)


def refuse_unfit(model: str, adapter: Path | None = None, anyway: bool = False) -> None:
    """Refuse a packed model that did not pass the parity gate.

    Raises:
        CheckFailed: It is marked unfit, and not wanted anyway.
        AdapterError: Its card cannot be read.
    """
    card = card_named(model, adapter)
    if card is not None and card.fit is False and not anyway:
        raise CheckFailed(
            f"{model} is marked unfit: it did not pass the parity gate",
            fix="see the record.json beside it, or take it all the same with --unfit",
        )


def folder_of(model: str, adapter: Path | None = None) -> Path | None:
    """Find the folder in which a model's card may lie; None where it has none.

    Raises:
        AdapterError: The adapter has no card that can be read.
    """
    model, adapter = parted(model, adapter)
    if adapter is not None:
        return adapter
    kind, _, folder = model.partition(":")
    return Path(folder) if kind == "path" else None


def hashes_beside(folder: Path, card: WeightsCard) -> tuple[str, ...] | None:
    """Read the hashes of the questions that weights were trained on; None where there are none.

    Raises:
        AdapterError: The file is missing or was changed.
    """
    if card.trained_on is None:
        return None
    path = folder / TRAINED_ON
    try:
        text = path.read_bytes()
    except OSError as error:
        raise AdapterError(
            f"{path} is missing",
            expected="the hashes of the questions that the weights were trained on",
            fix=f"copy it along with {CARD}",
        ) from error
    if hashlib.sha256(text).hexdigest() != card.trained_on:
        raise AdapterError(f"{path} was changed", fix="restore it, or train again")
    return tuple(text.decode().split())


def card_of(folder: Path) -> WeightsCard | None:
    """Read the card of a folder that may have none.

    Raises:
        AdapterError: It has one that cannot be read, or weights that are not its own.
    """
    return read_card(folder) if (folder / CARD).is_file() else None


def file_hash(path: Path) -> str:
    """Hash a file, once as long as it does not change; sha256, 64 hex digits."""
    found = path.stat()
    return _hashed(path.absolute(), found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _hashed(path: Path, *state: int) -> str:
    del state  # of the file: another one is another file
    return sha256_of(path)
