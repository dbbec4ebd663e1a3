"""Quantize tensors to llama.cpp's K-quants, by llama.cpp's own functions.

The `gguf` package reads K-quants and cannot write them; the library in xllamacpp's wheel exports
the function of llama.cpp that does.  Which tensor gets which type, and what takes its place where
rows are no multiple of 256 wide, is as in llama.cpp's `llama-quantize`.
"""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medtune.core.errors import ModelError
from medtune.core.schemas.compression import Scheme

K_SCHEMES: tuple[Scheme, ...] = ("gguf-q4_k_m", "gguf-q5_k_m", "gguf-q6_k")
"""Schemes whose tensors are mostly K-quants."""
FALLBACKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
"""Types with blocks of 32, for rows that are no multiple of a K-quant's 256 wide."""
_SENSITIVE = re.compile(r"blk\.(\d+)\.(?:attn_v|ffn_down)\.weight")
"""Tensors of which the medium mixes keep some in 6 bits."""


def choose_type(scheme: Scheme, tensor: str, width: int, layers: int, tied: bool) -> Any:
    """Return the GGML type of a tensor.

    Args:
        scheme: One of `K_SCHEMES`.
        tensor: Its name in the file, such as blk.0.ffn_down.weight.
        width: Length of its rows.
        layers: Layers of the model.
        tied: Whether the embedding is the output's matrix, too.
    """
    import gguf

    name = scheme.removeprefix("gguf-").removesuffix("_m").upper()
    match = _SENSITIVE.fullmatch(tensor)
    if tensor == ("token_embd.weight" if tied else "output.weight") or (
        match is not None and _keeps_more_bits(int(match[1]), layers)
    ):
        name = "Q6_K"
    if width % gguf.QK_K:
        name = FALLBACKS[name]
    return gguf.GGMLQuantizationType[name]


def _keeps_more_bits(layer: int, layers: int) -> bool:
    """Return whether a layer is of the first or last eighth, or every third between them."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def quantize_rows(rows: NDArray[np.float32], kind: Any) -> NDArray[np.uint8]:
    """Quantize a matrix, `[row, column]`, to `[row, byte]`.

    Raises:
        ModelError: xllamacpp is not installed, or is a build without the function.
    """
    import gguf

    block, size = gguf.GGML_QUANT_SIZES[kind]
    count, width = rows.shape
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    packed = np.empty((count, width // block * size), np.uint8)
    quantize = _load_quantizer()
    written = quantize(kind.value, rows.ctypes.data, packed.ctypes.data, 0, count, width, None)
    assert written == packed.nbytes, f"{written} bytes of {packed.nbytes}"
    return packed


@cache
def _load_quantizer() -> Any:
    """Load `ggml_quantize_chunk(type, from, to, first, rows, width, importance)`."""
    fix = (
        "pip install 'medtune[llama]'; or write --scheme merge, convert that folder by llama.cpp's "
        "convert_hf_to_gguf.py, and run llama-quantize"
    )
    try:
        from xllamacpp import xllamacpp
    except ImportError as error:
        raise ModelError(
            "K-quants are made by llama.cpp, which is not installed", fix=fix
        ) from error
    try:
        quantize = ctypes.CDLL(xllamacpp.__file__).ggml_quantize_chunk
    except (AttributeError, OSError) as error:
        raise ModelError(
            f"{xllamacpp.__file__} does not offer llama.cpp's quantizer", fix=fix
        ) from error
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    quantize.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    quantize.restype = ctypes.c_size_t
    return quantize
