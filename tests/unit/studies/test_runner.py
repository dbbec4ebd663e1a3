from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Literal

import pytest

import medtune.studies
from medtune.core.errors import FolderBusyError
from medtune.core.progress import NoProgress, Progress
from medtune.core.records import Record
from medtune.core.run_folder import lock_folder, read_record
from medtune.studies.grid import StudyCell
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.studies.runner import Study, run_study

SLICES = sorted(path.parent.name for path in Path(medtune.studies.__path__[0]).glob("*/study.py"))


class Tally(Record):
    kind: Literal["tally"] = "tally"
    read: tuple[str, ...]


class Counting(Study[Tally]):
    """Cells a and b, and one more that needs both."""

    name = "counting"
    page = "counting.html"

    def __init__(self, folder: Path, progress: Progress, word: str) -> None:
        super().__init__(folder, progress)
        self._word = word

    def _cell(self, name: str) -> StudyCell:
        def work(folder: Path) -> None:
            (folder / "word").write_text(f"{name} {self._word}")

        return StudyCell(name, self._word, work)

    def list_cells(self) -> list[StudyCell]:
        return [self._cell("a"), self._cell("b")]

    def list_last_cells(self) -> list[StudyCell]:
        assert (self.cell_folder("b") / "word").is_file()
        return [self._cell("last")]

    def build_record(self, state: GridState) -> Tally:
        assert state.cell_s > 0
        names = ("a", "b", "last")
        return Tally(read=tuple((self.cell_folder(n) / "word").read_text() for n in names))

    def render_page(self, record: Tally) -> str:
        return " ".join(record.read)


def test_a_study_runs_its_cells_and_writes_what_it_found(tmp_path: Path) -> None:
    record = run_study(Counting, tmp_path, None, NoProgress(), word="x")
    assert record == Tally(read=("a x", "b x", "last x"))
    assert read_record(tmp_path / "record.json", Tally) == record
    assert (tmp_path / "counting.html").read_text() == "a x b x last x"
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cells/*/word")}
    assert run_study(Counting, tmp_path, None, NoProgress(), word="x") == record
    assert {path: path.stat().st_mtime_ns for path in times} == times
    again = run_study(Counting, tmp_path, None, NoProgress(), word="y")
    assert again == Tally(read=("a y", "b y", "last y"))


def test_only_the_last_shard_runs_what_needs_the_others(tmp_path: Path) -> None:
    first = run_study(Counting, tmp_path, WorkerCounts(shard=1, shards=2), NoProgress(), word="x")
    assert isinstance(first, GridState)
    assert first.left == ("b",)
    assert not (tmp_path / "cells" / "last").exists()
    last = run_study(Counting, tmp_path, WorkerCounts(shard=2, shards=2), NoProgress(), word="x")
    assert isinstance(last, Tally)


def test_the_last_cell_of_another_process_is_left_to_it(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "cells" / "last"):
        state = run_study(Counting, tmp_path, WorkerCounts(), NoProgress(), word="x")
    assert isinstance(state, GridState)
    assert state.left == ("last",)
    assert not (tmp_path / "record.json").exists()


def test_a_folder_without_shards_is_one_process_alone(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(FolderBusyError):
        run_study(Counting, tmp_path, None, NoProgress(), word="x")


@pytest.mark.parametrize("name", SLICES)
def test_every_study_has_the_same_modules(name: str) -> None:
    folder = Path(medtune.studies.__path__[0]) / name
    assert {"schema.py", "study.py", "analysis.py", "page.py"} <= {p.name for p in folder.iterdir()}
    page = import_module(f"medtune.studies.{name}.page")
    assert callable(page.render)
    assert callable(page.summarize)
