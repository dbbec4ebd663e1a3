"""Export a model in a quantization scheme."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from medtune.core.schemas.compression import INTEGER_SCHEMES, Scheme
from medtune.models.export.gguf import write_gguf
from medtune.models.export.smoothquant import smooth_activations
from medtune.models.light import quantized_model
from medtune.models.local.local_model import LocalModel
from medtune.models.save import save_with_card
from medtune.models.weights_card import WeightsCard

CalibrationPass = Callable[[LocalModel], object]
MERGED_DTYPES: dict[Scheme, torch.dtype] = {
    "merge": torch.bfloat16,
    "merge-fp16": torch.float16,
}


def export_scheme(
    model: LocalModel,
    card: WeightsCard,
    scheme: Scheme,
    folder: Path,
    read: CalibrationPass,
    hashes: Sequence[str] | None = None,
) -> WeightsCard:
    """Write a folder that `path:FOLDER` opens, atomically.

    Args:
        model: A model in fp32, its adapter merged; integer schemes change its network.
        card: Card of the source weights; hash, scheme and size are filled in.
        scheme: Quantization scheme.
        folder: Folder to write; an older one is replaced.
        read: Runs a model on calibration prompts, by which integer schemes smooth activations.
        hashes: Hashes of the training questions; None if unknown.

    Raises:
        ModelError: The scheme does not support this architecture.
        FolderError: The folder cannot be written.
    """
    counted = model.network.num_parameters()
    written = card.model_copy(update={"scheme": scheme, "parameters": counted, "fit": None})

    def write(place: Path) -> None:
        network, tokenizer = model.network, model.encoder.tokenizer
        tokenizer.save_pretrained(place)
        network.config.save_pretrained(place)
        if scheme in MERGED_DTYPES:
            network.to(MERGED_DTYPES[scheme])
            network.save_pretrained(place, max_shard_size="1TB")
        elif scheme in INTEGER_SCHEMES:
            if scheme in quantized_model.ONE_TERM_SCHEMES:
                smooth_activations(network, lambda: read(model))
            quantized_model.quantize_network(network, scheme)
            quantized_model.save_quantized(network, place / written.weights_file)
        else:
            title = card.base.rpartition(":")[2].rpartition("/")[2]
            write_gguf(network, tokenizer, place / written.weights_file, scheme, title)

    return save_with_card(folder, written, write, hashes)
