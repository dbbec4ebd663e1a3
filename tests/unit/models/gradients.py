"""Two ways to one result, compared on the way back too."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def check_gradients(
    found: Tensor, wanted: Tensor, leaves: Iterable[tuple[Tensor, Tensor]], atol: float
) -> None:
    """Send the same gradient back through both and compare what reaches their leaves."""
    above = torch.randn_like(found)
    torch.autograd.backward(found, above)
    torch.autograd.backward(wanted, above)
    for mine, its in leaves:
        assert mine.grad is not None
        assert its.grad is not None
        assert torch.allclose(mine.grad, its.grad, atol=atol)
