"""Open any model by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medtune.core.errors import AdapterError
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle, fingerprint
from medtune.core.records import Question
from medtune.core.schemas.compression import GGUF
from medtune.models.fake import FakeModel, topic
from medtune.models.sources import resolve
from medtune.models.weights_card import card_of, parted

if TYPE_CHECKING:
    from medtune.models.local.local_model import LocalModel
    from medtune.models.remote.remote_model import RemoteModel


def open_model(
    name: str,
    *,
    questions: Sequence[Question] = (),
    adapter: Path | None = None,
    style: PromptStyle | None = None,
    dtype: str = "auto",
    attention: str = "auto",
    batch: int | None = None,
    progress: Progress | None = None,
    light: bool = False,
) -> LocalModel | RemoteModel | FakeModel:
    """Open a model for an examination.

    Args:
        name: embedded:, hub:, path:, adapter:, remote: or fake:.
        questions: The exam; a fake takes its key from it.
        adapter: Adapter folder to put on top.
        style: The prompt about to be used, checked against the adapter's.
        dtype: float32, bfloat16, float16 or auto.
        attention: auto, sdpa or eager.
        batch: Most sequences in one forward pass; None is by the device.
        progress: Where a long first conversion is announced.
        light: As for `LocalModel.load`; an adapter needs transformers.

    Raises:
        ModelError: The model or the adapter cannot be used.
    """
    name, adapter = parted(name, adapter)
    if name.startswith("remote:"):
        if adapter is not None:
            raise AdapterError(
                f"{name} takes no adapter", fix="let the server load it, and name it as served"
            )
        from medtune.models.remote.remote_model import RemoteModel

        return RemoteModel.open(name, progress)
    source = resolve(name, progress)
    if source.kind == "fake":
        if adapter is not None:
            raise AdapterError(f"{name} takes no adapter", expected="a real base model")
        key = {q.id: q.answer_text for q in questions if q.answer is not None}
        ids = {topic(q.options): q.id for q in questions}
        return FakeModel(name.partition(":")[2], key, ids)
    if source.folder and (card := card_of(source.folder)) and card.scheme in GGUF:
        if adapter is not None:
            raise AdapterError(f"{name} takes no adapter", fix="compress it with its adapter")
        from medtune.models.remote.llama_cpp import LlamaCpp

        return LlamaCpp(source, card, progress)
    from medtune.models.local.local_model import LocalModel

    model = LocalModel.load(source, dtype, attention, light and adapter is None)
    model.batch = batch or model.batch
    if adapter is None:
        return model
    from medtune.models.adapters import lora

    prompt_hash = fingerprint(style, model.render) if style is not None else None
    return lora.load(model, adapter, prompt_hash)
