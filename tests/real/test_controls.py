"""The controls of the instrument on the tiny model: random labels, and the asked questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tables

import controls
from medtune.models.sources import ModelSource


def run(
    monkeypatch: pytest.MonkeyPatch, source: ModelSource, folder: Path, *more: str
) -> dict[str, Any]:
    out = folder / "controls.json"
    command = [
        *("/bench/controls.py", "--model", source.name, "--size", "32", "--questions", "40"),
        *("--set", "training.epochs=8", "--set", "training.learning_rate=0.02"),
        *("--set", "training.batch_size=8", "--set", 'evaluation.methods=["cloze"]'),
        *("--set", "model.dtype=float32", "--out", str(folder / "out"), "--json-out", str(out)),
    ]
    monkeypatch.setattr("sys.argv", [*command, *more])
    controls.main()
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def test_random_labels_teach_nothing_and_the_asked_questions_are_learned(
    tiny_source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(monkeypatch, tiny_source, tmp_path)
    low, high = found["guessing"]
    assert (found["n"], found["chance"]) == (40, 0.25)
    assert low < 0.25 < high
    assert low <= found["shuffled"]["accuracy"]["value"] <= high
    assert found["shuffled"]["holds"]
    assert found["shuffled"]["questions"] == 32
    learned = found["evaluated"]
    assert learned["holds"]
    assert learned["questions"] == 40
    assert learned["difference_low"] > controls.CLEAR_GAIN
    assert learned["difference"] == pytest.approx(
        learned["accuracy"]["value"] - found["untrained"]["value"]
    )
    assert found["training"]["objective"] == "choice"
    # No folder of the machine is named.
    assert str(tmp_path) not in json.dumps(found)
    assert found["provenance"]["command"].startswith("controls.py --model path:")

    # The same command does nothing again.
    files = [*tmp_path.glob("out/*/training.json"), *tmp_path.glob("out/*/eval/record.json")]
    assert len(files) == 5
    before = [path.stat().st_mtime_ns for path in files]
    again = run(monkeypatch, tiny_source, tmp_path)
    assert [path.stat().st_mtime_ns for path in files] == before
    assert again["evaluated"] == learned

    # The page of results has a section as soon as there is a record.
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "none")
    assert tables.controls_section() == ""
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    section = tables.controls_section()
    assert "| trained on random labels | 32 |" in section
    assert "| trained on the asked questions | 40 |" in section

    # A training that is too short to learn anything is a control that fails.
    with pytest.raises(SystemExit, match="failed: evaluated"):
        run(monkeypatch, tiny_source, tmp_path / "short", "--set", "training.steps=1")
