"""Adapters: made, saved and loaded by peft, with a card that says what they were trained on."""

from __future__ import annotations

import difflib
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from medtune.core.errors import AdapterError, ConfigError
from medtune.core.experiment import LoraSettings
from medtune.core.folder import disk_errors, write_record
from medtune.core.model import Example, Message
from medtune.core.records import ModelDescription
from medtune.models.card import CARD, WEIGHTS, AdapterCard, file_hash, read_card
from medtune.models.head import AnswerHead, can_pack
from medtune.models.local import LocalModel
from medtune.models.lora_product import use_lora_products

ALL = "all-linear"
"""peft's name for every dense layer but the output head."""


class Adapted:
    """A base model with fresh LoRA layers, ready to be trained.

    The layers are initialised from `seed` alone.  They take the base model's precision (peft's
    default, fp32 layers in a bf16 model, casts every activation twice).

    Args:
        model: The base; its network is changed in place.
        settings: Rank, targets and so on.
        seed: Of the initialisation.
        recompute: Keep no activations inside layers, but compute them again on the way back.

    Raises:
        ConfigError: A target names no module; near names are listed.
    """

    def __init__(
        self, model: LocalModel, settings: LoraSettings, seed: int, recompute: bool = False
    ) -> None:
        from peft import LoraConfig, get_peft_model

        targets = list(settings.targets)
        if targets != [ALL]:
            _check_targets(model.network, targets)
        self.base: ModelDescription = model.describe()
        self._encoder = model.encoder
        self._source, self._batch = model.source, model.batch
        torch.manual_seed(seed)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            bias="none",
            task_type="CAUSAL_LM",
            target_modules=targets[0] if targets == [ALL] else targets,
            use_rslora=settings.rslora,
            use_dora=settings.dora,
        )
        with quiet_upstream():
            self._peft = get_peft_model(model.network, config, autocast_adapter_dtype=False)
        use_lora_products(self._peft)
        inner = self._peft.get_base_model()
        if recompute:
            inner.activation_checkpointing_enable({"use_reentrant": False})
        self.packs = can_pack(inner)
        self.head: nn.Module = AnswerHead(inner, self.packs)
        self.pad = self._encoder.pad
        self.end = self._encoder.end

    def model(self) -> LocalModel:
        """Open the model as it is now for an examination; what it reads once it keeps."""
        inner = self._peft.get_base_model()
        return LocalModel(inner, self._encoder.tokenizer, self._source, batch=self._batch)

    @property
    def parameters(self) -> dict[str, Parameter]:
        """The trainable ones, by the names under which peft saves them."""
        return {name: p for name, p in self._peft.named_parameters() if p.requires_grad}

    @property
    def total_parameters(self) -> int:
        """All weights, the base model's included."""
        return sum(p.numel() for p in self._peft.parameters())

    def render(self, messages: Sequence[Message]) -> str:
        """Show the exact text that the model reads."""
        return self._encoder.render(messages)

    def encode(
        self, messages: Sequence[Message], answer: str, choices: Sequence[str] = ()
    ) -> Example:
        """Encode a supervised example; see `ChatEncoder.example`."""
        return self._encoder.example(messages, answer, choices)

    def decode(self, tokens: Sequence[int]) -> str:
        """Show tokens as text, special ones included."""
        return str(self._encoder.tokenizer.decode(list(tokens)))

    def save(
        self, weights: Mapping[str, Tensor], folder: Path, card: Mapping[str, Any]
    ) -> AdapterCard:
        """Write an adapter folder whole or not at all, replacing an older one.

        Args:
            weights: Full-precision weights by parameter name.
            folder: Where to.
            card: Fields of the card but for the adapter's hash.

        Raises:
            FolderError: The folder cannot be written.
        """
        with disk_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
            try:
                self._peft.save_pretrained(staging, state_dict=dict(weights))
                written = AdapterCard(**card, adapter_hash=file_hash(staging / WEIGHTS))
                write_record(staging / CARD, written)
                staging.chmod(0o755)
                shutil.rmtree(folder, ignore_errors=True)
                staging.replace(folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        return written


def load(base: LocalModel, folder: Path, prompt_hash: str | None) -> LocalModel:
    """Put a saved adapter into a base model.

    Args:
        base: The model; its network is changed in place.
        folder: The adapter.
        prompt_hash: Fingerprint of the prompt about to be used; None skips that check.

    Raises:
        AdapterError: The adapter belongs to another base or another prompt.
    """
    from peft import PeftModel

    card = read_card(folder)
    if card.base_fingerprint != base.source.fingerprint:
        raise AdapterError(
            f"{folder} was trained on {card.base} ({card.base_fingerprint[:12]}), "
            f"the base here is {base.source.name} ({base.source.fingerprint[:12]})",
            expected="the base model that the adapter was trained on",
            fix=f"use {card.base}",
        )
    if prompt_hash is not None and prompt_hash != card.prompt_hash:
        raise AdapterError(
            f"{folder} was trained with the prompt {card.prompt_hash[:12]}, "
            f"the prompt here is {prompt_hash[:12]}",
            expected="the same system text, option lines, answer form and chat template",
            fix=f"leave the prompt out to take the adapter's own, which stands in {folder / CARD}",
        )
    with quiet_upstream():
        network = PeftModel.from_pretrained(base.network, str(folder), autocast_adapter_dtype=False)
    dtype = next(base.network.parameters()).dtype
    inner = network.get_base_model().to(dtype).eval()
    return LocalModel(
        inner, base.encoder.tokenizer, base.source, card.adapter_hash, batch=base.batch
    )


@contextmanager
def quiet_upstream() -> Iterator[None]:
    """Silence the one warning that peft draws from transformers, about a name between the two."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        yield


def _check_targets(network: Any, targets: Sequence[str]) -> None:
    names = {name.rpartition(".")[2] for name, _ in network.named_modules() if name}
    faults = []
    for target in targets:
        if target not in names:
            near = difflib.get_close_matches(target, names, n=3)
            hint = f"; near names: {', '.join(near)}" if near else ""
            faults.append(f"training.lora.targets: the model has no module {target!r}{hint}")
    if faults:
        raise ConfigError("the experiment", faults)
