from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.unit.models.gradients import check_gradients
from torch import Tensor, nn

from medtune.models.kernels.rotary import apply_rotary, use_rotary

Rotation = Callable[..., tuple[Tensor, Tensor]]


def by_halves(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1
) -> tuple[Tensor, Tensor]:
    """As transformers writes it."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)

    def half(x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return torch.cat([-second, first], dim=-1)

    return q * cos + half(q) * sin, k * cos + half(k) * sin


def by_pairs(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """As GLM does: even and odd places against each other."""
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)

    def half(x: Tensor) -> Tensor:
        return torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)

    return q * cos + half(q) * sin, k * cos + half(k) * sin


def of_a_part(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """As Phi-3 does: what lies behind the angles' width is left as it is."""
    width = cos.shape[-1]
    turned = by_halves(q[..., :width], k[..., :width], cos, sin)
    left = (q[..., width:], k[..., width:])
    first, second = (torch.cat(both, dim=-1) for both in zip(turned, left, strict=True))
    return first, second


def of_one(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x * cos + sin


def tensors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    angles = torch.rand(2, 5, 4).repeat(1, 1, 2)
    q, k = torch.randn(2, 6, 5, 8), torch.randn(2, 3, 5, 8)
    return q.requires_grad_(), k.requires_grad_(), angles.cos(), angles.sin()


def test_equals_the_rotation_written_out_and_so_do_its_gradients() -> None:
    q, k, cos, sin = tensors()
    q2, k2, _, _ = tensors()
    for found, wanted, leaf in zip(
        apply_rotary(q, k, cos, sin), by_halves(q2, k2, cos, sin), [(q, q2), (k, k2)], strict=True
    ):
        assert torch.allclose(found, wanted, atol=1e-6)
        check_gradients(found, wanted, [leaf], atol=1e-6)


def test_it_keeps_lengths_and_its_input() -> None:
    q, k, cos, sin = tensors()
    before = q.detach().clone()
    turned, _ = apply_rotary(q, k, cos, sin)
    assert torch.allclose(turned.norm(dim=-1), q.norm(dim=-1), atol=1e-5)
    assert torch.equal(q.detach(), before)


@pytest.fixture
def architecture() -> Iterator[ModuleType]:
    file = ModuleType("tiny_architecture")
    sys.modules[file.__name__] = file
    yield file
    del sys.modules[file.__name__]


def network(file: ModuleType, own: Rotation | None) -> nn.Module:
    if own is not None:
        vars(file)["apply_rotary_pos_emb"] = own
    kind: Any = type("TinyAttention", (nn.Module,), {"__module__": file.__name__})
    made: nn.Module = kind()
    return made


def test_an_architecture_that_turns_by_halves_follows_once(architecture: ModuleType) -> None:
    model = network(architecture, by_halves)
    assert use_rotary(model) == 1
    assert vars(architecture)["apply_rotary_pos_emb"] is apply_rotary
    assert use_rotary(model) == 0


@pytest.mark.parametrize("own", [by_pairs, of_a_part, of_one, None])
def test_others_keep_their_own(architecture: ModuleType, own: Any) -> None:
    assert use_rotary(network(architecture, own)) == 0
    assert vars(architecture).get("apply_rotary_pos_emb") is own
