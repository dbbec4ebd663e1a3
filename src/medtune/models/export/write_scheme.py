"""Write a trained model in the form in which it is deployed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from medtune.core.schemas.compression import GGUF, INTEGERS, Scheme
from medtune.models.export.gguf import write_gguf
from medtune.models.export.smoothquant import smooth
from medtune.models.light import quantized_model
from medtune.models.local.local_model import LocalModel
from medtune.models.save import save_with_card
from medtune.models.weights_card import WeightsCard

Reader = Callable[[LocalModel], object]
MERGED_DTYPES: dict[Scheme, torch.dtype] = {
    "merge": torch.bfloat16,
    "merge-fp16": torch.float16,
}


def export(
    model: LocalModel,
    card: WeightsCard,
    scheme: Scheme,
    folder: Path,
    read: Reader,
    hashes: Sequence[str] | None = None,
) -> WeightsCard:
    """Write a folder that `path:FOLDER` opens, whole or not at all.

    Args:
        model: Adapter merged, in fp32; its network is spoilt by the integer schemes.
        card: Of what it was made from; hash, scheme and size are filled in.
        scheme: What to write.
        folder: Where to; an older one is replaced.
        read: Lets a model read typical prompts; integer schemes even out activations by them.
        hashes: Of the questions that it was trained on; None where unknown.

    Raises:
        ModelError: The scheme has no form for this architecture.
        FolderError: The folder cannot be written.
    """
    counted = model.network.num_parameters()
    written = card.model_copy(update={"scheme": scheme, "parameters": counted, "fit": None})

    def write(place: Path) -> None:
        model.encoder.tokenizer.save_pretrained(place)
        model.network.config.save_pretrained(place)
        _FORMS[scheme](model, place, written, read)

    return save_with_card(folder, written, write, hashes)


def _merged(model: LocalModel, folder: Path, card: WeightsCard, read: Reader) -> None:
    del read
    assert card.scheme is not None
    model.network.to(MERGED_DTYPES[card.scheme])
    model.network.save_pretrained(folder, max_shard_size="1TB")


def _integers(model: LocalModel, folder: Path, card: WeightsCard, read: Reader) -> None:
    assert card.scheme is not None
    if card.scheme in quantized_model.COARSE:
        smooth(model.network, lambda: read(model))
    quantized_model.pack(model.network, card.scheme)
    quantized_model.save(model.network, folder / card.file)


def _gguf(model: LocalModel, folder: Path, card: WeightsCard, read: Reader) -> None:
    del read
    assert card.scheme is not None
    title = card.base.rpartition(":")[2].rpartition("/")[2]
    write_gguf(model.network, model.encoder.tokenizer, folder / card.file, card.scheme, title)


_FORMS: dict[Scheme, Callable[[LocalModel, Path, WeightsCard, Reader], None]] = {
    **dict.fromkeys(MERGED_DTYPES, _merged),
    **dict.fromkeys(INTEGERS, _integers),
    **dict.fromkeys(GGUF, _gguf),
}
