"""Paths as people write them: ~ is the user's home."""

from __future__ import annotations

import os
import re
from pathlib import Path


def expand_home(text: str) -> str:
    """Return a path with the user's home in place of ~, also after a kind: `path:~/model`."""
    home = os.path.expanduser("~")  # noqa: PTH111 - Path's fails for a user without a home
    return re.sub(r"^([a-z]+:)?~(?=/|$)", lambda found: (found[1] or "") + home, text)


def as_path(path: str | Path) -> Path:
    """Return a path that a user has given, with the user's home in place of ~."""
    return Path(expand_home(str(path)))


def as_optional_path(path: str | Path | None) -> Path | None:
    """Return a path as `as_path` does; None stays."""
    return None if path is None else as_path(path)
