"""Load a network and its tokenizer from a folder, with transformers or without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import torch

from medtune.core.errors import ModelError, UnknownModelError, first_line
from medtune.core.schemas.compression import INTEGER_SCHEMES
from medtune.models.device import (
    choose_device,
    choose_dtype,
    limit_kernel_cache,
    precision_name,
)
from medtune.models.kernels.attention import use_short_attention
from medtune.models.kernels.rms_norm import use_rms_norms
from medtune.models.kernels.rotary import use_rotary
from medtune.models.light.decoder import Decoder, supports_folder
from medtune.models.light.quantized_model import load_quantized
from medtune.models.light.tokenizer import ChatTokenizer
from medtune.models.local.nf4 import NF4, build_nf4_arguments, keep_trainable_layout
from medtune.models.local.selected_logits import check_head_is_last
from medtune.models.memory import check_memory, count_parameters
from medtune.models.sources import ModelSource
from medtune.models.weights_card import WEIGHTS_FILES, WeightsCard, read_quantized_card


def load_network(
    source: ModelSource, dtype: str, attention: str, light: bool
) -> tuple[Any, Any, WeightsCard | None]:
    """Load a network and its tokenizer; see `LocalModel.load`.

    Returns:
        Network, tokenizer, and the card of a quantized model.

    Raises:
        ModelError: The weights do not fit into memory.
    """
    limit_kernel_cache()
    assert source.folder is not None, "a fake is not loaded from a folder"
    packed = read_quantized_card(source.folder)
    _check_memory(source, packed, dtype)
    single = (source.folder / WEIGHTS_FILES["model"]).is_file()
    plain = (packed or (light and single and dtype != NF4)) and supports_folder(source.folder)
    with translate_load_errors(source):
        if plain:
            network, tokenizer = _load_light(source.folder, packed, dtype, attention)
        else:
            network, tokenizer = _load_with_transformers(source.folder, packed, dtype, attention)
    # A head with a frozen weight that gets a strided slice (the last positions of a batch, as in
    # generation) copies its matrix once per row: 54 MB each on the 135M model.
    network.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (inputs[0].contiguous(), *inputs[1:])
    )
    if not plain:  # in `Decoder` the head is always the last step
        check_head_is_last(network, source.name)
    return network, tokenizer, packed


def _check_memory(source: ModelSource, packed: WeightsCard | None, dtype: str) -> None:
    """Check that the weights fit into memory, before any of them is read."""
    device, folder = choose_device(), source.folder
    assert folder is not None, "a fake is not loaded from a folder"
    if packed is not None:
        size = (folder / packed.weights_file).stat().st_size
        check_memory(source.name, packed.parameters or 0, str(packed.scheme), device.type, size)
        return
    with translate_load_errors(source):
        parameters = count_parameters(folder, folder.glob("*.safetensors"))
    check_memory(source.name, parameters, precision_name(dtype, device), device.type)


@contextmanager
def translate_load_errors(source: ModelSource) -> Iterator[None]:
    """Translate errors about the files of a model.

    Raises:
        UnknownModelError: The folder is not a causal language model.
    """
    try:
        yield
    except ModelError:  # it is a ValueError, too
        raise
    except (OSError, ValueError, KeyError) as error:
        raise UnknownModelError(
            f"{source.name} cannot be loaded: {first_line(error)}",
            expected="a causal language model in transformers' format",
        ) from error


def _load_light(
    folder: Path, packed: WeightsCard | None, dtype: str, attention: str
) -> tuple[Any, Any]:
    device = choose_device()
    file, scheme = (
        (packed.weights_file, packed.scheme) if packed else (WEIGHTS_FILES["model"], None)
    )
    precision = _dtype_between_int_layers(dtype, device) if packed else choose_dtype(dtype, device)

    def whole() -> Any:
        return _load_with_transformers(folder, packed, dtype, attention)[0]

    network = Decoder(folder, file, scheme, precision, whole)
    return network.to(device).eval(), ChatTokenizer(folder)


def _load_with_transformers(
    folder: Path, packed: WeightsCard | None, dtype: str, attention: str
) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    # peft imports it if it is installed, and its import prints recommendations.
    getLogger("bitsandbytes").setLevel(ERROR)
    device = choose_device()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if packed is not None and packed.scheme in INTEGER_SCHEMES:
        precision = _dtype_between_int_layers(dtype, device)
        network = load_quantized(folder, packed.weights_file, packed.scheme, precision).to(device)
    else:
        network = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=choose_dtype(dtype, device),
            attn_implementation="sdpa" if attention == "auto" else attention,
            **(build_nf4_arguments(device) if dtype == NF4 else {}),
        )
        network = keep_trainable_layout(network) if dtype == NF4 else network.to(device)
    network.eval()
    use_rms_norms(network)
    use_rotary(network)
    if attention == "auto":
        use_short_attention(network)
    # A folder's generation config (Qwen2.5: repetition_penalty) would also change greedy decoding.
    network.generation_config = GenerationConfig()
    return network, tokenizer


def _dtype_between_int_layers(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype between integer layers: on a CPU fp32, which is exact."""
    if dtype == NF4 or (dtype == "auto" and device.type == "cpu"):
        return torch.float32
    return choose_dtype(dtype, device)
