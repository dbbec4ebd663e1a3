"""Create, save, load and merge LoRA adapters with peft, each with a weights card."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from medtune.core.errors import AdapterError, ConfigError
from medtune.core.experiment import LoraSettings
from medtune.models.adapters.trainable import TrainableModel
from medtune.models.kernels.lora_linear import use_lora_products
from medtune.models.local.local_model import LocalModel
from medtune.models.save import set_base_name
from medtune.models.sources import find_hub_name
from medtune.models.weights_card import (
    check_prompt_hash,
    find_adapter_weights,
    hash_file_cached,
    read_adapter_card,
)

ALL_LINEAR = "all-linear"
"""peft's name for every dense layer but the output head."""


class LoraModel(TrainableModel):
    """A base model with fresh LoRA layers, ready to be trained.

    The layers are initialised from `seed` alone.  They take the base model's precision (peft's
    default, fp32 layers in a bf16 model, casts every activation twice).

    Args:
        model: The base; its network is changed in place.
        settings: Rank, targets and so on.
        seed: Seed of the initialisation.
        recompute: As for `TrainableModel`.

    Raises:
        ConfigError: A target names no module; near names are listed.
    """

    kind = "adapter"

    def __init__(
        self, model: LocalModel, settings: LoraSettings, seed: int, recompute: bool = False
    ) -> None:
        self._settings, self._seed = settings, seed
        super().__init__(model, recompute)

    def _prepare_network(self, network: Any) -> nn.Module:
        from peft import LoraConfig, get_peft_model

        settings = self._settings
        targets = list(settings.targets)
        if targets != [ALL_LINEAR]:
            _check_targets(network, targets)
        torch.manual_seed(self._seed)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            bias="none",
            task_type="CAUSAL_LM",
            target_modules=targets[0] if targets == [ALL_LINEAR] else targets,
            use_rslora=settings.rslora,
            use_dora=settings.dora,
        )
        with suppress_peft_warning():
            self._peft = get_peft_model(network, config, autocast_adapter_dtype=False)
        _match_precision(self._peft)
        use_lora_products(self._peft)
        holder: nn.Module = self._peft
        return holder

    def _write_weights(self, weights: Mapping[str, Tensor], folder: Path) -> None:
        self._peft.save_pretrained(folder, state_dict=dict(weights))
        # peft writes the local folder of the base.  If the name were changed before saving, peft
        # would ask the Hub for the vocabulary of the base.
        name = self._source.name
        hub = find_hub_name(name, self._source.fingerprint) or (name.rpartition("/")[2], None)
        set_base_name(folder / "adapter_config.json", *hub)

    def interpolate_with_base(
        self, weights: Mapping[str, Tensor], share: float
    ) -> Mapping[str, Tensor]:
        """Interpolate with the base model by scaling B: the LoRA update is linear in it."""
        return {name: share * w if ".lora_B." in name else w for name, w in weights.items()}


def load_adapter(base: LocalModel, folder: Path, prompt_hash: str | None) -> LocalModel:
    """Load a saved adapter into a base model.

    Args:
        base: The model; its network is changed in place.
        folder: The adapter.
        prompt_hash: Fingerprint of the prompt about to be used; None skips that check.

    Raises:
        AdapterError: The adapter belongs to another base or another prompt.
    """
    network, weights_hash = _load_peft_model(base, folder, prompt_hash)
    model = _local_model_with_adapter(network, base, weights_hash)
    model.adapter_folder = folder
    return model


def add_adapter(base: LocalModel, network: Any, name: str, folder: Path) -> tuple[Any, LocalModel]:
    """Add a saved adapter to a base model that may have others; it is not activated.

    Args:
        base: The model; its network is changed in place.
        network: The PeftModel with the adapters loaded so far; None if there are none.
        name: Adapter name; an adapter of that name is replaced.
        folder: The adapter.

    Raises:
        AdapterError: The adapter belongs to another base.
    """
    if network is None:
        network, weights_hash = _load_peft_model(base, folder, None, name)
        return network, _local_model_with_adapter(network, base, weights_hash)
    weights_hash = _check_adapter(base, folder, None)
    if name in network.peft_config:
        network.delete_adapter(name)
    with suppress_peft_warning():
        network.load_adapter(str(folder), name, autocast_adapter_dtype=False)
    return network, _local_model_with_adapter(network, base, weights_hash)


def merge_adapter(base: LocalModel, folder: Path) -> LocalModel:
    """Merge a saved adapter into the base weights, in their precision: W + scale B A.

    Raises:
        AdapterError: The adapter belongs to another base.
    """
    network, weights_hash = _load_peft_model(base, folder, None)
    with suppress_peft_warning():
        inner = network.merge_and_unload()
    return _replace_network(inner, base, weights_hash)


def _load_peft_model(
    base: LocalModel, folder: Path, prompt_hash: str | None, name: str = "default"
) -> tuple[Any, str]:
    from peft import PeftModel

    weights_hash = _check_adapter(base, folder, prompt_hash)
    try:
        with suppress_peft_warning():
            network = PeftModel.from_pretrained(
                base.network, str(folder), adapter_name=name, autocast_adapter_dtype=False
            )
    except (RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise AdapterError(
            f"{folder} does not fit {base.source.name}: {error}",
            expected="an adapter of this base model, as peft saves it",
            fix="name the base model in its adapter_config.json (base_model_name_or_path)",
        ) from error
    return network, weights_hash


def _local_model_with_adapter(network: Any, base: LocalModel, weights_hash: str) -> LocalModel:
    """Return a LocalModel with the adapter, cast to the precision of the base."""
    _match_precision(network)
    return _replace_network(network.get_base_model(), base, weights_hash)


def _replace_network(inner: Any, base: LocalModel, weights_hash: str) -> LocalModel:
    """Return a LocalModel like `base` with another network."""
    return LocalModel(
        inner.eval(), base.encoder.tokenizer, base.source, weights_hash, batch=base.batch
    )


def _check_adapter(base: LocalModel, folder: Path, prompt_hash: str | None) -> str:
    """Check that an adapter's card matches this base and prompt; return the hash of its weights.

    An adapter that another trainer wrote has no card: peft alone decides whether it fits.
    """
    card = read_adapter_card(folder)
    if card is None:
        return hash_file_cached(find_adapter_weights(folder))
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
    if prompt_hash is not None:
        check_prompt_hash(card, folder, prompt_hash)
    return card.weights_hash


@contextmanager
def suppress_peft_warning() -> Iterator[None]:
    """Suppress a deprecation warning that peft triggers in transformers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated")
        yield


def _match_precision(network: Any) -> None:
    """Cast LoRA layers to the dtype of the base model."""
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
