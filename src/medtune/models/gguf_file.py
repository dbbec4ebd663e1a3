"""Read a GGUF file as people have it: `path:FILE.gguf`.

llama.cpp runs the file as it is (`models.remote.llama_cpp`).  transformers reads it as well: its
weights are dequantized once, into a folder in transformers' format, which is then used like any
other model.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from medtune.core.errors import UnknownModelError
from medtune.core.progress import NoProgress, Progress
from medtune.core.run_folder import replace_folder, translate_disk_errors
from medtune.hub.progress_bars import restore_progress_bars
from medtune.models.weights_card import hash_file_cached

MAGIC = b"GGUF"
VERSIONS = (2, 3)
PATH_PREFIX = "path:"
_SPLIT = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
_DAMAGE = (ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError, struct.error)
"""What reading a damaged file raises."""


@dataclass(frozen=True, slots=True)
class GgufFile:
    """The header of a GGUF file."""

    path: Path
    fingerprint: str
    """sha256 of the file."""
    architecture: str
    parameters: int
    scheme: str
    """Type of most of its weights, such as gguf-q4_k_m."""


def find_gguf_path(name: str) -> Path | None:
    """Return the path of a model name `path:FILE.gguf`; None for any other name."""
    path = Path(name.removeprefix(PATH_PREFIX))
    return path if name.startswith(PATH_PREFIX) and path.suffix == ".gguf" else None


def has_llama_cpp() -> bool:
    """Return whether llama.cpp is installed here."""
    return importlib.util.find_spec("xllamacpp") is not None


def read_gguf(path: Path) -> GgufFile:
    """Read the header of a GGUF file, and check that the file is whole.

    Raises:
        UnknownModelError: The file is missing, is no GGUF, is damaged or cut short, is one part of
            several, or holds no language model.
    """
    import gguf

    _check_magic(path)
    if parts := _SPLIT.search(path.name):
        raise _split_error(path, int(parts[1]))
    try:
        reader = gguf.GGUFReader(path)
        count = _field(reader, "split.count") or 1
        architecture, tokenizer = (
            _field(reader, key) for key in ("general.architecture", "tokenizer.ggml.model")
        )
        kind = _field(reader, "general.type") or "model"
        number = _field(reader, "general.file_type")
        parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
    except _DAMAGE as error:
        raise UnknownModelError(
            f"path:{path} is damaged or cut short: it has {path.stat().st_size:,} bytes",
            expected="a whole GGUF file",
            fix="fetch the file again, and compare its size and sha256 with those of its page",
        ) from error
    if count > 1:
        raise _split_error(path, count)
    if kind != "model" or not architecture or not tokenizer or not parameters:
        raise UnknownModelError(
            f"path:{path} holds no language model: its type is {kind}, its architecture "
            f"{architecture or 'unknown'}, its tokenizer {tokenizer or 'missing'}",
            expected="a GGUF file with the weights and the tokenizer of a whole model",
            fix="adapters and image projectors (mmproj) are no models: name the model's own file",
        )
    return GgufFile(path, hash_file_cached(path), architecture, parameters, _scheme(number))


def load_gguf_tokenizer(path: Path) -> Any:
    """Load the tokenizer and the chat template of a GGUF file.

    Raises:
        UnknownModelError: transformers does not know the tokenizer.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(path.parent), **_where(path))
    except (OSError, *_DAMAGE, NotImplementedError) as error:
        raise _unread_error(path, "tokenizer", error) from error


def convert_gguf(file: GgufFile, target: Path, progress: Progress | None = None) -> Path:
    """Dequantize a GGUF file into a folder in transformers' format, unless it is there.

    Raises:
        UnknownModelError: transformers does not know the architecture or the tokenizer.
        FolderError: The folder cannot be written.
    """
    size = 4 * file.parameters / 1e9

    def write(staging: Path) -> None:
        try:
            write_converted(file.path, staging, file.path.stem)
        except (OSError, *_DAMAGE, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise _unread_error(file.path, "model", error) from error

    message = f"reading path:{file.path} with transformers, once: float32, {size:,.1f} GB, {target}"
    return convert_once(target, write, message, progress)


def convert_once(
    target: Path, write: Callable[[Path], None], message: str, progress: Progress | None = None
) -> Path:
    """Write a folder of the cache unless it exists; return it.

    The folder is created atomically: a second process waits for the first, and a killed
    conversion leaves no partial model.

    Raises:
        FolderError: The cache cannot be written.
    """
    if target.is_dir():
        return target
    with translate_disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.is_dir():
                return target
            for left in target.parent.glob(f".{target.name}.*/"):
                shutil.rmtree(left)  # left by a killed conversion; this process holds the lock
            (progress or NoProgress()).log_message(message)
            with replace_folder(target) as staging:
                write(staging)
    return target


@restore_progress_bars()
def write_converted(source: Path, folder: Path, name: str) -> None:
    """Dequantize to fp32 safetensors, which represent every quantized type exactly."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(str(source.parent), **_where(source))
    loaded = AutoModelForCausalLM.from_pretrained(
        str(source.parent), dtype=torch.float32, **_where(source)
    )
    # transformers marks a model loaded this way as quantized and refuses to save it: its
    # weights are copied into a fresh one.
    settings = {k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
    settings["_name_or_path"] = name
    fresh = type(loaded)(type(loaded.config).from_dict(settings))
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _where(path: Path) -> dict[str, Any]:
    return {"gguf_file": path.name, "local_files_only": True}


def _check_magic(path: Path) -> None:
    if not path.is_file():
        raise UnknownModelError(f"path:{path} is no file", expected="a GGUF file")
    with path.open("rb") as handle:
        head = handle.read(24)
    if head[:4] != MAGIC:
        raise UnknownModelError(
            f"path:{path} is no GGUF file: it begins with {head!r}",
            expected=f"a file that begins with {MAGIC!r}",
            fix="fetch the large file itself: git lfs pull, or hf download"
            if head.startswith(b"version https://git-lfs")
            else "fetch the file again, or name the folder of a model in transformers' format",
        )
    if (version := int.from_bytes(head[4:8], "little")) not in VERSIONS:
        raise UnknownModelError(
            f"path:{path} is a GGUF file of version {version}",
            expected=f"version {' or '.join(map(str, VERSIONS))}, little-endian",
            fix="fetch a newer file, or convert the model again with llama.cpp's own script",
        )


def _field(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    return None if field is None else field.contents()


def _scheme(number: int | None) -> str:
    import gguf

    if number not in set(gguf.LlamaFileType):
        return "gguf"
    name = gguf.LlamaFileType(number).name.lower()
    return f"gguf-{name.removeprefix('mostly_').removeprefix('all_')}"


def _split_error(path: Path, count: int) -> UnknownModelError:
    return UnknownModelError(
        f"path:{path} is one of {count} parts of a model",
        expected="the whole model in one file",
        fix=f"join them: llama-gguf-split --merge FIRST-00001-of-{count:05}.gguf WHOLE.gguf",
    )


def _unread_error(path: Path, what: str, error: BaseException) -> UnknownModelError:
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    lines = str(error).splitlines() or [type(error).__name__]
    return UnknownModelError(
        f"path:{path}: transformers cannot read its {what}: {lines[0]}",
        expected=f"one of the architectures {', '.join(sorted(GGUF_SUPPORTED_ARCHITECTURES))}",
        fix="start llama.cpp's own server, llama-server -m FILE, and name it "
        "remote:http://localhost:8080/v1",
    )
