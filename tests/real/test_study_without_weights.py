"""A study plans its cells by what is known of a model before its weights are loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtune.core.progress import NoProgress
from medtune.models.sources import ModelSource
from medtune.studies import runner
from medtune.studies.robustness.schema import RobustnessRecord
from medtune.studies.robustness.study import RobustnessStudy


def test_a_finished_study_loads_no_model(
    tiny_source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> RobustnessRecord:
        record = runner.run_study(
            RobustnessStudy,
            tmp_path,
            None,
            NoProgress(),
            model=tiny_source.name,
            data="starter:recall",
            limit=4,
            dtype="float32",
        )
        assert isinstance(record, RobustnessRecord)
        return record

    first = run()
    monkeypatch.setattr(runner, "open_model", lambda *_, **__: pytest.fail("a model was loaded"))
    assert run().findings == first.findings
