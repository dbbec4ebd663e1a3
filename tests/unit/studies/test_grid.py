from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from medtune.core.errors import CheckFailed, DataError
from medtune.core.progress import NoProgress
from medtune.core.run_folder import lock_folder
from medtune.studies.grid import CELL_FILE, StudyCell, collect_grid_state, run_cells
from medtune.studies.grid_schema import GridState, WorkerCounts


def note(name: str, place: Path) -> None:
    """Leave a line for every time that a cell is worked on."""
    with (place / "worked").open("a") as file:
        file.write(f"{name} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\n")


def grid(
    count: int, inputs: str = "i", work: Callable[[str, Path], None] = note
) -> list[StudyCell]:
    return [StudyCell(f"c{n}", inputs, partial(work, f"c{n}")) for n in range(count)]


def done(cells: list[StudyCell], folder: Path, hands: WorkerCounts | None = None) -> GridState:
    worker = partial(as_worker, len(cells), folder)
    return run_cells(
        "study", cells, folder / "cells", hands or WorkerCounts(), NoProgress(), worker
    )


def as_worker(count: int, folder: Path) -> None:
    run_cells("study", grid(count, work=slow), folder / "cells", WorkerCounts(), NoProgress())


def slow(name: str, place: Path) -> None:
    time.sleep(0.1)
    note(name, place)


def worked(folder: Path) -> dict[str, list[str]]:
    return {
        path.parent.name: path.read_text().splitlines() for path in folder.glob("cells/*/worked")
    }


def test_every_cell_is_done_once_and_never_again(tmp_path: Path) -> None:
    state = done(grid(5), tmp_path)
    assert (state.cells, state.done, state.fresh, state.left) == (5, 5, 5, ())
    assert state.cell_s > 0
    again = done(grid(5), tmp_path)
    assert (again.done, again.fresh) == (5, 0)
    assert again.cell_s == state.cell_s
    assert {name: len(lines) for name, lines in worked(tmp_path).items()} == dict.fromkeys(
        ("c0", "c1", "c2", "c3", "c4"), 1
    )


def test_a_cell_of_other_inputs_is_done_anew(tmp_path: Path) -> None:
    done(grid(2), tmp_path)
    state = done(grid(2, inputs="other"), tmp_path)
    assert state.fresh == 2
    assert len(worked(tmp_path)["c1"]) == 2


def test_shards_do_their_own_and_the_last_one_sees_the_whole(tmp_path: Path) -> None:
    first = done(grid(5), tmp_path, WorkerCounts(shard=1, shards=3))
    assert sorted(worked(tmp_path)) == ["c0", "c3"]
    assert first.left == ("c1", "c2", "c4")
    done(grid(5), tmp_path, WorkerCounts(shard=2, shards=3))
    last = done(grid(5), tmp_path, WorkerCounts(shard=3, shards=3))
    assert (last.done, last.fresh, last.left) == (5, 1, ())


def test_a_cell_that_fails_leaves_the_others_done_and_is_taken_up_again(tmp_path: Path) -> None:
    def breaks(name: str, place: Path) -> None:
        note(name, place)
        if name == "c2" and len((place / "worked").read_text().splitlines()) == 1:
            raise DataError("no such row")

    with pytest.raises(DataError, match="no such row"):
        done(grid(4, work=breaks), tmp_path)
    assert collect_grid_state("study", grid(4), tmp_path / "cells").left == ("c2", "c3")
    state = done(grid(4, work=breaks), tmp_path)
    assert (state.done, state.fresh) == (4, 2)
    assert [len(lines) for _, lines in sorted(worked(tmp_path).items())] == [1, 1, 2, 1]


def test_a_cell_that_another_process_holds_is_left_to_it(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "cells" / "c1"):
        state = done(grid(3), tmp_path)
    assert state.left == ("c1",)
    assert done(grid(3), tmp_path).left == ()


def test_a_cell_cut_short_does_not_count_as_done(tmp_path: Path) -> None:
    done(grid(2), tmp_path)
    record = tmp_path / "cells" / "c0" / CELL_FILE
    record.write_text(record.read_text()[:40])
    assert done(grid(2), tmp_path).fresh == 1
    assert json.loads(record.read_text())["kind"] == "cell"


def test_workers_share_the_cells_and_the_cores(tmp_path: Path) -> None:
    former = os.environ.get("OMP_NUM_THREADS")
    state = done(grid(6), tmp_path, WorkerCounts(workers=2))
    assert (state.done, state.fresh, state.left) == (6, 6, ())
    lines = [line.split() for some in worked(tmp_path).values() for line in some]
    assert len(lines) == 6
    assert len({process for _, process, _ in lines}) == 2
    assert str(os.getpid()) not in {process for _, process, _ in lines}
    assert {threads for *_, threads in lines} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}
    assert os.environ.get("OMP_NUM_THREADS") == former


def die() -> None:
    os._exit(3)


def test_workers_that_all_fail_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="all 2 workers failed"):
        run_cells("study", grid(2), tmp_path / "cells", WorkerCounts(workers=2), NoProgress(), die)
    assert worked(tmp_path) == {}


def hold_and_die(folder: Path) -> None:
    with lock_folder(folder / "cells" / "c0"):
        os._exit(1)


def test_the_cell_of_a_worker_that_died_is_taken_up_again(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert done(grid(1), tmp_path).left == ()
