from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.unit.models.gradients import check_gradients
from torch import Tensor, nn

from medtune.models.kernels.rms_norm import RmsNorm, use_rms_norms

EPSILON = 1e-5


class TinyRMSNorm(nn.Module):
    """As transformers writes it."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 8))
        self.variance_epsilon = EPSILON
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        normed: Tensor = (self.weight + self.offset) * wide.to(x.dtype)
        return normed


class BareRMSNorm(nn.Module):
    """No epsilon that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8))


def sample(dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(0)
    return (3 * torch.randn(2, 5, 8)).to(dtype).requires_grad_()


def ours(x: Tensor, weight: Tensor) -> Tensor:
    found: Tensor = RmsNorm.apply(x, weight, EPSILON)  # type: ignore[no-untyped-call]
    return found


def test_equals_the_norm_written_out_and_so_do_its_gradients() -> None:
    module, x, same = TinyRMSNorm(), sample(), sample()
    weight = module.weight.detach().clone().requires_grad_()
    found, wanted = ours(x, weight), module(same)
    assert torch.allclose(found, wanted, atol=1e-6)
    check_gradients(found, wanted, [(x, same), (weight, module.weight)], atol=1e-5)


def test_in_half_precision_it_rounds_once_more_at_most() -> None:
    module, x = TinyRMSNorm().to(torch.bfloat16), sample(torch.bfloat16)
    found = ours(x, module.weight)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found, module(x), rtol=2**-7, atol=2**-7)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16


def test_the_input_stays_as_it_was() -> None:
    x = sample()
    before = x.detach().clone()
    ours(x, torch.ones(8)).sum().backward()  # type: ignore[no-untyped-call]
    assert torch.equal(x.detach(), before)


def test_a_row_of_zeros_has_a_finite_gradient() -> None:
    x = torch.zeros(1, 8, requires_grad=True)
    ours(x, torch.ones(8)).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.allclose(x.grad, torch.full((1, 8), EPSILON**-0.5))


@pytest.mark.parametrize("other", [TinyRMSNorm(offset=1.0), BareRMSNorm(), nn.LayerNorm(8)])
def test_only_modules_that_compute_it_are_changed(other: Any) -> None:
    plain = TinyRMSNorm()
    network = nn.Sequential(plain, other)
    x = sample()
    before = plain(x)
    assert use_rms_norms(network) == 1
    assert "forward" not in vars(other)
    assert torch.allclose(plain(x), before, atol=1e-6)
    assert "RmsNorm" in type(plain(x).grad_fn).__name__
