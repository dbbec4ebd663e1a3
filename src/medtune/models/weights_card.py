"""Read the weights card: what weights were trained on and how they are quantized; torch-free."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from medtune.core.errors import AdapterError, CheckFailed
from medtune.core.experiment import RetrievalConfig
from medtune.core.prompt import FormName, PromptStyle
from medtune.core.records import Record
from medtune.core.run_folder import hash_file
from medtune.core.schemas.compression import GGUF_SCHEMES, INTEGER_SCHEMES, Scheme

CARD_FILE = "medtune.json"
PEFT_CONFIG_FILE = "adapter_config.json"
TRAINED_ON_FILE = "trained_on.hashes"
"""File beside a card: hashes of the training questions, one per line."""
ADAPTER_PREFIX = "adapter:"
"""Prefix of a model name that is an adapter's folder: its base model with the adapter."""
WEIGHTS_FILES: dict[str, str] = {
    "adapter": "adapter_model.safetensors",
    "model": "model.safetensors",
    # transformers would read integers as weights; it does not look for this file name.
    **dict.fromkeys(INTEGER_SCHEMES, "integers.safetensors"),
    **dict.fromkeys(GGUF_SCHEMES, "model.gguf"),
}
"""File name of the weights by kind or scheme."""


class WeightsCard(Record):
    """Description of trained weights, stored beside them as `medtune.json`."""

    kind: Literal["adapter", "model"] = "adapter"
    """LoRA adapter of a base model, or a whole model."""
    base: str
    """Name of the base model."""
    base_fingerprint: str
    prompt_hash: str
    """Fingerprint of style, chat template and passages; see `core.prompt.prompt_fingerprint`."""
    style: PromptStyle
    target: FormName
    retrieval: RetrievalConfig | None = None
    """Passages of the training prompts, without the folder of their index; None for a closed
    book."""
    index_hash: str | None = None
    """Hash of the passage index that was searched for them."""
    data_hash: str | None
    """Hash of the train split; None for a base model."""
    config_hash: str | None
    data_source: str | None = None
    """Source of the train split, as named in the experiment."""
    data_n: int | None = None
    """Number of questions in the train split."""
    trained_on: str | None = None
    """sha256 of `trained_on.hashes`; None if it was not written."""
    weights_hash: str
    """sha256 of the weights file."""
    medtune: str
    """Version of medtune that wrote it."""
    scheme: Scheme | None = None
    """Quantization scheme; None for unquantized weights."""
    made_from: str | None = None
    """For a quantized model: hash of the adapter or model that it was made from."""
    parameters: int | None = None
    """For a quantized model: number of parameters."""
    fit: bool | None = None
    """For a quantized model: whether it passed the parity gate; None if not tested."""

    @property
    def is_quantized(self) -> bool:
        """Whether the weights are quantized: they cannot be trained, merged or cast."""
        return self.scheme in (*INTEGER_SCHEMES, *GGUF_SCHEMES)

    @property
    def weights_file(self) -> str:
        """File name of the weights."""
        return WEIGHTS_FILES.get(self.scheme or self.kind, WEIGHTS_FILES[self.kind])


def read_card(folder: Path) -> WeightsCard:
    """Read the card of an adapter or a trained model.

    Raises:
        AdapterError: The folder was not written by medtune, its weights were changed, or they are
            quantized in a scheme that no longer exists.
    """
    try:
        card = WeightsCard.model_validate_json((folder / CARD_FILE).read_bytes())
        weights = folder / card.weights_file
        found = hash_file_cached(weights)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise AdapterError(
            f"{folder} is no adapter of medtune's: {Path(error.filename).name} is missing",
            expected=f"{PEFT_CONFIG_FILE}, {WEIGHTS_FILES['adapter']} and {CARD_FILE}",
            fix="point to the adapter/ folder of a run, or to a model that `medtune compress` "
            "made; an adapter of another trainer is evaluated with its base named: "
            "BASE --adapter DIR",
        ) from error
    except ValidationError as error:
        if gone := [fault["input"] for fault in error.errors() if fault["loc"] == ("scheme",)]:
            raise AdapterError(
                f"{folder} is packed as {gone[0]}, which this version does not run",
                expected=f"one of {', '.join(get_args(Scheme))}",
                fix="pack what it was made from again: medtune compress MODEL DATA --scheme int8",
            ) from error
        raise AdapterError(f"{folder / CARD_FILE} cannot be read: {error}") from error
    if found != card.weights_hash:
        raise AdapterError(
            f"{weights} has sha256 {found}",
            expected=card.weights_hash,
            fix="the file was changed or cut short: train or compress again, or restore it",
        )
    return card


def read_adapter_card(folder: Path) -> WeightsCard | None:
    """Read the card of an adapter; None for a PEFT folder that another trainer wrote.

    Raises:
        AdapterError: The folder holds no adapter, or `read_card` refuses it.
    """
    plain = (folder / PEFT_CONFIG_FILE).is_file() and not (folder / CARD_FILE).exists()
    if plain and (folder / WEIGHTS_FILES["adapter"]).is_file():
        return None
    return read_card(folder)


def find_adapter_weights(folder: Path) -> Path:
    """Return the file of an adapter's weights.

    Raises:
        AdapterError: As `read_adapter_card` does.
    """
    card = read_adapter_card(folder)
    return folder / (card.weights_file if card else WEIGHTS_FILES["adapter"])


@dataclass(frozen=True, slots=True)
class PromptDefaults:
    """Default prompt settings of a model."""

    style: PromptStyle
    target: FormName
    """Form of requested free answers."""
    label: str
    retrieval: RetrievalConfig
    """Passages of the prompts."""
    index_hash: str | None
    """Hash of the passage index that the model was trained with; None for a closed book."""


def split_adapter(model: str, adapter: Path | None = None) -> tuple[str, Path | None]:
    """Split a model name into base and adapter; `adapter:FOLDER` names both.

    Raises:
        AdapterError: Two adapters are named, or the adapter has no readable card.
    """
    if not model.startswith(ADAPTER_PREFIX):
        return model, adapter
    folder = Path(model.removeprefix(ADAPTER_PREFIX))
    if adapter is not None:
        raise AdapterError(f"{model} and --adapter {adapter}", expected="one adapter")
    return read_card(folder).base, folder


def resolve_prompt_defaults(
    model: str,
    adapter: Path | None = None,
    style: PromptStyle | None = None,
    form: FormName | None = None,
    label: str | None = None,
    retrieval: RetrievalConfig | None = None,
) -> PromptDefaults:
    """Return the prompt settings of a model: as given, else as trained, else the defaults.

    Raises:
        AdapterError: The adapter has no card that can be read.
    """
    card = find_card(model, adapter)
    return PromptDefaults(
        style=style or (card.style if card else PromptStyle()),
        target=form or (card.target if card else "letter"),
        label=label or ("tuned" if card or adapter else model),
        retrieval=retrieval or (card and card.retrieval) or RetrievalConfig(),
        index_hash=card.index_hash if card else None,
    )


def check_prompt_hash(card: WeightsCard, folder: Path, prompt_hash: str) -> None:
    """Refuse a prompt that is not the one on which weights were trained.

    Raises:
        AdapterError: It is another prompt; passages of the training prompts are named.
    """
    if prompt_hash == card.prompt_hash:
        return
    found = f"{folder} was trained with the prompt {card.prompt_hash[:12]}"
    fix = f"leave the prompt out to use the adapter's own, which is in {folder / CARD_FILE}"
    if card.retrieval is not None:
        found = (
            f"{folder} was trained open book, with {card.retrieval.summary} from the index "
            f"{(card.index_hash or '')[:12]} (prompt {card.prompt_hash[:12]})"
        )
        fix = (
            "show it passages of that kind (medtune evaluate --search DIR), or say that the book "
            "stays closed: --retrieval none"
        )
    raise AdapterError(
        f"{found}, the prompt here is {prompt_hash[:12]}",
        expected="the same system text, option lines, passages, answer form and chat template",
        fix=fix,
    )


def find_card(model: str, adapter: Path | None = None) -> WeightsCard | None:
    """Read the card of a model by its name; None if it has none.

    Raises:
        AdapterError: It has one that cannot be read, or weights that are not its own.
    """
    folder = find_card_folder(model, adapter)
    if folder is None:
        return None
    is_adapter = split_adapter(model, adapter)[1] is not None
    return read_adapter_card(folder) if is_adapter else read_optional_card(folder)


def refuse_unfit(model: str, adapter: Path | None = None, anyway: bool = False) -> None:
    """Refuse a quantized model that did not pass the parity gate.

    Raises:
        CheckFailed: The model is marked unfit, and `anyway` is not set.
        AdapterError: Its card cannot be read.
    """
    card = find_card(model, adapter)
    if card is not None and card.fit is False and not anyway:
        raise CheckFailed(
            f"{model} is marked unfit: it did not pass the parity gate",
            fix="see the record.json beside it, or use it anyway with --unfit",
        )


def find_card_folder(model: str, adapter: Path | None = None) -> Path | None:
    """Return the folder of a model's card; None if the model has no folder.

    Raises:
        AdapterError: The adapter has no card that can be read.
    """
    model, adapter = split_adapter(model, adapter)
    if adapter is not None:
        return adapter
    kind, _, folder = model.partition(":")
    return Path(folder) if kind == "path" else None


def read_training_hashes(folder: Path, card: WeightsCard) -> tuple[str, ...] | None:
    """Read the hashes of the training questions of weights; None if there are none.

    Raises:
        AdapterError: The file is missing or was changed.
    """
    if card.trained_on is None:
        return None
    path = folder / TRAINED_ON_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise AdapterError(
            f"{path} is missing",
            expected="the hashes of the questions that the weights were trained on",
            fix=f"copy it along with {CARD_FILE}",
        ) from error
    if hashlib.sha256(text).hexdigest() != card.trained_on:
        raise AdapterError(f"{path} was changed", fix="restore it, or train again")
    return tuple(text.decode().split())


def read_optional_card(folder: Path) -> WeightsCard | None:
    """Read the card of a folder; None if it has none.

    Raises:
        AdapterError: It has one that cannot be read, or weights that are not its own.
    """
    return read_card(folder) if (folder / CARD_FILE).is_file() else None


def read_quantized_card(folder: Path) -> WeightsCard | None:
    """Read the card of a quantized model; None for any other model.

    Raises:
        AdapterError: As `read_optional_card` does.
    """
    card = read_optional_card(folder)
    return card if card is not None and card.is_quantized else None


def hash_file_cached(path: Path) -> str:
    """Return the sha256 of a file, 64 hex digits, cached until the file changes."""
    found = path.stat()
    return _hash_for_state(path.absolute(), found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_for_state(path: Path, *state: int) -> str:
    del state  # part of the cache key: a changed file has another state
    return hash_file(path)
