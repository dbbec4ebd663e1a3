from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medtune.models.light.int_layers import (
    MAX_EXACT_COLUMNS,
    SECOND_TERM_STEPS,
    Int8Embedding,
    Int8Linear,
    quantize_int8,
    quantize_int8_two_terms,
)


def matrix(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_eight_rounds_each_row_by_its_own_largest_value() -> None:
    weight, scale = quantize_int8(torch.tensor([[127.0, -63.5, 1.0], [0.1, 0.05, -0.1]]))
    assert scale.tolist() == pytest.approx([1.0, 0.1 / 127])
    # 63.5 lies between two; torch rounds it to the even one.
    assert weight.tolist() == [[127, -64, 1], [127, 64, -127]]


def test_a_row_of_zeros_stays_zero() -> None:
    weight, scale = quantize_int8(torch.zeros(2, 4))
    assert weight.tolist() == [[0] * 4] * 2
    assert torch.isfinite(scale).all()
    assert Int8Linear(weight, scale)(torch.zeros(3, 4)).tolist() == [[0.0, 0.0]] * 3


def test_whole_numbers_pass_exactly() -> None:
    x = torch.tensor([[127.0, 3.0, -5.0], [2.0, -127.0, 0.0]])
    weight = torch.tensor([[127.0, 0.0, 1.0], [1.0, 127.0, -2.0]])
    found = Int8Linear(*quantize_int8(weight))(x)
    assert torch.allclose(found, x @ weight.T, rtol=1e-6)


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(0, 1000))
def test_int8_is_near_the_product(rows: int, seed: int) -> None:
    x, weight, bias = matrix(rows, 64, seed=seed), matrix(48, 64, seed=seed + 1), matrix(48)
    rounded = quantize_int8(weight)
    right = nn.functional.linear(x, weight, bias)
    only_weights = nn.functional.linear(x, rounded[0].float() * rounded[1].unsqueeze(1), bias)
    fine, coarse = (Int8Linear(*rounded, bias, coarse=coarse)(x) for coarse in (False, True))
    size = (right - bias).norm()
    # Of a token's two terms the second leaves out a 127 * 64 * 2nd of its largest value.
    assert (fine - only_weights).norm() < 3e-4 * size
    assert 10 * (fine - only_weights).norm() < (coarse - only_weights).norm() < 0.02 * size
    assert (fine - right).norm() < 0.012 * size


def test_a_row_does_not_depend_on_the_others() -> None:
    layer = Int8Linear(*quantize_int8(matrix(16, 32)))
    x = matrix(5, 32, seed=1)
    loud = x.clone()
    loud[1:] *= 1000
    assert torch.equal(layer(x)[0], layer(loud)[0])
    assert torch.equal(layer(x)[0], layer(x[:1])[0])


def test_shape_and_precision_are_those_of_the_input() -> None:
    layer = Int8Linear(*quantize_int8(matrix(16, 32)))
    x = matrix(2, 3, 32).bfloat16()
    assert layer(x).shape == (2, 3, 16)
    assert layer(x).dtype == torch.bfloat16


def test_an_embedding_gives_its_rows_back() -> None:
    table = matrix(10, 8)
    found = Int8Embedding(*quantize_int8(table), torch.float32)(torch.tensor([[3, 0], [9, 3]]))
    assert found.shape == (2, 2, 8)
    assert torch.allclose(found, table[torch.tensor([[3, 0], [9, 3]])], atol=0.02)


@pytest.mark.parametrize(
    "columns", [MAX_EXACT_COLUMNS, MAX_EXACT_COLUMNS + 1, 4 * MAX_EXACT_COLUMNS]
)
def test_the_largest_sums_do_not_overflow(columns: int) -> None:
    x, weight = torch.ones(1, columns), torch.ones(2, columns)
    x[0, 0] = 127.0  # so that the others are whole steps, none of them small
    x[0, 1:] = 126.6
    found = Int8Linear(*quantize_int8(weight))(x)
    assert torch.allclose(found, x @ weight.T, rtol=1e-3)


def test_two_terms_of_weights_and_tokens_are_nearly_the_product() -> None:
    x, weight, bias = matrix(5, 64), matrix(48, 64, seed=1), matrix(48)
    whole, scale, rest = quantize_int8_two_terms(weight)
    assert rest.abs().max() <= SECOND_TERM_STEPS // 2
    right = nn.functional.linear(x, weight, bias)
    found = Int8Linear(whole, scale, bias, rest)(x)
    assert (found - right).norm() < 3e-4 * (right - bias).norm()
    table = Int8Embedding(whole, scale, torch.float32, rest)
    assert torch.allclose(table(torch.arange(48)), weight, atol=5e-4)
