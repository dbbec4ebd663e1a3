"""Records of a study's cells and of its progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field

from medtune.core.errors import InputError
from medtune.core.records import Provenance, Record


class CellRecord(Record):
    """Record of a finished cell: `cell.json`, the last file written to its folder."""

    kind: Literal["cell"] = "cell"
    inputs: str
    """Hash of everything that determines the cell; with other inputs it runs again."""
    seconds: float = Field(ge=0)
    provenance: Provenance


class GridState(Record):
    """Progress of a grid, which a shard prints while other shards have cells left."""

    kind: Literal["grid"] = "grid"
    study: str
    cells: int
    done: int
    fresh: int
    """Number of cells run by this call."""
    left: tuple[str, ...]
    cell_s: float
    """Total seconds of all finished cells."""


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """Number of workers, and the shard of this call.

    Args:
        workers: Processes on this machine, each with its share of the cores.
        shard: Number of this shard, from 1.
        shards: Number of shards, among which the cells are divided.

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
    def from_options(cls, workers: int, shard: str | None) -> Self:
        """Parse `--workers` and `--shard i/n`.

        Raises:
            InputError: A value is no number, or out of range.
        """
        if shard is None:
            return cls(workers)
        number, slash, count = shard.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()):
            raise InputError(f"--shard {shard}", expected="i/n, such as 1/8")
        return cls(workers, int(number), int(count))
