"""The endpoint's data folder: its SQLite database and its secret."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from medtune.core.errors import FolderError, InputError
from medtune.core.run_folder import translate_disk_errors

SECRET_VARIABLE = "MEDTUNE_SECRET"
"""Environment variable with the secret, for workers that share one."""
SECRET_FILE = "secret"
STORE_FILE = "medtune.db"
MIN_SECRET_LENGTH = 32
"""Least number of characters of a secret."""


def resolve_database_url(folder: Path, database: str | None) -> str:
    """Return the database URL: the given one, or SQLite in the folder, which is created.

    Raises:
        FolderError: The folder cannot be created.
    """
    if database is not None:
        return database
    with translate_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / STORE_FILE}"


def read_secret_variable(name: str) -> bytes:
    """Return the secret in an environment variable; empty if it is not set.

    Raises:
        InputError: It is too short.
    """
    given = os.environ.get(name, "")
    if given and len(given) < MIN_SECRET_LENGTH:
        raise InputError(
            f"{name} has {len(given)} characters", expected=f"at least {MIN_SECRET_LENGTH}"
        )
    return given.encode()


def load_secret(folder: Path) -> bytes:
    """Read the secret from its variable, or from a file that only its owner can read.

    Raises:
        InputError: The variable is too short.
        FolderError: The file cannot be read or written.
    """
    if given := read_secret_variable(SECRET_VARIABLE):
        return given
    path = folder / SECRET_FILE
    with translate_disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(made, "w") as file:
                file.write(secrets.token_urlsafe(32))
        secret = path.read_bytes().strip()
    if len(secret) < MIN_SECRET_LENGTH:
        raise FolderError(
            f"{path} contains no secret", fix="delete it: a new one is created, and sessions end"
        )
    return secret
