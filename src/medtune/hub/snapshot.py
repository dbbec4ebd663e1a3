"""Fetch a model's files from the Hub into its cache."""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import UnknownModelError
from medtune.hub.hub_errors import HubRepository, translate_hub_errors

MAX_LISTED_FILES = 10
"""Most files listed in an error message."""


def fetch_model(name: str, patterns: tuple[str, ...], weights: str | None, instead: str) -> Path:
    """Fetch a model, or find it in the cache; return the folder, which is named by its commit.

    Args:
        name: ORG/NAME[@REVISION].
        patterns: Patterns of the files of settings and tokenizer.
        weights: Pattern of the files of weights; None leaves them out.
        instead: What can be used when the Hub is out of reach, for messages.

    Raises:
        UnknownModelError: The name is invalid, the Hub has no such model or revision, or it has
            no files in transformers' format.
        HubError: The Hub cannot be reached, or refuses.
        FolderError: The cache cannot be written.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    repository_id, _, revision = name.partition("@")
    repository = HubRepository("model", repository_id, revision or None, instead)
    wanted = [*patterns, *([weights] if weights else [])]
    try:
        with translate_hub_errors(repository):
            folder = Path(
                snapshot_download(repository_id, revision=revision or None, allow_patterns=wanted)
            )
    except HFValidationError as error:
        raise UnknownModelError(
            f"hub:{name} is no Hub name: {error}", expected="hub:ORG/NAME[@REVISION]"
        ) from error
    _check_files(repository, folder, weights)
    return folder


def _check_files(repository: HubRepository, folder: Path, weights: str | None) -> None:
    """Refuse a repository without a model in transformers' format; its files are listed."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    has_weights = weights is None or any(folder.glob(weights))
    if has_weights and (folder / "config.json").is_file():
        return
    try:
        files = [file.path for file in get_cached_repo_tree(repository.name, revision=folder.name)]
    except CachedRepoTreeNotFoundError:  # a cache of an older client, which keeps no listing
        return
    missing = weights if (folder / "config.json").is_file() else "config.json"
    more = len(files) - MAX_LISTED_FILES
    shown = ", ".join(files[:MAX_LISTED_FILES]) + (f" and {more} more" if more > 0 else "")
    gguf = next((file for file in files if file.endswith(".gguf")), None)
    raise UnknownModelError(
        f"{repository} has no {missing}, only {shown or 'no files'}",
        expected="a model in transformers' format: config.json, tokenizer, *.safetensors",
        fix=f"hf download {repository.name} {gguf} --local-dir DIR, then path:DIR/{gguf}"
        if gguf
        else "name another repository, or a revision that has them: hub:ORG/NAME@REVISION",
    )
