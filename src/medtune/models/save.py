"""Weights and their card, written together."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from medtune.core.run_folder import replacing, write_record, write_text
from medtune.models.weights_card import CARD, TRAINED_ON, WeightsCard, file_hash


def save_with_card(
    folder: Path,
    card: WeightsCard,
    write: Callable[[Path], object],
    hashes: Sequence[str] | None = None,
) -> WeightsCard:
    """Write a folder whole or not at all, in place of an older one.

    Args:
        folder: Where to.
        card: Of the weights; their hash is filled in.
        write: Writes everything but the card into a folder that is there.
        hashes: Of the questions that the weights were trained on; None where unknown.

    Raises:
        FolderError: The folder cannot be written; an older one stays as it was.
    """
    with replacing(folder) as staging:
        try:
            write(staging)
        except Exception as error:
            # Libraries in Rust tell of a full disk in their own way: safetensors by an error of its
            # own, tokenizers by a bare Exception.
            if code := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            raise
        listed = None
        if hashes is not None:
            lines = "".join(f"{one}\n" for one in hashes).encode()
            (staging / TRAINED_ON).write_bytes(lines)
            listed = hashlib.sha256(lines).hexdigest()
        staging.chmod(0o755)
        for file in staging.iterdir():  # safetensors writes for the owner alone
            if file.is_file():
                file.chmod(0o644)
        found = {"weights_hash": file_hash(staging / card.file), "trained_on": listed}
        written = card.model_copy(update=found)
        write_record(staging / CARD, written)
    return written


def name_base(config: Path, name: str, revision: str | None) -> None:
    """Let an adapter's configuration name its base as others find it, by name and commit."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings |= {"base_model_name_or_path": name, "revision": revision}
    write_text(config, json.dumps(settings, indent=2, sort_keys=True) + "\n")
