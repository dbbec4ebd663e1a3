from __future__ import annotations

import time
from pathlib import Path

import pytest

from medtune.core.stopwatch import ELAPSED_FILE, record_elapsed


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def perf_counter(self) -> float:
        return self.now


def attempt(folder: Path, seconds: float, fails: bool = False) -> float:
    clock = Clock(time.perf_counter())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medtune.core.stopwatch.time", clock)
        with record_elapsed(folder) as watch:
            clock.now += seconds
            if fails:
                raise KeyboardInterrupt
            return watch.seconds


def test_work_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    attempt(tmp_path, 5)
    assert list(tmp_path.iterdir()) == []


def test_attempts_add_up_however_they_end(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(KeyboardInterrupt):
        attempt(tmp_path, 10, fails=True)
    assert attempt(tmp_path, 5) == pytest.approx(15)
    assert attempt(tmp_path, 1) == pytest.approx(16)


@pytest.mark.parametrize("text", ["", "no number", "-5", "1e"])
def test_a_damaged_file_is_no_reason_to_fail(tmp_path: Path, text: str) -> None:
    (tmp_path / ELAPSED_FILE).write_text(text)
    assert attempt(tmp_path, 5) == pytest.approx(5)


def test_only_one_process_keeps_the_time(tmp_path: Path) -> None:
    with record_elapsed(tmp_path, keeps=False):
        pass
    assert list(tmp_path.iterdir()) == []
