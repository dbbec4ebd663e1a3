"""Go through a study's cells: alone, by several workers, or by the shards of an array job.

There is no scheduler and no queue to keep: a cell is a folder.  Who holds its lock works on it, and
`cell.json` in it says that it is done.  A worker that dies lets go of its lock, and the next call
takes the cell up again, where an examination or a training in it goes on from what it saved.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from medtune.core.errors import CheckFailed, FolderBusyError
from medtune.core.experiment import DataConfig
from medtune.core.progress import Progress
from medtune.core.provenance import available_cores, provenance
from medtune.core.run_folder import locked, valid_record, write_record
from medtune.data.snapshot import Snapshot, prepare_snapshot
from medtune.studies.grid_schema import CellRecord, GridState, WorkerCounts

CELL = "cell.json"


@dataclass(frozen=True, slots=True)
class StudyCell:
    """One piece of a study."""

    name: str
    """Of its folder."""
    inputs: str
    """Hash of what determines it."""
    work: Callable[[Path], object]
    """Does it in its folder; what is there already is not done again."""


def go_through(
    study: str,
    cells: Sequence[StudyCell],
    folder: Path,
    hands: WorkerCounts,
    progress: Progress,
    worker: Callable[[], object] | None = None,
) -> GridState:
    """Do the cells that nobody has done.

    Args:
        study: Its name.
        cells: All of them, whoever does them.
        folder: Of the study; cells lie in `cells/`.
        hands: Who does them.
        progress: Where to report.
        worker: Does what one of several workers does; it is called in a process of its own, so
            it must be picklable. None where there is but this one.

    Raises:
        MedtuneError: A cell failed; those before it are done.
    """
    assert len({cell.name for cell in cells}) == len(cells), "a folder holds one cell"
    mine = cells[hands.shard - 1 :: hands.shards]
    before = sum(_done(cell, folder) for cell in cells)
    if hands.workers > 1 and worker is not None:
        _by_workers(worker, hands.workers)
    with progress.task(study, len(mine), sum(_done(cell, folder) for cell in mine)) as bar:
        for cell in mine:
            if not _done(cell, folder) and _taken(cell, folder):
                bar.advance(1)
    state = state_of(study, cells, folder)
    if stuck := [cell.name for cell in mine if cell.name in state.left]:
        progress.say(f"{study}: another process is at {', '.join(stuck)}")
    return state.model_copy(update={"fresh": state.done - before})


def snapshot_for_all(data: DataConfig, seed: int, folder: Path, progress: Progress) -> Snapshot:
    """Prepare a study's data in `data/`, or wait for another process to have done it.

    Raises:
        MedtuneError: As `prepare_snapshot` does.
    """
    with locked(folder / "data", wait=True):
        return prepare_snapshot(data, seed, folder / "data", progress)


def state_of(study: str, cells: Sequence[StudyCell], folder: Path) -> GridState:
    """Count what is done."""
    found = {cell.name: _record(cell, folder) for cell in cells}
    done = [record for record in found.values() if record is not None]
    return GridState(
        study=study,
        cells=len(cells),
        done=len(done),
        fresh=0,
        left=tuple(name for name, record in found.items() if record is None),
        cell_s=sum(record.seconds for record in done),
    )


def _place(cell: StudyCell, folder: Path) -> Path:
    return folder / "cells" / cell.name


def _record(cell: StudyCell, folder: Path) -> CellRecord | None:
    return valid_record(_place(cell, folder) / CELL, CellRecord, cell.inputs)


def _done(cell: StudyCell, folder: Path) -> bool:
    return _record(cell, folder) is not None


def _taken(cell: StudyCell, folder: Path) -> bool:
    """Do a cell, unless another process holds it; tell whether it is done."""
    place = _place(cell, folder)
    with ExitStack() as hold:
        try:
            hold.enter_context(locked(place))
        except FolderBusyError:
            return False
        if not _done(cell, folder):  # by another one, between the look and the lock
            start = time.perf_counter()
            cell.work(place)
            seconds = time.perf_counter() - start
            record = CellRecord(inputs=cell.inputs, seconds=seconds, provenance=provenance())
            write_record(place / CELL, record)
    return True


def _by_workers(worker: Callable[[], object], count: int) -> None:
    """Let workers go through the cells; what one that failed has left is then done, or told, here.

    Raises:
        CheckFailed: All of them failed: this process would fail in the same way, and alone.
    """
    context = multiprocessing.get_context("spawn")
    former = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(max(1, available_cores() // count))
    try:
        processes = [context.Process(target=worker) for _ in range(count)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    finally:
        if former is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = former
    if all(process.exitcode for process in processes):
        raise CheckFailed(
            f"all {count} workers failed",
            fix="see their messages above; run it without --workers to see where",
        )
