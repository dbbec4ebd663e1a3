from __future__ import annotations

import math

import pytest
import torch
from tests.unit.models.gradients import check_gradients
from tests.unit.training.test_collate import CHOOSING, CPU, EXAMPLES
from torch import Tensor
from torch.nn.functional import cross_entropy

from medtune.training.collate import collate
from medtune.training.losses import TokenLogprobs, compute_loss

TARGETS = torch.tensor([3, 0, 5, 3])


def ours(logits: Tensor) -> Tensor:
    return -logprobs(logits, torch.arange(4), TARGETS)


def logprobs(logits: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
    found: Tensor = TokenLogprobs.apply(logits, rows, targets)  # type: ignore[no-untyped-call]
    return found


def logits(scale: float = 3.0) -> Tensor:
    torch.manual_seed(0)
    return (scale * torch.randn(4, 7)).requires_grad_()


@pytest.mark.parametrize("scale", [0.0, 3.0, 1000.0])
def test_equals_torchs_cross_entropy_and_so_does_its_gradient(scale: float) -> None:
    mine, its = logits(scale), logits(scale)
    found, wanted = ours(mine), cross_entropy(its, TARGETS, reduction="none")
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    check_gradients(found, wanted, [(mine, its)], atol=1e-6)


def test_the_least_likely_of_all_has_a_finite_loss() -> None:
    row = torch.tensor([[200.0, 0.0, -300.0]], requires_grad=True)
    loss = -logprobs(row, torch.tensor([0]), torch.tensor([2]))
    assert loss.item() == 500.0
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert row.grad is not None
    assert row.grad.tolist() == [[1.0, 0.0, -1.0]]


def test_going_back_twice_gives_the_same_gradient() -> None:
    mine = logits()
    loss = ours(mine).sum()
    first, second = (torch.autograd.grad(loss, mine, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_half_precision_is_summed_in_full() -> None:
    wide = 3 * torch.randn(4, 5000)
    half = wide.to(torch.bfloat16).requires_grad_()
    found = ours(half)
    assert found.dtype == torch.float32
    assert torch.allclose(found, cross_entropy(half.float(), TARGETS, reduction="none"), atol=1e-5)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_targets_may_share_a_row_and_name_a_token_twice() -> None:
    rows, targets = torch.tensor([0, 0, 2, 0]), torch.tensor([3, 1, 5, 3])
    mine, its = logits(), logits()
    found = logprobs(mine, rows, targets)
    wanted = its.log_softmax(-1)[rows, targets]
    assert torch.allclose(found, wanted, atol=1e-6)
    check_gradients(found, wanted, [(mine, its)], atol=1e-6)


def test_the_choice_of_a_letter_is_a_softmax_over_the_letters() -> None:
    batch = collate(CHOOSING, CPU)
    logits = torch.zeros(2, 40)
    logits[0, 20], logits[0, 21], logits[0, 22], logits[0, 5] = 1.0, 3.0, -1.0, 50.0
    logits[1, 30], logits[1, 31] = 0.5, 0.5
    first = -math.log(math.exp(3) / (math.exp(1) + math.exp(3) + math.exp(-1)))
    assert compute_loss(logits, batch).item() == pytest.approx(first + math.log(2), rel=1e-5)


def test_smoothing_spreads_the_target_over_the_options_there_are() -> None:
    batch = collate(CHOOSING[1:], CPU)
    logits = torch.zeros(1, 40)
    logits[0, 30], logits[0, 31] = 2.0, 0.0
    right, other = (value - math.log(math.exp(2) + 1) for value in (2.0, 0.0))
    smooth = compute_loss(logits, batch, 0.2).item()
    assert smooth == pytest.approx(-(0.9 * right + 0.1 * other), rel=1e-5)


def test_the_answer_loss_is_that_of_the_whole_vocabulary() -> None:
    batch = collate(EXAMPLES, CPU)
    assert batch.options is None
    loss = compute_loss(torch.zeros(3, 10, dtype=torch.bfloat16), batch)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(3 * math.log(10))
