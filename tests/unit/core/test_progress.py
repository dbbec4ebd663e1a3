from __future__ import annotations

import pytest

from medtune.core.progress import NoProgress, Progress, ProgressTask


def test_silent_tells_nobody_and_gives_itself_as_every_task(
    capsys: pytest.CaptureFixture[str],
) -> None:
    silent = NoProgress()
    progress: Progress = silent
    progress.log_message("hello")
    with progress.task("train", total=3, done=1) as task:
        shown: ProgressTask = task
        shown.advance()
        shown.advance(2, loss="1.25")
    assert task is silent
    assert capsys.readouterr() == ("", "")


def test_an_error_inside_a_silent_task_passes() -> None:
    with pytest.raises(KeyError), NoProgress().task("train", total=1):
        raise KeyError
