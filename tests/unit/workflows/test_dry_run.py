from __future__ import annotations

from pathlib import Path

import pytest

from medtune.core.experiment import EvaluationConfig
from medtune.workflows import dry_run

NOTE = "whether an earlier result is reused is found when it runs"


def test_a_compression_is_planned_by_the_method_that_the_command_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model without a card is asked for letters."""
    monkeypatch.setattr(dry_run, "find_model", lambda *_: None)
    plan = dry_run.plan_compression(f"path:{tmp_path}", ["int8"], "starter:recall", tmp_path / "p")
    names = [step.name for step in plan.steps]
    assert names == ["evaluate original, letter", "write int8", "evaluate int8, letter"]


def test_a_folder_without_a_result_leaves_no_reuse_open(tmp_path: Path) -> None:
    def notes() -> tuple[str, ...]:
        return dry_run.plan_evaluation(
            "fake:oracle", "starter:recall", tmp_path, method="letter",
            settings=EvaluationConfig(shots=2), plain=False,
        ).notes  # fmt: skip

    assert NOTE not in notes()
    (tmp_path / "record.json").touch()
    assert NOTE in notes()
