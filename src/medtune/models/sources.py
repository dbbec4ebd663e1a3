"""Resolve a model name to a local folder and the fingerprint of its weights.

`embedded:smollm2-135m` · `hub:ORG/NAME[@REVISION]` · `path:DIR` · `path:FILE.gguf` · `fake:KIND`.
A model on a server, `remote:URL#MODEL`, has no folder; only `models.open_model` opens it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import ModelError, UnknownModelError, did_you_mean
from medtune.core.model_names import MIX_PREFIX, SEARCH_PREFIX, is_search_model
from medtune.core.progress import Progress
from medtune.core.records import ModelInfo
from medtune.hub.snapshot import fetch_model
from medtune.models import builtin
from medtune.models.gguf_file import GgufFile, convert_gguf, find_gguf_path, read_gguf
from medtune.models.weights_card import CARD_FILE, split_adapter

FAKE_KINDS = ("oracle", "constant", "biased", "noisy")
NAMED_MODELS = (f"embedded:{builtin.NAME}", *(f"fake:{kind}" for kind in FAKE_KINDS))
MODEL_KINDS = ("hub", "path", "adapter", "remote", "search", "mix")
"""Kinds of models that are named by a place."""
EXPECTED_MODEL_NAME = (
    f"embedded:{builtin.NAME}, hub:ORG/NAME[@REVISION], path:DIR, path:FILE.gguf, adapter:DIR, "
    f"remote:URL#MODEL, search:DIR, mix:DIR, fake:{'|'.join(FAKE_KINDS)}, or the folder of a run "
    "that has trained"
)
SETTINGS_PATTERNS = ("*.json", "*.jinja", "*.model", "*.txt")
WEIGHTS_PATTERNS = ("*.safetensors", "*.bin", "*.gguf")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A resolved model name."""

    name: str
    """As given."""
    kind: str
    """embedded, hub, path or fake."""
    folder: Path | None
    """Folder of its files; None for a fake."""
    fingerprint: str
    """Fingerprint of the weights; see `ModelDescription.fingerprint`."""


def resolve_model(name: str, progress: Progress | None = None, weights: bool = True) -> ModelSource:
    """Find a model by its name, downloading or converting it if needed.

    Args:
        name: Model name.
        progress: Reports a long conversion.
        weights: Whether to download the weights; else only settings and tokenizer.

    Raises:
        UnknownModelError: There is no such model.
        ModelError: The model is on a server or a search, and cannot be loaded or trained here.
        HubError: The Hub refuses, or cannot be reached and the model is not in its cache.
    """
    kind, colon, rest = name.partition(":")
    if kind == "fake" and rest in FAKE_KINDS:
        return ModelSource(name, kind, None, name)
    if kind == "embedded" and rest == builtin.NAME:
        return ModelSource(name, kind, builtin.convert_once(progress), builtin.SHA256)
    if (path := find_gguf_path(name)) is not None:
        file = read_gguf(path)
        return ModelSource(name, kind, _convert_gguf(file, progress), file.fingerprint)
    if kind == "path" and rest:
        return ModelSource(name, kind, Path(rest), _folder_fingerprint(Path(rest)))
    if kind == "hub" and rest:
        instead = f"use embedded:{builtin.NAME} or path:DIR"
        pattern = "*.safetensors" if weights else None
        folder = fetch_model(rest, SETTINGS_PATTERNS, pattern, instead)
        # In the Hub cache the folder of a snapshot is named by its commit.
        return ModelSource(name, kind, folder, folder.name)
    if kind in ("adapter", "remote", "search", "mix"):
        what = "is an adapter" if kind == "adapter" else "has no weights here"
        raise ModelError(
            f"{name} {what}: it can be evaluated, but not loaded here",
            expected="a model with whole weights on this machine",
        )
    absent = "/" in name and not colon and not Path(name).exists()
    found = f"{name!r} names no model" + (": there is no such folder" if absent else "")
    others = () if kind in ("embedded", "fake", *MODEL_KINDS) else MODEL_KINDS
    known = [*NAMED_MODELS, *(f"{prefix}:{rest}" for prefix in others)]
    if absent and Path(name).parent.is_dir():
        known += [str(folder) for folder in Path(name).parent.iterdir()]
    raise UnknownModelError(found + did_you_mean(name, known), expected=EXPECTED_MODEL_NAME)


def _convert_gguf(file: GgufFile, progress: Progress | None) -> Path:
    """Return the folder of a GGUF file's dequantized weights in medtune's cache."""
    target = builtin.cache_folder() / f"{file.path.stem}-{file.fingerprint[:12]}"
    if file.fingerprint == builtin.SHA256:
        target = builtin.converted_folder()
    return convert_gguf(file, target, progress)


def find_hub_name(name: str, fingerprint: str) -> tuple[str, str | None] | None:
    """Return the Hub name and commit of a model; None if it is not on the Hub.

    For the embedded model this is the unquantized original.
    """
    kind, _, rest = name.partition(":")
    if kind == "hub":
        return rest.partition("@")[0], fingerprint
    return (builtin.HUB, None) if name == f"embedded:{builtin.NAME}" else None


def _folder_fingerprint(folder: Path) -> str:
    """Hash a local model: config, tokenizer, and size and both ends of each weight file.

    Whole files would take longer to hash than to load; a mebibyte at either end of a
    safetensors file contains its index and its last tensors.

    Raises:
        UnknownModelError: The folder holds no model.
    """
    if not folder.is_dir() or not (folder / "config.json").is_file():
        what = "holds no config.json" if folder.is_dir() else "is no folder"
        raise UnknownModelError(
            f"path:{folder} {what}",
            expected="a folder in transformers' format: config.json, tokenizer, weights",
        )
    digest = hashlib.sha256()
    for path in sorted(file for pattern in SETTINGS_PATTERNS for file in folder.glob(pattern)):
        if path.name == CARD_FILE:  # describes the weights, but is not part of the model
            continue
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    for path in sorted(file for pattern in WEIGHTS_PATTERNS for file in folder.glob(pattern)):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as handle:
            digest.update(handle.read(1 << 20))
            handle.seek(max(0, size - (1 << 20)))
            digest.update(handle.read(1 << 20))
    return digest.hexdigest()


def measure_weights_size(name: str) -> int | None:
    """Return the size of a model's weight files, base and adapter; None if it has none."""
    if name.startswith(("remote:", "fake:")):
        return None
    if (path := find_gguf_path(name)) is not None:
        return path.stat().st_size
    if is_search_model(name):
        folder = Path(name.removeprefix(SEARCH_PREFIX))
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if name.startswith(MIX_PREFIX):
        from medtune.models.mixture import read_mixture

        names = [parent.name for parent in read_mixture(name).parents]
        return sum(measure_weights_size(name) or 0 for name in names if name is not None) or None
    base, adapter = split_adapter(name)
    places = [place for place in (resolve_model(base).folder, adapter) if place is not None]
    files = [
        file for place in places for pattern in WEIGHTS_PATTERNS for file in place.glob(pattern)
    ]
    return sum(file.stat().st_size for file in files) or None


def describe_builtin_model() -> ModelInfo:
    """Describe the embedded model: whether it is installed and converted, and where."""
    name = f"embedded:{builtin.NAME}"
    folder = builtin.converted_folder()
    if folder.is_dir():
        size = sum(path.stat().st_size for path in folder.iterdir())
        return ModelInfo(name=name, state="ready", folder=str(folder), size_bytes=size)
    if (file := builtin.find_gguf()) is not None:
        return ModelInfo(
            name=name,
            state="installed",
            folder=str(file),
            size_bytes=file.stat().st_size,
            note="converted on first use, about 20 s",
        )
    return ModelInfo(name=name, state="missing", folder=None, size_bytes=None, note=builtin.INSTALL)


def list_cached_models() -> list[ModelInfo]:
    """List the models in the Hub's cache."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return [
        ModelInfo(
            name=f"hub:{repository.repo_id}",
            state="ready",
            folder=str(repository.repo_path),
            size_bytes=repository.size_on_disk,
        )
        for repository in sorted(repositories, key=lambda r: str(r.repo_id))
        if repository.repo_type == "model"
    ]
