"""Weights and their card, written together."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from medtune.core.folder import replacing, write_record
from medtune.models.card import CARD, Card, file_hash


def save_with_card(folder: Path, card: Card, write: Callable[[Path], object]) -> Card:
    """Write a folder whole or not at all, in place of an older one.

    Args:
        folder: Where to.
        card: Of the weights; their hash is filled in.
        write: Writes everything but the card into a folder that is there.

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
        staging.chmod(0o755)
        for file in staging.iterdir():  # safetensors writes for the owner alone
            if file.is_file():
                file.chmod(0o644)
        written = card.model_copy(update={"weights_hash": file_hash(staging / card.file)})
        write_record(staging / CARD, written)
    return written
