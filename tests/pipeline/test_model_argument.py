"""What a MODEL stands for, on the command line and from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

import medtune as mt
from medtune.core.errors import AdapterError
from medtune.models.model_argument import (
    resolve_adapter_argument,
    resolve_model_argument,
)
from medtune.workflows.load_predictor import find_calibration


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("quickstart-1", "other-2", "other-3"):
        (tmp_path / "runs" / name / "adapter").mkdir(parents=True)
        (tmp_path / "runs" / name / "adapter" / "adapter_config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


@pytest.mark.parametrize(
    "given",
    [
        "runs/quickstart-1",
        "runs/quickstart-*",
        "adapter:runs/quickstart-*/adapter",
        "adapter:runs/quickstart-1",
        "runs/quickstart-1/adapter",
    ],
)
def test_a_run_stands_for_its_adapter(runs: Path, given: str) -> None:
    assert resolve_model_argument(given) == "adapter:runs/quickstart-1/adapter"
    if not given.startswith("adapter:"):
        assert resolve_adapter_argument(Path(given)) == Path("runs/quickstart-1/adapter")


@pytest.mark.parametrize("given", ["fake:oracle", "hub:a/b@*", "remote:http://h/v1#m?", "gpt-9"])
def test_other_names_of_models_stay(runs: Path, given: str) -> None:
    assert resolve_model_argument(given) == given


def test_a_gguf_file_is_a_model_without_its_prefix(runs: Path) -> None:
    assert resolve_model_argument("model.gguf") == "model.gguf"  # no such file, no model
    Path("model.gguf").touch()
    assert resolve_model_argument("model.gguf") == "path:model.gguf"
    assert resolve_model_argument("path:model.gg*") == "path:model.gguf"


def test_a_pattern_must_match_once(medtune: CommandLine, runs: Path) -> None:
    for model, said in (
        ("adapter:runs/other-*/adapter", "runs/other-*/adapter matches 2 folders"),
        ("runs/nothing-*", "runs/nothing-* matches no folders"),
    ):
        code, _, err = medtune("evaluate", model, "starter:recall")
        assert code == 2
        assert said in err
    code, _, err = medtune("evaluate", "fake:oracle", "starter", "--adapter", "runs/other-*")
    assert code == 2
    assert "runs/other-2" in err


def test_a_run_folder_has_its_calibration(runs: Path) -> None:
    (own := runs / "quickstart-1" / "eval" / "tuned-calibration-letter").mkdir(parents=True)
    name = f"adapter:{runs}/quickstart-1/adapter"
    assert find_calibration(f"{runs}/quick*", None, None) == (name, own)
    assert find_calibration(name, None, None) == (name, None)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_run_folder_is_a_model_in_python(runs: Path, kind: Any) -> None:
    run = kind(Path("runs", "quickstart-1"))
    # Its adapter is found, and has no weights here.
    with pytest.raises(AdapterError, match="runs/quickstart-1/adapter is no adapter of medtune"):
        mt.evaluate(run, "starter:recall")
    with pytest.raises(AdapterError, match="runs/quickstart-1/adapter is no adapter of medtune"):
        mt.compress(run, "int8", "out")
    with pytest.raises(AdapterError, match="runs/quickstart-1/adapter is no adapter of medtune"):
        mt.open_model(run)
