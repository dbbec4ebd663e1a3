"""Run the cells of a study: in this process, in several workers, or in shards of an array job.

There is no scheduler and no queue: a cell is a folder.  The process that locks it runs it, and
`cell.json` in it marks it as done.  The lock of a killed worker is released, and the next call
resumes the cell; its evaluations and trainings continue from what they saved.
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
from medtune.core.progress import Progress
from medtune.core.provenance import available_cores, collect_provenance
from medtune.core.run_folder import lock_folder, read_valid_record, write_record
from medtune.studies.grid_schema import CellRecord, GridState, WorkerCounts

CELL_FILE = "cell.json"


@dataclass(frozen=True, slots=True)
class StudyCell:
    """One cell of a study, such as one evaluation or one training."""

    name: str
    """Folder name."""
    inputs: str
    """Hash of everything that determines the result."""
    work: Callable[[Path], object]
    """Runs the cell in its folder; finished parts are not repeated."""


def run_cells(
    study: str,
    cells: Sequence[StudyCell],
    folder: Path,
    counts: WorkerCounts,
    progress: Progress,
    worker: Callable[[], object] | None = None,
) -> GridState:
    """Run all cells that are not done yet.

    Args:
        study: Name of the study.
        cells: All cells, including those of other shards.
        folder: Folder of the cells.
        counts: Workers and shard of this call.
        progress: Progress reports.
        worker: Entry point of a worker process; it must be picklable. None runs the cells in this
            process.

    Raises:
        MedtuneError: A cell failed; the earlier cells are done.
    """
    assert len({cell.name for cell in cells}) == len(cells), "a folder holds one cell"
    mine = cells[counts.shard - 1 :: counts.shards]
    before = sum(_is_done(cell, folder) for cell in cells)
    if counts.workers > 1 and worker is not None:
        _run_workers(worker, counts.workers)
    todo = [cell for cell in mine if not _is_done(cell, folder)]
    if mine:
        with progress.task(study, len(mine), len(mine) - len(todo)) as bar:
            for cell in todo:
                bar.advance(_run_cell_if_free(cell, folder))
    state = collect_grid_state(study, cells, folder)
    if stuck := [cell.name for cell in mine if cell.name in state.left]:
        progress.log_message(f"{study}: another process is at {', '.join(stuck)}")
    return state.model_copy(update={"fresh": state.done - before})


def collect_grid_state(study: str, cells: Sequence[StudyCell], folder: Path) -> GridState:
    """Count the finished cells."""
    found = {cell.name: _read_cell_record(cell, folder) for cell in cells}
    done = [record for record in found.values() if record is not None]
    return GridState(
        study=study,
        cells=len(cells),
        done=len(done),
        fresh=0,
        left=tuple(name for name, record in found.items() if record is None),
        cell_s=sum(record.seconds for record in done),
    )


def _read_cell_record(cell: StudyCell, folder: Path) -> CellRecord | None:
    return read_valid_record(folder / cell.name / CELL_FILE, CellRecord, cell.inputs)


def _is_done(cell: StudyCell, folder: Path) -> bool:
    return _read_cell_record(cell, folder) is not None


def _run_cell_if_free(cell: StudyCell, folder: Path) -> bool:
    """Run a cell unless another process has locked it; return whether it is done."""
    place = folder / cell.name
    with ExitStack() as hold:
        try:
            hold.enter_context(lock_folder(place))
        except FolderBusyError:
            return False
        # Another process may have run it before this one got the lock.
        if not _is_done(cell, folder):
            start = time.perf_counter()
            cell.work(place)
            seconds = time.perf_counter() - start
            record = CellRecord(
                inputs=cell.inputs, seconds=seconds, provenance=collect_provenance()
            )
            write_record(place / CELL_FILE, record)
    return True


def _run_workers(worker: Callable[[], object], count: int) -> None:
    """Run the cells in worker processes; this process then runs what failed workers left.

    Raises:
        CheckFailed: All workers failed, so this process would fail in the same way.
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
