"""Adapters: made, saved and loaded by peft, with a card that says what they were trained on."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medtune.core.errors import AdapterError, ConfigError
from medtune.core.experiment import LoraSettings
from medtune.models.adapters.trainable import Trainee
from medtune.models.kernels.lora_linear import use_lora_products
from medtune.models.local.local_model import LocalModel
from medtune.models.save import name_base
from medtune.models.sources import hub_name
from medtune.models.weights_card import CARD, WeightsCard, read_card

ALL = "all-linear"
"""peft's name for every dense layer but the output head."""


class LoraModel(Trainee):
    """A base model with fresh LoRA layers, ready to be trained.

    The layers are initialised from `seed` alone.  They take the base model's precision (peft's
    default, fp32 layers in a bf16 model, casts every activation twice).

    Args:
        model: The base; its network is changed in place.
        settings: Rank, targets and so on.
        seed: Of the initialisation.
        recompute: As for `Trainee`.

    Raises:
        ConfigError: A target names no module; near names are listed.
    """

    kind = "adapter"

    def __init__(
        self, model: LocalModel, settings: LoraSettings, seed: int, recompute: bool = False
    ) -> None:
        self._settings, self._seed = settings, seed
        super().__init__(model, recompute)

    def _prepared(self, network: Any) -> nn.Module:
        from peft import LoraConfig, get_peft_model

        settings = self._settings
        targets = list(settings.targets)
        if targets != [ALL]:
            _check_targets(network, targets)
        torch.manual_seed(self._seed)
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
            self._peft = get_peft_model(network, config, autocast_adapter_dtype=False)
        _match_precision(self._peft)
        use_lora_products(self._peft)
        holder: nn.Module = self._peft
        return holder

    def _write(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        self._peft.save_pretrained(folder, state_dict=dict(weights))
        # peft names the folder of this machine from which the base was read.  Told otherwise
        # before it saves, it would ask the Hub for the base's vocabulary.
        name = self._source.name
        hub = hub_name(name, self._source.fingerprint) or (name.rpartition("/")[2], None)
        name_base(folder / "adapter_config.json", *hub)

    def toward_base(self, weights: Mapping[str, Tensor], share: float) -> Mapping[str, Tensor]:
        """Keep a share of the update: it is linear in the second factor of each layer."""
        return {name: share * w if ".lora_B." in name else w for name, w in weights.items()}


def load(base: LocalModel, folder: Path, prompt_hash: str | None) -> LocalModel:
    """Put a saved adapter into a base model.

    Args:
        base: The model; its network is changed in place.
        folder: The adapter.
        prompt_hash: Fingerprint of the prompt about to be used; None skips that check.

    Raises:
        AdapterError: The adapter belongs to another base or another prompt.
    """
    network, card = _opened(base, folder, prompt_hash)
    return _holding(network, base, card)


def load_beside(base: LocalModel, network: Any, name: str, folder: Path) -> tuple[Any, LocalModel]:
    """Put a saved adapter beside others in a base model; none of them is the active one by that.

    Args:
        base: The model; its network is changed in place.
        network: peft's, with the adapters that are there; None where there are none yet.
        name: Of the adapter among them; one that has it already is replaced.
        folder: The adapter.

    Raises:
        AdapterError: The adapter belongs to another base.
    """
    if network is None:
        network, card = _opened(base, folder, None, name)
        return network, _holding(network, base, card)
    card = _checked(base, folder, None)
    if name in network.peft_config:
        network.delete_adapter(name)
    with quiet_upstream():
        network.load_adapter(str(folder), name, autocast_adapter_dtype=False)
    return network, _holding(network, base, card)


def merged(base: LocalModel, folder: Path) -> LocalModel:
    """Fold a saved adapter into the weights of a base model, in its precision: W + scale B A.

    Raises:
        AdapterError: The adapter belongs to another base.
    """
    network, card = _opened(base, folder, None)
    with quiet_upstream():
        inner = network.merge_and_unload()
    return _instead(inner, base, card)


def _opened(
    base: LocalModel, folder: Path, prompt_hash: str | None, name: str = "default"
) -> tuple[Any, WeightsCard]:
    from peft import PeftModel

    card = _checked(base, folder, prompt_hash)
    with quiet_upstream():
        network = PeftModel.from_pretrained(
            base.network, str(folder), adapter_name=name, autocast_adapter_dtype=False
        )
    return network, card


def _holding(network: Any, base: LocalModel, card: WeightsCard) -> LocalModel:
    """Open a base with an adapter inside, in the precision that it computes in."""
    _match_precision(network)
    return _instead(network.get_base_model(), base, card)


def _instead(inner: Any, base: LocalModel, card: WeightsCard) -> LocalModel:
    """Open a network in place of the base that it was."""
    return LocalModel(
        inner.eval(), base.encoder.tokenizer, base.source, card.weights_hash, batch=base.batch
    )


def _checked(base: LocalModel, folder: Path, prompt_hash: str | None) -> WeightsCard:
    """Read an adapter's card, and prove that it belongs to this base and prompt."""
    card = read_card(folder)
    if card.kind != "adapter":
        raise AdapterError(
            f"{folder} is a whole model, not an adapter",
            fix=f"name it as the model: path:{folder}",
        )
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
    return card


@contextmanager
def quiet_upstream() -> Iterator[None]:
    """Silence the one warning that peft draws from transformers, about a name between the two."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        yield


def _match_precision(network: Any) -> None:
    """Give LoRA layers the precision that the model computes in."""
    dtype = network.get_base_model().get_input_embeddings().weight.dtype
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(dtype)


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
