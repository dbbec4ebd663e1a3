"""A study's grid of cells: what each left, and how far the whole is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field

from medtune.core.errors import InputError
from medtune.core.records import Provenance, Record


class CellRecord(Record):
    """A cell that is done; stands in its folder as `cell.json`, written last."""

    kind: Literal["cell"] = "cell"
    inputs: str
    """Hash of what determines it; with other inputs it is done again."""
    seconds: float = Field(ge=0)
    provenance: Provenance


class GridState(Record):
    """How far a grid is: what a shard prints while others have work to do."""

    kind: Literal["grid"] = "grid"
    study: str
    cells: int
    done: int
    fresh: int
    """Done by this call."""
    left: tuple[str, ...]
    cell_s: float
    """Seconds of all cells that are done, whoever did them."""


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """Who does the cells.

    Args:
        workers: Processes of this machine, each with its share of the cores.
        shard: This call's number, from 1.
        shards: Of how many; each takes the cells of its number.

    Raises:
        InputError: There is no such shard, or no worker.
    """

    workers: int = 1
    shard: int = 1
    shards: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"{self.workers} workers", expected="1 or more")
        if not 1 <= self.shard <= self.shards:
            raise InputError(
                f"shard {self.shard}/{self.shards}",
                expected="from 1/n to n/n, as an array job numbers its tasks from 1",
            )

    @classmethod
    def of(cls, workers: int, shard: str | None) -> Self:
        """Read `--workers` and `--shard i/n`.

        Raises:
            InputError: They are no numbers, or do not fit.
        """
        if shard is None:
            return cls(workers)
        number, slash, count = shard.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise InputError(f"--shard {shard}", expected="i/n, such as 1/8")
        return cls(workers, int(number), int(count))
