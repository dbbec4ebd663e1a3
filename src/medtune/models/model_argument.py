"""Resolve a MODEL as people name it: a run folder, a model's own files, a pattern, a ~."""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import InputError
from medtune.core.run_folder import as_path, expand_home

TRAINED_FOLDERS = (("adapter", "adapter"), ("path", "model"))
"""Kind of name and subfolder of the weights that a run can train."""


def resolve_model_argument(given: str | Path) -> str:
    """Resolve a MODEL: a run folder to its weights, a model's own files, a pattern to its match.

    A name that is resolved already is returned as it is.

    Raises:
        InputError: A pattern matches nothing, or more than one.
    """
    text = expand_home(str(given))
    kind, colon, place = text.partition(":")
    if colon and kind not in ("adapter", "path"):
        return text
    found = _expand_pattern(Path(place if colon else text))
    if colon:
        return f"{kind}:{_find_weights(found) if kind == 'adapter' else found}"
    for kind, name in TRAINED_FOLDERS:
        if (found / name).is_dir():
            return f"{kind}:{found / name}"
    if (found / "adapter_config.json").is_file():
        return f"adapter:{found}"
    is_model = (found / "config.json").is_file() or (found.suffix == ".gguf" and found.is_file())
    return f"path:{found}" if is_model else text


def find_run(given: str | Path) -> Path | None:
    """Return the run folder that a MODEL names; None for any other model.

    Raises:
        InputError: A pattern matches nothing, or more than one.
    """
    text = expand_home(str(given))
    if ":" in text:
        return None
    run = _expand_pattern(Path(text))
    return run if any((run / name).is_dir() for _, name in TRAINED_FOLDERS) else None


def resolve_adapter_argument(given: str | Path | None) -> Path | None:
    """Resolve the folder of an adapter: a run folder to its adapter, a pattern to its only match.

    Raises:
        InputError: A pattern matches nothing, or more than one.
    """
    return None if given is None else _find_weights(_expand_pattern(as_path(given)))


def _find_weights(folder: Path) -> Path:
    return folder / "adapter" if (folder / "adapter").is_dir() else folder


def _expand_pattern(path: Path) -> Path:
    """Return the only match of a pattern; a plain path is returned unchanged."""
    if not any(mark in str(path) for mark in "*?[") or path.exists():
        return path
    found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{path} matches {len(found) or 'no'} folder{'s' if len(found) != 1 else ''}"
        + "".join(f"\n  {name}" for name in found[:10]),
        expected="a pattern that matches exactly one",
        fix="name one of them" if found else "list what is there: ls runs",
    )
