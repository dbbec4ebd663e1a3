"""What a recorder of matrix products counts, and how products are timed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medtune.models.matrix_products import Operand, ProductRecorder, time_products

CPU = torch.device("cpu")


def test_forward_and_backward_are_counted() -> None:
    layer, rows = nn.Linear(6, 4), torch.randn(5, 6, requires_grad=True)
    with ProductRecorder() as recorder:
        layer(rows).sum().backward()
    gflop, products = time_products(recorder.calls, CPU)
    # Forward, gradient of the weights, gradient of the rows.
    assert gflop == pytest.approx(3 * 2 * 5 * 6 * 4 / 1e9)
    shapes = {(one.batch, one.rows, one.inner, one.columns) for one in products}
    assert (1, 5, 6, 4) in shapes
    assert sum(one.calls for one in products) == 3
    assert all(one.seconds > 0 and one.gflops > 0 for one in products)


@pytest.mark.parametrize("inference", [True, False])
def test_linear_is_counted_in_every_mode(inference: bool) -> None:
    layer = nn.Linear(8, 3).bfloat16()
    with torch.inference_mode(inference), ProductRecorder() as recorder:
        for _ in range(4):
            layer(torch.randn(2, 7, 8).bfloat16())
    _, [product] = time_products(recorder.calls, CPU)
    assert (product.rows, product.inner, product.columns) == (14, 8, 3)
    assert (product.calls, product.dtype) == (4, "bfloat16")


def test_batched_products_and_layouts() -> None:
    left, right = torch.randn(3, 2, 5), torch.randn(1, 5, 4).expand(3, 5, 4)
    with ProductRecorder() as recorder:
        found = torch.bmm(left, right) + torch.bmm(left, right.contiguous())
    assert found.shape == (3, 2, 4)
    gflop, [product] = time_products(recorder.calls, CPU)
    assert len(recorder.calls) == 2  # two layouts of one shape
    assert gflop == pytest.approx(2 * 2 * 3 * 2 * 5 * 4 / 1e9)
    assert (product.batch, product.calls) == (3, 2)
    other = Operand.of(right).allocate(CPU)
    assert (other.shape, other.stride()) == (right.shape, right.stride())


def test_other_operators_are_not_counted() -> None:
    with ProductRecorder() as recorder:
        torch.softmax(torch.randn(3, 3), -1).exp().sum()
    assert not recorder.calls
    assert time_products(recorder.calls, CPU) == (0, ())
