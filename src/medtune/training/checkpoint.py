"""Save and load training checkpoints: one file each, written atomically, the last two kept."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from medtune.core.run_folder import write_atomic

KEPT_CHECKPOINTS = 2


def save_checkpoint(folder: Path, step: int, inputs: str, state: dict[str, Any]) -> None:
    """Save a checkpoint as `step-NNNNNN-INPUTS.pt` and delete all but the newest two.

    Checkpoints of a training with other inputs stay.

    Raises:
        FolderError: The folder cannot be written; older checkpoints stay.
    """
    content, name = {**state, "step": step, "inputs": inputs}, inputs[:8]
    write_atomic(folder / f"step-{step:06d}-{name}.pt", lambda handle: torch.save(content, handle))
    for old in sorted(folder.glob(f"step-*-{name}.pt"))[:-KEPT_CHECKPOINTS]:
        old.unlink()


def has_checkpoints(folder: Path) -> bool:
    """Return whether a folder holds checkpoints, of whatever training."""
    return any(folder.glob("step-*.pt"))


def load_newest_checkpoint(folder: Path, inputs: str) -> dict[str, Any] | None:
    """Load the newest checkpoint with these inputs; None if there is none."""
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        *_, named = path.stem.split("-", 2)
        if not inputs.startswith(named) and not named.isdecimal():
            continue  # of another training; up to version 0.2 names did not say so
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            continue  # damaged after it was written; the previous one is used
        if content.get("inputs") == inputs:
            return content
    return None
