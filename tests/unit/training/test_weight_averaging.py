from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from medtune.core.experiment import TrainingConfig
from medtune.core.intervals import wilson_interval
from medtune.training.master_adamw import MasterAdamW
from medtune.training.weight_averaging import WeightAverager


def made(dtype: torch.dtype = torch.float32, **settings: Any) -> tuple[MasterAdamW, WeightAverager]:
    parameters = {"w": Parameter(torch.zeros(2, dtype=dtype))}
    optimizer = MasterAdamW(parameters, rate=0.1, decay=0.0)
    return optimizer, WeightAverager(optimizer, TrainingConfig.model_validate(settings))


def move(optimizer: MasterAdamW, keeper: WeightAverager, value: float) -> None:
    """Take a step that ends at a value."""
    with torch.no_grad():
        for name, master in optimizer.masters.items():
            master.fill_(value)
            optimizer.parameters[name].fill_(value)
    keeper.update_average()


def kept(keeper: WeightAverager) -> float:
    return float(keeper.kept_weights["w"][0].detach())


def test_the_last_weights_are_kept_by_default() -> None:
    optimizer, keeper = made()
    for step, value, right in ((1, 1.0, 9), (2, 2.0, 3)):
        move(optimizer, keeper, value)
        keeper.record_validation(step, wilson_interval(right, 10))
    assert kept(keeper) == 2.0
    assert keeper.kept_step is None
    assert [point.step for point in keeper.points] == [1, 2]


def test_the_best_weights_are_kept_where_asked_and_the_first_of_equals() -> None:
    optimizer, keeper = made(keep="best")
    for step, value, right in ((1, 1.0, 3), (2, 2.0, 9), (3, 3.0, 9), (4, 4.0, 5)):
        move(optimizer, keeper, value)
        keeper.record_validation(step, wilson_interval(right, 10))
    assert kept(keeper) == 2.0
    assert keeper.kept_step == 2


def test_a_model_that_is_never_right_has_a_best_too() -> None:
    optimizer, keeper = made(keep="best")
    move(optimizer, keeper, 1.0)
    keeper.record_validation(1, wilson_interval(0, 10))
    move(optimizer, keeper, 2.0)
    keeper.record_validation(2, wilson_interval(0, 10))
    assert (kept(keeper), keeper.kept_step) == (1.0, 1)


@pytest.mark.parametrize(
    ("patience", "rights", "exhausted"),
    [
        (0, [5, 4, 4, 4], [False] * 4),
        (2, [5, 4, 4], [False, False, True]),
        (2, [5, 4, 6, 6, 5], [False, False, False, False, True]),
        (1, [0, 0], [False, True]),
    ],
)
def test_patience_counts_validations_since_the_best(
    patience: int, rights: list[int], exhausted: list[bool]
) -> None:
    _, keeper = made(patience=patience)
    found = []
    for step, right in enumerate(rights, 1):
        keeper.record_validation(step, wilson_interval(right, 10))
        found.append(keeper.is_out_of_patience)
    assert found == exhausted


def test_the_average_by_hand() -> None:
    optimizer, keeper = made(average=0.5)
    move(optimizer, keeper, 1.0)  # the first weights are the average
    assert kept(keeper) == 1.0
    move(optimizer, keeper, 3.0)  # decay 2 / 11 so early in a run
    assert kept(keeper) == pytest.approx(2 / 11 * 1 + 9 / 11 * 3)
    for _ in range(200):
        move(optimizer, keeper, 5.0)
    before = kept(keeper)
    move(optimizer, keeper, 7.0)
    assert kept(keeper) == pytest.approx(0.5 * before + 0.5 * 7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_weights_are_shown_for_a_while_only(dtype: torch.dtype) -> None:
    optimizer, keeper = made(dtype, average=0.9)
    move(optimizer, keeper, 1.0)
    move(optimizer, keeper, 3.0)
    shown = optimizer.parameters["w"]
    with optimizer.swap_weights(keeper.current_weights):
        assert float(shown[0].detach()) == pytest.approx(kept(keeper), rel=1e-2)
        assert float(shown[0].detach()) != 3.0
    assert shown.tolist() == [3.0, 3.0]
    assert optimizer.masters["w"].tolist() == [3.0, 3.0]


def test_a_restored_keeper_goes_on_as_if_never_stopped() -> None:
    settings: dict[str, Any] = {"average": 0.9, "keep": "best", "patience": 3}
    optimizer, keeper = made(**settings)
    for step in range(1, 5):
        move(optimizer, keeper, step**2)
        keeper.record_validation(step, wilson_interval(step % 3, 10))
    file = io.BytesIO()
    torch.save(keeper.state_dict(), file)
    file.seek(0)
    other_optimizer, other = made(**settings)
    other.load_state_dict(torch.load(file, weights_only=True))
    for one, its in ((optimizer, keeper), (other_optimizer, other)):
        move(one, its, 1.5)
        its.record_validation(5, wilson_interval(1, 10))
    assert torch.equal(keeper.current_weights["w"], other.current_weights["w"])
    assert torch.equal(keeper.kept_weights["w"], other.kept_weights["w"])
    assert (keeper.points, keeper.kept_step) == (other.points, other.kept_step)
    assert keeper.is_out_of_patience == other.is_out_of_patience is True
