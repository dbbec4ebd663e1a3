"""Export a model in a quantization scheme."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from medtune.core.schemas.compression import GGUF_SCHEMES, INTEGER_SCHEMES, Scheme
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
        model.encoder.tokenizer.save_pretrained(place)
        model.network.config.save_pretrained(place)
        _WRITERS[scheme](model, place, written, read)

    return save_with_card(folder, written, write, hashes)


def _write_merged(
    model: LocalModel, folder: Path, card: WeightsCard, read: CalibrationPass
) -> None:
    del read
    assert card.scheme is not None
    model.network.to(MERGED_DTYPES[card.scheme])
    model.network.save_pretrained(folder, max_shard_size="1TB")


def _write_integers(
    model: LocalModel, folder: Path, card: WeightsCard, read: CalibrationPass
) -> None:
    assert card.scheme is not None
    if card.scheme in quantized_model.ONE_TERM_SCHEMES:
        smooth_activations(model.network, lambda: read(model))
    quantized_model.quantize_network(model.network, card.scheme)
    quantized_model.save_quantized(model.network, folder / card.weights_file)


def _write_gguf(model: LocalModel, folder: Path, card: WeightsCard, read: CalibrationPass) -> None:
    del read
    assert card.scheme is not None
    title = card.base.rpartition(":")[2].rpartition("/")[2]
    write_gguf(
        model.network, model.encoder.tokenizer, folder / card.weights_file, card.scheme, title
    )


_WRITERS: dict[Scheme, Callable[[LocalModel, Path, WeightsCard, CalibrationPass], None]] = {
    **dict.fromkeys(MERGED_DTYPES, _write_merged),
    **dict.fromkeys(INTEGER_SCHEMES, _write_integers),
    **dict.fromkeys(GGUF_SCHEMES, _write_gguf),
}
