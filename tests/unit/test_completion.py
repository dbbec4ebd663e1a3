from __future__ import annotations

from pathlib import Path

import pytest

from medtune.cli import completion
from medtune.core.config import SHIPPED_EXPERIMENTS


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("runs/mine/adapter", "runs/other", "runs/eval/base", "runs/mine/eval/tuned"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("runs/eval/base", "runs/mine/eval/tuned"):
        (tmp_path / name / "predictions.jsonl").touch()
    (tmp_path / "experiments").mkdir()
    for name in ("experiments/quickstart.toml", "own.toml", "my.csv"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(completion, "_head", "")
    return tmp_path


def test_models_data_experiments_and_folders_are_completed() -> None:
    assert completion.complete_model("emb") == ["embedded:smollm2-135m"]
    assert completion.complete_model("runs/") == ["runs/mine"]
    assert completion.complete_model("gpt") == []
    assert completion.complete_data("starter:t") == ["starter:train", "starter:transfer"]
    assert completion.complete_data("m") == ["my.csv"]
    assert completion.complete_experiment("") == [
        "experiments/quickstart.toml",
        "own.toml",
        *sorted(file.stem for file in SHIPPED_EXPERIMENTS.glob("*.toml")),
    ]
    assert completion.complete_experiment("quick") == ["quickstart"]
    assert completion.complete_experiment("nowhere/x") == []
    assert completion.complete_evaluation("runs/e") == ["runs/eval/base"]
    assert completion.complete_evaluation("runs/mine") == ["runs/mine/eval/tuned"]
    assert completion.complete_schemes("int8,gguf-q8") == ["int8,gguf-q8_0"]
    assert completion.complete_schemes("merge,merge-") == ["merge,merge-fp16"]


def asked(*words: str) -> tuple[list[str], str]:
    """Join the words that bash hands over; the last is the one that is completed."""
    environment = {
        "_MEDTUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    completion.join_bash_words(environment)
    place = int(environment["COMP_CWORD"])
    joined = environment["COMP_WORDS"].split("\n")
    return joined[:place], joined[place]


def test_names_that_bash_splits_at_colons_are_joined() -> None:
    before = ["medtune", "evaluate", "fake:oracle"]
    words = ("medtune", "evaluate", "fake", ":", "oracle", "starter", ":")
    assert asked(*words, "re") == (before, "re")
    assert completion.complete_data("re") == ["recall"]  # bash has "starter:" already
    assert asked(*words) == (before, "")
    assert completion.complete_data("") == ["train", "recall", "transfer", "general"]
    assert asked("medtune", "ev") == (["medtune"], "ev")
    assert asked(*words[:5], "") == (before, "")


def test_other_shells_keep_their_words() -> None:
    environment = {"_MEDTUNE_COMPLETE": "complete_zsh", "COMP_WORDS": "a\n:\nb", "COMP_CWORD": "2"}
    completion.join_bash_words(environment)
    assert environment["COMP_WORDS"] == "a\n:\nb"
