"""Open a model by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from medtune.core.errors import AdapterError, check_choice
from medtune.core.experiment import DtypeName, RetrievalConfig
from medtune.core.model_names import MIX_PREFIX, SEARCH_PREFIX, is_search_model
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import AnswerModel
from medtune.core.records import Question
from medtune.core.schemas.compression import GGUF_SCHEMES
from medtune.models.fake import FakeModel, make_options_key
from medtune.models.gguf_file import PATH_PREFIX, find_gguf_path, has_llama_cpp, read_gguf
from medtune.models.model_argument import resolve_adapter_argument, resolve_model_argument
from medtune.models.sources import resolve_model
from medtune.models.weights_card import read_quantized_card, split_adapter

if TYPE_CHECKING:
    from medtune.models.local.local_model import LocalModel
    from medtune.models.mixture import MixtureModel
    from medtune.models.remote.remote_model import RemoteModel
    from medtune.models.remote.remote_pool import RemotePool
    from medtune.models.search_model import SearchModel
    from medtune.models.unloaded_model import UnloadedModel


def open_model(
    name: str | Path,
    *,
    questions: Sequence[Question] = (),
    adapter: str | Path | None = None,
    style: PromptStyle | None = None,
    dtype: str = "auto",
    attention: str = "auto",
    batch: int | None = None,
    progress: Progress | None = None,
    light: bool = False,
    retrieval: RetrievalConfig | None = None,
) -> LocalModel | RemoteModel | RemotePool | FakeModel | SearchModel | MixtureModel:
    """Open a model for evaluation.

    Args:
        name: embedded:, hub:, path:, adapter:, remote:, search:, mix: or fake:, or a run folder.
        questions: Questions of the evaluation, which give a fake model its answers.
        adapter: Folder of an adapter to load.
        style: Prompt style to use, which is checked against the adapter's.
        dtype: float32, bfloat16, float16 or auto; a GGUF file is run as it is by "auto", and by
            transformers in any other precision.
        attention: auto, sdpa or eager.
        batch: Most sequences in one forward pass, None chooses by the device; of a remote model,
            most requests under way at one server.
        progress: Reports a long first conversion.
        light: See `LocalModel.load`; an adapter needs transformers.
        retrieval: Passages of the prompts, checked as `UnloadedModel.retrieval` is.

    Raises:
        ModelError: The model or the adapter cannot be used.
    """
    check_choice("dtype", dtype, get_args(DtypeName))
    name, adapter = split_adapter(resolve_model_argument(name), resolve_adapter_argument(adapter))
    if name.startswith("remote:"):
        return _connect(name, adapter, batch, progress)
    if is_search_model(name):
        if adapter is not None:
            raise AdapterError(f"{name} takes no adapter", expected="a language model")
        from medtune.models.search_model import SearchModel

        return SearchModel.open(name)
    if name.startswith(MIX_PREFIX):
        if adapter is not None:
            raise AdapterError(f"{name} takes no adapter", expected="a language model")
        from medtune.models.mixture import MixtureModel

        def open_parent(parent: str, parent_style: PromptStyle, parent_dtype: str) -> AnswerModel:
            return open_model(
                parent,
                questions=questions,
                style=parent_style,
                dtype=parent_dtype,
                attention=attention,
                batch=batch,
                progress=progress,
                light=light,
            )

        return MixtureModel.open(name, open_parent, dtype)
    if _runs_as_file(name, adapter, dtype):
        return _run_gguf(name, progress or NoProgress())
    source = resolve_model(name, progress)
    if source.kind == "fake":
        if adapter is not None:
            raise AdapterError(f"{name} takes no adapter", expected="a real base model")
        key = {q.id: q.answer_text for q in questions if q.answer is not None}
        ids = {make_options_key(q.options): q.id for q in questions}
        return FakeModel(name.partition(":")[2], key, ids)
    card = read_quantized_card(source.folder) if source.folder else None
    if card is not None and card.scheme in GGUF_SCHEMES:
        if adapter is not None:
            raise AdapterError(f"{name} takes no adapter", fix="compress it with its adapter")
        from medtune.models.remote.llama_cpp import LlamaCpp

        return LlamaCpp.open_folder(source, card, progress)
    from medtune.models.unloaded_model import UnloadedModel

    model = UnloadedModel(source, dtype, attention, adapter, style, light, retrieval).load()
    model.batch = batch or model.batch
    return model


def find_unloaded_model(
    name: str, adapter: Path | None, dtype: str, progress: Progress
) -> UnloadedModel | None:
    """Find a local model without loading it; None for any other model.

    Raises:
        ModelError: There is no such model, or the adapter cannot be used.
    """
    name, adapter = split_adapter(name, adapter)
    if name.startswith(("remote:", SEARCH_PREFIX, MIX_PREFIX, "fake:")):
        return None
    if _runs_as_file(name, adapter, dtype):
        return None
    from medtune.models.unloaded_model import UnloadedModel

    return UnloadedModel(resolve_model(name, progress), dtype, adapter=adapter)


def _connect(
    name: str, adapter: Path | None, batch: int | None, progress: Progress | None
) -> RemoteModel | RemotePool:
    if adapter is not None:
        raise AdapterError(
            f"{name} takes no adapter", fix="let the server load it, and name it as served"
        )
    from medtune.models.remote.name import split_servers
    from medtune.models.remote.remote_model import RemoteModel
    from medtune.models.remote.remote_pool import RemotePool

    several = len(split_servers(name)) > 1
    return (RemotePool if several else RemoteModel).connect(name, progress, batch)


def _run_gguf(name: str, progress: Progress) -> RemoteModel:
    from medtune.models.remote.llama_cpp import LlamaCpp

    file = read_gguf(Path(name.removeprefix(PATH_PREFIX)))
    progress.log_message(
        f"{name} ({file.scheme}) is run by llama.cpp; with --dtype float32 its weights are "
        "dequantized and run by transformers"
    )
    return LlamaCpp.open_file(name, file, progress)


def _runs_as_file(name: str, adapter: Path | None, dtype: str) -> bool:
    """Return whether llama.cpp runs a model, a GGUF file, as it is.

    It does where it is installed, unless a precision of transformers or an adapter is asked for.
    """
    as_it_is = dtype == "auto" and adapter is None
    return as_it_is and find_gguf_path(name) is not None and has_llama_cpp()
