from __future__ import annotations

import pytest
import torch
from tests.unit.models.gradients import check_gradients
from torch import Tensor, nn

from medtune.models.kernels.lora_linear import LoraProduct

IN, OUT, RANK, SCALE = 6, 5, 2, 1.7


def tensors(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {"x": (2, 3, IN), "weight": (OUT, IN), "bias": (OUT,), "a": (RANK, IN)}
    made = {name: torch.randn(*shape, dtype=dtype) for name, shape in shapes.items()}
    made["b"] = torch.randn(OUT, RANK, dtype=dtype)
    for name in ("x", "a", "b"):
        made[name].requires_grad_()
    return made


def product(t: dict[str, Tensor], bias: bool) -> Tensor:
    found: Tensor = LoraProduct.apply(  # type: ignore[no-untyped-call]
        t["x"], t["weight"], t["bias"] if bias else None, t["a"], t["b"], SCALE
    )
    return found


def written_out(t: dict[str, Tensor], bias: bool) -> Tensor:
    base = nn.functional.linear(t["x"], t["weight"], t["bias"] if bias else None)
    update: Tensor = t["x"] @ t["a"].T @ t["b"].T * SCALE
    return base + update


@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_sum_written_out_and_so_do_its_gradients(bias: bool) -> None:
    ours, theirs = tensors(), tensors()
    found, wanted = product(ours, bias), written_out(theirs, bias)
    assert torch.allclose(found, wanted, atol=1e-12)
    leaves = [(ours[name], theirs[name]) for name in ("x", "a", "b")]
    check_gradients(found, wanted, leaves, atol=1e-12)


def test_finite_differences_agree() -> None:
    t = tensors()
    assert torch.autograd.gradcheck(
        lambda x, a, b: LoraProduct.apply(x, t["weight"], t["bias"], a, b, SCALE),  # type: ignore[no-untyped-call]
        (t["x"], t["a"], t["b"]),
    )


def test_an_input_that_is_not_trained_gets_no_gradient() -> None:
    t = tensors()
    t["x"] = t["x"].detach()
    product(t, bias=False).sum().backward()  # type: ignore[no-untyped-call]
    assert t["x"].grad is None
    assert t["a"].grad is not None


def test_the_base_layer_is_frozen() -> None:
    t = tensors()
    t["weight"].requires_grad_()
    product(t, bias=True).sum().backward()  # type: ignore[no-untyped-call]
    assert t["weight"].grad is None
