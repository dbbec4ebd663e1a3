from __future__ import annotations

import time
from itertools import count

import pytest
import torch

from medtune.core.errors import ModelError
from medtune.models import device
from medtune.models.device import (
    CPU_PASS_SIZES,
    GPU_PASS_SIZES,
    choose_dtype,
    choose_pass_sizes,
    measure_bfloat16_speedup,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "gain", "chosen"),
    [
        ({"avx512_bf16"}, 1.8, torch.bfloat16),
        ({"amx_bf16"}, 6.0, torch.bfloat16),
        ({"bf16"}, 0.9, torch.bfloat16),  # half the memory for a tenth of the speed
        ({"avx512_bf16"}, 0.55, torch.float32),  # has the instructions, takes its time over them
        (set(), 2.0, torch.float32),  # what no instruction computes was measured wrongly
    ],
)
def test_auto_is_what_the_machine_multiplies_fast(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], gain: float, chosen: torch.dtype
) -> None:
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(device, "measure_bfloat16_speedup", lambda: gain)
    assert choose_dtype("auto", CPU) == chosen
    assert choose_dtype("nf4", CPU) == chosen  # 4 bits are kept, and computed in this


def test_the_gain_is_measured_once() -> None:
    measure_bfloat16_speedup.cache_clear()
    assert 0.01 < measure_bfloat16_speedup() < 100
    assert measure_bfloat16_speedup() == measure_bfloat16_speedup()
    assert measure_bfloat16_speedup.cache_info().misses == 1


def test_the_gain_does_not_depend_on_what_else_the_machine_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks = count()  # by the clock, every product takes a whole second
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(ticks)))
    measure_bfloat16_speedup.cache_clear()
    assert measure_bfloat16_speedup() != 1.0
    measure_bfloat16_speedup.cache_clear()


def test_a_named_precision_is_taken_as_it_is() -> None:
    assert choose_dtype("float32", CPU) == torch.float32
    assert choose_dtype("bfloat16", CPU) == torch.bfloat16
    assert choose_dtype("float16", torch.device("cuda")) == torch.float16
    with pytest.raises(ModelError, match="17 times slower"):
        choose_dtype("float16", CPU)


def test_passes_are_sized_by_the_device() -> None:
    assert choose_pass_sizes(CPU) == CPU_PASS_SIZES
    assert choose_pass_sizes(torch.device("cuda")) == GPU_PASS_SIZES
    assert GPU_PASS_SIZES.scoring > CPU_PASS_SIZES.scoring
