"""Save weights together with their card."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from medtune.core.run_folder import replace_folder, write_record, write_text
from medtune.models.weights_card import CARD_FILE, TRAINED_ON_FILE, WeightsCard, hash_file_cached


def save_with_card(
    folder: Path,
    card: WeightsCard,
    write: Callable[[Path], object],
    hashes: Sequence[str] | None = None,
) -> WeightsCard:
    """Save weights and card to a folder atomically, replacing an older one.

    Args:
        folder: Folder to write.
        card: Card of the weights; their hash is filled in.
        write: Writes everything but the card into an existing folder.
        hashes: Hashes of the training questions; None if unknown.

    Raises:
        FolderError: The folder cannot be written; an older one stays as it was.
    """
    with replace_folder(folder) as staging:
        try:
            write(staging)
        except Exception as error:
            # Rust libraries report a full disk by other errors: safetensors by its own, tokenizers
            # by a bare Exception.
            if code := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
            raise
        listed = None
        if hashes is not None:
            lines = "".join(f"{one}\n" for one in hashes).encode()
            (staging / TRAINED_ON_FILE).write_bytes(lines)
            listed = hashlib.sha256(lines).hexdigest()
        staging.chmod(0o755)
        for file in staging.iterdir():  # safetensors makes files readable by the owner only
            if file.is_file():
                file.chmod(0o644)
        found = {
            "weights_hash": hash_file_cached(staging / card.weights_file),
            "trained_on": listed,
        }
        written = card.model_copy(update=found)
        write_record(staging / CARD_FILE, written)
    return written


def set_base_name(config: Path, name: str, revision: str | None) -> None:
    """Set the Hub name and commit of the base model in an adapter's configuration."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings |= {"base_model_name_or_path": name, "revision": revision}
    write_text(config, json.dumps(settings, indent=2, sort_keys=True) + "\n")
