"""One door for every model name: a name becomes a local folder and the identity of its weights.

`embedded:smollm2-135m` · `hub:ORG/NAME[@REVISION]` · `path:DIR` · `fake:KIND`.  A model behind a
server, `remote:URL#MODEL`, has no folder here; it is opened by `models.open_model` alone.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import HubError, ModelError, UnknownModelError
from medtune.core.progress import Progress
from medtune.core.records import ModelInfo
from medtune.models import builtin
from medtune.models.weights_card import CARD, parted

FAKES = ("oracle", "constant", "biased", "noisy")
EXPECTED = (
    f"embedded:{builtin.NAME}, hub:ORG/NAME[@REVISION], path:DIR, adapter:DIR, "
    f"remote:URL#MODEL, fake:{'|'.join(FAKES)}, or the folder of a run that has trained"
)
SETTINGS = ("*.json", "*.jinja", "*.model", "*.txt")
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A resolved model name."""

    name: str
    """As given."""
    kind: str
    """embedded, hub, path or fake."""
    folder: Path | None
    """Where its files are; None for a fake."""
    fingerprint: str
    """Identity of the weights; see `ModelDescription.fingerprint`."""


def resolve(name: str, progress: Progress | None = None, weights: bool = True) -> ModelSource:
    """Find a model, fetching or converting it if need be.

    Args:
        name: Of the model.
        progress: Where a long conversion is announced.
        weights: Off, the Hub is asked for its settings and tokenizer alone.

    Raises:
        UnknownModelError: Nothing goes by that name.
        ModelError: It is behind a server: there is nothing to load or to train.
        HubError: The Hub cannot be reached and the model is not in its cache.
    """
    kind, colon, rest = name.partition(":")
    if kind == "fake" and rest in FAKES:
        return ModelSource(name, kind, None, name)
    if kind == "embedded" and rest == builtin.NAME:
        return ModelSource(name, kind, builtin.prepare(progress), builtin.SHA256)
    if kind == "path" and rest:
        return ModelSource(name, kind, Path(rest), _folder_fingerprint(Path(rest)))
    if kind == "hub" and rest:
        folder = _fetch(rest, weights)
        # The Hub's cache names a snapshot's folder by its commit.
        return ModelSource(name, kind, folder, folder.name)
    if kind == "remote":
        raise ModelError(
            f"{name} is behind a server: it can be examined, but not loaded here",
            expected="a model with files on this machine",
        )
    absent = "/" in name and not colon and not Path(name).exists()
    found = f"{name!r} names no model" + (": there is no such folder" if absent else "")
    raise UnknownModelError(found, expected=EXPECTED)


def hub_name(name: str, fingerprint: str) -> tuple[str, str | None] | None:
    """Name a model as the Hub does, and its commit; None where the Hub has no such model.

    The embedded model is named by what it was rounded from.
    """
    kind, _, rest = name.partition(":")
    if kind == "hub":
        return rest.partition("@")[0], fingerprint
    return (builtin.HUB, None) if name == f"embedded:{builtin.NAME}" else None


def _fetch(rest: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, _, revision = rest.partition("@")
    try:
        return Path(
            snapshot_download(
                repository,
                revision=revision or None,
                allow_patterns=[*SETTINGS, *(["*.safetensors"] if weights else [])],
            )
        )
    except HFValidationError as error:
        raise UnknownModelError(
            f"hub:{rest} is no Hub name: {error}", expected="hub:ORG/NAME[@REVISION]"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UnknownModelError(
            f"the Hub has no {repository}" + (f" at revision {revision}" if revision else ""),
            fix="check the name; a gated model needs `hf auth login`",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, ConnectionError, OSError) as error:
        why = "HF_HUB_OFFLINE is set" if hub_offline() else "the Hub cannot be reached"
        raise HubError(
            f"hub:{rest}: {why} and the model is not in the local cache",
            fix=f"go online once, or use embedded:{builtin.NAME} or path:DIR",
        ) from error


def hub_offline() -> bool:
    """Tell whether HF_HUB_OFFLINE forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def _folder_fingerprint(folder: Path) -> str:
    """Identify a local model: config, tokenizer, and each weight file's size and both ends.

    Whole files would take longer to hash than to load; a mebibyte at either end of a
    safetensors file holds its index and its last tensors.

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
    for path in sorted(file for pattern in SETTINGS for file in folder.glob(pattern)):
        if path.name == CARD:  # says what is known of the weights, not what they are
            continue
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    for path in sorted(file for pattern in WEIGHTS for file in folder.glob(pattern)):
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as handle:
            digest.update(handle.read(1 << 20))
            handle.seek(max(0, size - (1 << 20)))
            digest.update(handle.read(1 << 20))
    return digest.hexdigest()


def weights_on_disk(name: str) -> int | None:
    """Add up the weight files of a model, its base's and its adapter's; None where it has none."""
    if name.startswith(("remote:", "fake:")):
        return None
    base, adapter = parted(name)
    places = [place for place in (resolve(base).folder, adapter) if place is not None]
    files = [file for place in places for pattern in WEIGHTS for file in place.glob(pattern)]
    return sum(file.stat().st_size for file in files) or None


def embedded_state() -> ModelInfo:
    """Say whether the embedded model is installed and converted."""
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


def cached_models() -> list[ModelInfo]:
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
