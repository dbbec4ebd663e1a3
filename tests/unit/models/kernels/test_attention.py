from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.unit.models.gradients import check_gradients
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from medtune.models.kernels import attention
from medtune.models.kernels.attention import attend

BATCH, HEADS, GROUPS, WIDTH = 3, 6, 2, 8
KERNEL = "transformers.integrations.sdpa_attention"


def layer(causal: bool = True) -> SimpleNamespace:
    return SimpleNamespace(is_causal=causal, num_key_value_groups=HEADS // GROUPS)


def tensors(rows: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(rows + keys)

    def some(heads: int, length: int) -> Tensor:
        return torch.randn(BATCH, heads, length, WIDTH, requires_grad=True)

    return some(HEADS, rows), some(GROUPS, keys), some(GROUPS, keys)


def fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Torch's own kernel, every head with its own copy of the keys."""
    key, value = (t.repeat_interleave(HEADS // GROUPS, dim=1) for t in (key, value))
    mixed = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale
    )
    return mixed.transpose(1, 2)


def seen(rows: int, keys: int, batch: int) -> Tensor:
    """A mask with holes, in which every token sees the first key."""
    allowed = torch.rand(batch, 1, rows, keys) < 0.5
    allowed[..., 0] = True
    return allowed


@pytest.mark.parametrize("batch", [1, BATCH], ids=["shared", "own"])
@pytest.mark.parametrize("kind", ["causal", "boolean", "additive"])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_equals_the_fused_kernel_and_so_do_its_gradients(
    batch: int, kind: str, scaling: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, KERNEL, None)  # it is not called upon
    rows, keys = (5, 5) if kind == "causal" else (5, 9)
    mask = None if kind == "causal" else seen(rows, keys, batch)
    if kind == "additive":
        assert mask is not None
        mask = torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)
    ours, theirs = tensors(rows, keys), tensors(rows, keys)
    found, weights = attend(layer(), *ours, attention_mask=mask, scaling=scaling)
    wanted = fused(*theirs, mask, scaling or WIDTH**-0.5)
    assert weights is None
    assert torch.allclose(found, wanted, atol=1e-6)
    check_gradients(found, wanted, zip(ours, theirs, strict=True), atol=1e-6)


def test_bfloat16_is_as_near_to_the_truth_as_the_fused_kernel() -> None:
    exact = [t.detach() for t in tensors(60, 60)]
    query, key, value = (t.bfloat16() for t in exact)
    truth = fused(exact[0], exact[1], exact[2], None, WIDTH**-0.5)
    ours = attend(layer(), query, key, value, None)[0].float()
    theirs = fused(query, key, value, None, WIDTH**-0.5).float()
    assert (ours - truth).abs().mean() < 1.5 * (theirs - truth).abs().mean()


@pytest.mark.parametrize(
    ("rows", "keys", "causal", "mask", "dropout", "others"),
    [
        pytest.param(1, 9, True, None, 0.0, {}, id="one new token"),
        pytest.param(4, 9, True, None, 0.0, {}, id="going on from a cache, no mask"),
        pytest.param(5, 5, False, None, 0.0, {}, id="sees what follows"),
        pytest.param(5, 5, True, (1, HEADS), 0.0, {}, id="a mask per head"),
        pytest.param(5, 5, True, None, 0.5, {}, id="dropout"),
        pytest.param(5, 5, True, None, 0.0, {"is_causal": False}, id="told to see what follows"),
        pytest.param(5, 5, True, None, 0.0, {"softcap": 30.0}, id="capped scores"),
        pytest.param(257, 257, True, None, 0.0, {}, id="long"),
    ],
)
def test_everything_else_goes_to_the_fused_kernel(
    rows: int,
    keys: int,
    causal: bool,
    mask: tuple[int, int] | None,
    dropout: float,
    others: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[object, ...]] = []

    def kernel(*given: object, **others: object) -> tuple[str, None]:
        calls.append((*given[4:], others))
        return "fused", None

    package = SimpleNamespace(sdpa_attention_forward=kernel)
    monkeypatch.setitem(sys.modules, KERNEL, package)
    wanted = None if mask is None else torch.zeros(*mask, rows, keys)
    query, key, value = tensors(rows, keys)
    attend(layer(causal), query, key, value, wanted, scaling=0.3, dropout=dropout, **others)
    assert calls == [(wanted, dropout, 0.3, others)]


def test_the_longest_is_still_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MAX_KEYS", 5)
    monkeypatch.setitem(sys.modules, KERNEL, None)
    query, key, value = tensors(5, 5)
    assert attend(layer(), query, key, value, None)[0].shape == (BATCH, 5, HEADS, WIDTH)
    query, key, value = tensors(6, 6)
    with pytest.raises(ImportError):
        attend(layer(), query, key, value, None)
