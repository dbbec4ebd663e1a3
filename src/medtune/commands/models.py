"""List the local models and describe one (`medtune models list|info`)."""

from __future__ import annotations

from pathlib import Path

from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle
from medtune.core.records import ModelInfo, ModelList, Question
from medtune.models import builtin
from medtune.models.sources import describe_builtin_model, list_cached_models, resolve_model

SAMPLE = Question(
    id="sample",
    stem="Which vitamin prevents scurvy?",
    options=("Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin D"),
    answer=2,
)


def list_models() -> ModelList:
    """List the embedded model and the models in the Hub cache."""
    return ModelList(
        cache=str(builtin.cache_folder()), models=(describe_builtin_model(), *list_cached_models())
    )


def describe_model(name: str, progress: Progress) -> ModelInfo:
    """Load a model and return a description of it.

    Raises:
        ModelError: The model cannot be found or used.
    """
    source = resolve_model(name, progress)
    if source.folder is None:
        return ModelInfo(
            name=name, state="ready", folder=None, size_bytes=None, note="a fake, without weights"
        )
    from medtune.models.local.local_model import LocalModel

    model = LocalModel.load(source)
    tokenizer = model.encoder.tokenizer
    config = model.network.config
    return ModelInfo(
        name=name,
        state="ready",
        folder=str(source.folder),
        size_bytes=measure_folder_size(source.folder),
        fingerprint=source.fingerprint,
        architecture=type(model.network).__name__,
        parameters=model.describe().parameters,
        layers=getattr(config, "num_hidden_layers", None),
        vocabulary=getattr(config, "vocab_size", None),
        end_token=f"{tokenizer.decode([model.encoder.end])} ({model.encoder.end})",
        pad_token=f"{tokenizer.decode([model.encoder.pad])} ({model.encoder.pad})",
        sample_prompt=model.render(PromptStyle().build_messages(SAMPLE, "letter")),
    )


def measure_folder_size(folder: Path) -> int:
    """Return the size of a folder's files, in bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
