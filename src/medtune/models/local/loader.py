"""From a folder to a network and its tokenizer: by transformers, or without it."""

from __future__ import annotations

from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import torch

from medtune.core.errors import ModelError, UnknownModelError
from medtune.core.schemas.compression import INTEGERS
from medtune.models.device import best_device, bound_kernel_cache, choose_dtype
from medtune.models.kernels.attention import use_short_attention
from medtune.models.kernels.rms_norm import use_rms_norms
from medtune.models.kernels.rotary import use_rotary
from medtune.models.light.decoder import Decoder, is_known
from medtune.models.light.quantized_model import load
from medtune.models.light.tokenizer import ChatTokenizer
from medtune.models.local.nf4 import NF4, four_bits, keep_unpacked
from medtune.models.local.selected_logits import check_head
from medtune.models.sources import ModelSource
from medtune.models.weights_card import WEIGHTS, WeightsCard, card_of


def opened(
    source: ModelSource, dtype: str, attention: str, light: bool
) -> tuple[Any, Any, WeightsCard | None]:
    """Open a model; see `LocalModel.load`.

    Returns:
        Network, tokenizer, and the card of a packed model.
    """
    bound_kernel_cache()
    assert source.folder is not None, "a fake is not loaded from a folder"
    card = card_of(source.folder)
    packed = card if card is not None and card.packed else None
    single = (source.folder / WEIGHTS["model"]).is_file()
    plain = (packed or (light and single and dtype != NF4)) and is_known(source.folder)
    try:
        if plain:
            network, tokenizer = _without_transformers(source.folder, packed, dtype, attention)
        else:
            network, tokenizer = _by_transformers(source.folder, packed, dtype, attention)
    except ModelError:  # it is a ValueError, too
        raise
    except (OSError, ValueError, KeyError) as error:
        raise UnknownModelError(
            f"{source.name} cannot be loaded: {str(error).splitlines()[0]}",
            expected="a causal language model in transformers' format",
        ) from error
    # A head that gets a strided slice (the last positions of a batch, as generation does) copies
    # its matrix once per row where its weight is frozen: 54 MB each on the 135M model.
    network.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (inputs[0].contiguous(), *inputs[1:])
    )
    if not plain:  # the decoder's head is its last step, whoever's weights it has
        check_head(network, source.name)
    return network, tokenizer, packed


def _without_transformers(
    folder: Path, packed: WeightsCard | None, dtype: str, attention: str
) -> tuple[Any, Any]:
    device = best_device()
    file, scheme = (packed.file, packed.scheme) if packed else (WEIGHTS["model"], None)
    precision = _between(dtype, device) if packed else choose_dtype(dtype, device)

    def whole() -> Any:
        return _by_transformers(folder, packed, dtype, attention)[0]

    network = Decoder(folder, file, scheme, precision, whole)
    return network.to(device).eval(), ChatTokenizer(folder)


def _by_transformers(
    folder: Path, packed: WeightsCard | None, dtype: str, attention: str
) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # peft imports it wherever it is installed, and it tells what it would like beside it.
    getLogger("bitsandbytes").setLevel(ERROR)
    device = best_device()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if packed is not None and packed.scheme in INTEGERS:
        precision = _between(dtype, device)
        network = load(folder, packed.file, packed.scheme, precision).to(device)
    else:
        network = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=choose_dtype(dtype, device),
            attn_implementation="sdpa" if attention == "auto" else attention,
            **(four_bits(device) if dtype == NF4 else {}),
        )
        network = keep_unpacked(network) if dtype == NF4 else network.to(device)
    network.eval()
    use_rms_norms(network)
    use_rotary(network)
    if attention == "auto":
        use_short_attention(network)
    # What a folder advises (Qwen2.5 a repetition_penalty) would bend the greedy choice as well.
    network.generation_config = GenerationConfig()
    return network, tokenizer


def _between(dtype: str, device: torch.device) -> torch.dtype:
    """Choose the precision between layers of integers: on a CPU fp32, which is exact there."""
    if dtype == NF4 or (dtype == "auto" and device.type == "cpu"):
        return torch.float32
    return choose_dtype(dtype, device)
