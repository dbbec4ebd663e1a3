"""Record the matrix products of a piece of work, and time each by itself."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from medtune.core.schemas.profile import ProductTime

aten = torch.ops.aten
OPERATORS = (
    aten.mm, aten.addmm, aten.addmm_, aten.bmm, aten.baddbmm, aten.baddbmm_, aten._int_mm,
)  # fmt: skip
"""Operators whose last two operands are multiplied."""
TIMED_S, MIN_RUNS = 0.05, 3
"""Time that the runs of one shape take, and the fewest runs; the fastest counts."""
CUDA_RUN = 20
"""Calls of a run on a GPU, which are launched without waiting for each other."""


@dataclass(frozen=True, slots=True)
class Operand:
    """Shape, layout and dtype of an operand."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> Operand:
        """Describe a tensor."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype)

    def allocate(self, device: torch.device) -> Tensor:
        """Return a tensor like the operand."""
        pairs = zip(self.shape, self.stride, strict=True)
        size = 1 + sum((length - 1) * step for length, step in pairs)
        return torch.ones(size, dtype=self.dtype, device=device).as_strided(self.shape, self.stride)


@dataclass(frozen=True, slots=True)
class Product:
    """A call of an operator on operands of certain shapes."""

    operator: Callable[..., Any]
    operands: tuple[Operand, ...]

    @property
    def gflop(self) -> float:
        """Floating-point operations of one call, in 10^9."""
        left, right = self.operands[-2:]
        return 2 * math.prod(left.shape) * right.shape[-1] / 1e9

    def time(self, device: torch.device) -> float:
        """Return the seconds of a call in the fastest of several runs, after one to warm up."""
        given = [operand.allocate(device) for operand in self.operands]
        calls = CUDA_RUN if device.type == "cuda" else 1
        times: list[float] = []
        while len(times) <= MIN_RUNS or sum(times) < TIMED_S:
            before = time.perf_counter()
            for _ in range(calls):
                self.operator(*given)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - before)
        return min(times[1:]) / calls


class ProductRecorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the matrix products that are computed while it is active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = Counter[Product]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # Composite operators, such as linear, arrive whole in inference mode.
        if func.overloadpacket not in OPERATORS:
            with self:
                parts = func.decompose(*args, **(kwargs or {}))
            return func(*args, **(kwargs or {})) if parts is NotImplemented else parts
        operands = tuple(Operand.of(one) for one in args if isinstance(one, Tensor))
        self.calls[Product(func.overloadpacket, operands)] += 1
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def time_products(
    calls: Counter[Product], device: torch.device
) -> tuple[float, tuple[ProductTime, ...]]:
    """Time every product by itself.

    Returns:
        The GFLOP of all calls, and the products by shape, the one that takes longest first.
    """
    shapes: dict[tuple[int, ...], list[tuple[Product, int, float]]] = {}
    for product, count in calls.items():
        left, right = product.operands[-2:]
        batch = math.prod(left.shape[:-2])
        shape = (batch, left.shape[-2], left.shape[-1], right.shape[-1], left.dtype.itemsize)
        shapes.setdefault(shape, []).append((product, count, product.time(device)))
    found = [_describe(shape, some) for shape, some in shapes.items()]
    gflop = sum(product.gflop * count for product, count in calls.items())
    return gflop, tuple(sorted(found, key=lambda one: -one.seconds))


def _describe(shape: tuple[int, ...], some: Sequence[tuple[Product, int, float]]) -> ProductTime:
    """Describe the products of one shape, whatever their layout."""
    batch, rows, inner, columns, _ = shape
    seconds = sum(count * each for _, count, each in some)
    gflop = sum(product.gflop * count for product, count, _ in some)
    return ProductTime(
        rows=rows,
        inner=inner,
        columns=columns,
        batch=batch,
        dtype=str(some[0][0].operands[-1].dtype).removeprefix("torch."),
        calls=sum(count for _, count, _ in some),
        gflops=gflop / seconds,
        seconds=seconds,
    )
