from __future__ import annotations

import sys

import pytest

from medtune.core.progress import NoProgress
from medtune.workflows.progress_bars import ProgressBars, choose_progress


def test_a_bar_shows_its_name_and_leaves_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    bars = ProgressBars()
    bars.log_message("before")
    with bars.task("questions", 4, done=1) as task:
        task.advance(3, speed="9 questions/s")
    err = capsys.readouterr().err
    assert err.startswith("before\n")
    assert "questions" in err


def test_only_a_terminal_or_a_notebook_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    own = NoProgress()
    assert choose_progress(own) is own
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert isinstance(choose_progress(None), NoProgress)
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert isinstance(choose_progress(None), ProgressBars)
