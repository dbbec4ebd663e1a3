"""What an endpoint keeps in its folder: the store, unless a database is named, and the secret."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from medtune.core.errors import FolderError, InputError
from medtune.core.run_folder import disk_errors

SECRET = "MEDTUNE_SECRET"
"""Variable that holds the secret where several workers share it."""
SECRET_FILE = "secret"
STORE_FILE = "medtune.db"
SHORTEST = 32
"""Characters of a secret."""


def url_in(folder: Path, database: str | None) -> str:
    """Name the database: the one that is given, or SQLite in the folder, which is made.

    Raises:
        FolderError: The folder cannot be made.
    """
    if database is not None:
        return database
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / STORE_FILE}"


def secret_in(folder: Path) -> bytes:
    """Read the secret from its variable, or from a file that nobody else may read.

    Raises:
        InputError: The variable is too short.
        FolderError: The file cannot be read or written.
    """
    if given := os.environ.get(SECRET):
        if len(given) < SHORTEST:
            raise InputError(
                f"{SECRET} has {len(given)} characters", expected=f"at least {SHORTEST}"
            )
        return given.encode()
    path = folder / SECRET_FILE
    with disk_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(made, "w") as file:
                file.write(secrets.token_urlsafe(32))
        secret = path.read_bytes().strip()
    if len(secret) < SHORTEST:
        raise FolderError(
            f"{path} holds no secret", fix="delete it: a new one is made, and sessions end"
        )
    return secret
