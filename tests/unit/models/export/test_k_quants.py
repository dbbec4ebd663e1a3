"""K-quants: which tensor gets which type, and that gguf reads what llama.cpp's function writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import gguf
import numpy as np
import pytest

from medtune.core.errors import ModelError
from medtune.core.schemas.compression import Scheme
from medtune.models.export import k_quants
from medtune.models.export.k_quants import choose_type, quantize_rows

Types: Any = gguf.GGMLQuantizationType


@pytest.mark.parametrize(
    ("kind", "error"),
    [("Q4_K", 0.09), ("Q5_K", 0.045), ("Q6_K", 0.025), ("Q8_0", 0.008), ("Q5_0", 0.06)],
)
@pytest.mark.parametrize("rows", [1, 5])
def test_what_is_written_is_read_by_gguf(kind: str, error: float, rows: int) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")
    data = np.random.default_rng(0).normal(size=(rows, 512)).astype(np.float32)
    packed = quantize_rows(data, Types[kind])
    block, size = gguf.GGML_QUANT_SIZES[Types[kind]]
    assert packed.shape == (rows, 512 // block * size)
    read = gguf.dequantize(packed, Types[kind])
    assert np.sqrt(np.mean((read - data) ** 2)) < error
    # Rows are packed apart from each other, and a layout that is not in rows is read rightly.
    assert np.array_equal(quantize_rows(data[:1], Types[kind]), packed[:1])
    assert np.array_equal(quantize_rows(np.asfortranarray(data), Types[kind]), packed)


def test_more_bits_are_less_error() -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")
    data = np.random.default_rng(1).normal(size=(8, 256)).astype(np.float32)
    errors = [
        np.abs(gguf.dequantize(quantize_rows(data, Types[kind]), Types[kind]) - data).mean()
        for kind in ("Q4_K", "Q5_K", "Q6_K", "Q8_0")
    ]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("scheme", "tensor", "width", "tied", "kind"),
    [
        ("gguf-q4_k_m", "blk.9.ffn_up.weight", 512, False, "Q4_K"),
        ("gguf-q5_k_m", "blk.9.ffn_up.weight", 512, False, "Q5_K"),
        ("gguf-q6_k", "blk.9.ffn_up.weight", 512, False, "Q6_K"),
        ("gguf-q4_k_m", "output.weight", 512, False, "Q6_K"),
        ("gguf-q4_k_m", "token_embd.weight", 512, True, "Q6_K"),
        ("gguf-q4_k_m", "token_embd.weight", 512, False, "Q4_K"),
        ("gguf-q4_k_m", "blk.0.attn_v.weight", 512, False, "Q6_K"),
        ("gguf-q4_k_m", "blk.5.attn_v.weight", 512, False, "Q6_K"),
        ("gguf-q4_k_m", "blk.4.attn_v.weight", 512, False, "Q4_K"),
        ("gguf-q4_k_m", "blk.23.ffn_down.weight", 512, False, "Q6_K"),
        ("gguf-q4_k_m", "blk.23.attn_output.weight", 512, False, "Q4_K"),
        ("gguf-q4_k_m", "blk.9.ffn_up.weight", 576, False, "Q5_0"),
        ("gguf-q5_k_m", "blk.9.ffn_up.weight", 576, False, "Q5_1"),
        ("gguf-q4_k_m", "blk.0.ffn_down.weight", 576, False, "Q8_0"),
    ],
)
def test_types_are_llama_quantizes(
    scheme: Scheme, tensor: str, width: int, tied: bool, kind: str
) -> None:
    assert choose_type(scheme, tensor, width, 24, tied) is Types[kind]


@pytest.fixture
def unloaded() -> Iterator[None]:
    k_quants._load_quantizer.cache_clear()
    yield
    k_quants._load_quantizer.cache_clear()


@pytest.mark.usefixtures("unloaded")
def test_a_wheel_that_is_missing_or_without_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")
    data = np.zeros((1, 256), np.float32)
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    with pytest.raises(ModelError, match="does not offer llama"):
        quantize_rows(data, Types.Q4_K)
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ModelError, match=r"not installed[\s\S]*medtune\[llama\]"):
        quantize_rows(data, Types.Q4_K)
