"""Checkpoints: one file each, written whole, the last two kept."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from medtune.core.run_folder import write_atomic

KEEP = 2


def save(folder: Path, step: int, inputs: str, state: dict[str, Any]) -> None:
    """Write `step-NNNNNN.pt` and drop all but the newest.

    Raises:
        FolderError: The folder cannot be written; older checkpoints stay.
    """
    content = {**state, "step": step, "inputs": inputs}
    write_atomic(folder / f"step-{step:06d}.pt", lambda handle: torch.save(content, handle))
    for old in sorted(folder.glob("step-*.pt"))[:-KEEP]:
        old.unlink()


def newest(folder: Path, inputs: str) -> dict[str, Any] | None:
    """Read the newest checkpoint that was made from these inputs; None where there is none."""
    for path in sorted(folder.glob("step-*.pt"), reverse=True):
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError):
            continue  # damaged after it was written; the one before it still holds
        if content.get("inputs") == inputs:
            return content
    return None
