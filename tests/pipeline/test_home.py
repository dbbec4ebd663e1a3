"""~ is the user's home in every path that a user names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import CommandLine

import medtune as mt
from medtune.core.config import load_experiment
from medtune.core.errors import InputError
from medtune.core.experiment import Experiment, NotebookExperiment
from medtune.core.run_folder import expand_home
from medtune.data.sources.sources import parse_data_ref
from medtune.models.model_argument import resolve_model_argument

ROW = {"id": "a", "question": "Which?", "opa": "Yes", "opb": "No", "opc": "?", "opd": "!", "cop": 0}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    (place / "model").mkdir(parents=True)
    (place / "model" / "config.json").write_text("{}")
    (place / "q.jsonl").write_text(json.dumps(ROW) + "\n")
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(tmp_path)
    return place


def test_only_the_home_of_the_user_is_put_in_its_place(home: Path) -> None:
    assert expand_home("~/a") == f"{home}/a"
    assert expand_home("~") == str(home)
    assert expand_home("path:~/a") == f"path:{home}/a"
    for text in ("~a.csv", "a~/b", "a/~/b", "hub:a/b", "Say ~/a"):
        assert expand_home(text) == text


def test_questions(home: Path) -> None:
    for name in ("~/q.jsonl", "file:~/q.jsonl", "file:~/q.jsonl:test"):
        assert parse_data_ref(name).place == f"{home}/q.jsonl"
    columns = {"answer_base": 0}
    assert [q.id for q in mt.load_questions("~/q.jsonl", columns=columns)] == ["a"]
    assert [q.id for q in mt.load_questions(Path("~/q.jsonl"), columns=columns)] == ["a"]


def test_models(home: Path) -> None:
    for name in ("~/model", "path:~/model", f"path:{home}/model"):
        assert resolve_model_argument(name) == f"path:{home}/model"
    assert resolve_model_argument("search:~/index") == f"search:{home}/index"
    with pytest.raises(InputError, match=f"{home}/index"):
        mt.evaluate("search:~/index", "starter:recall")


def test_an_experiment(home: Path) -> None:
    path = home / "e.toml"
    path.write_text(
        '[model]\nsource = "path:~/model"\n[data]\ntrain = "file:~/q.jsonl"\n'
        '[data.mappings."file:~/q.jsonl"]\nanswer_base = 0\n[prompt]\nsystem = "~/ is home."\n'
    )
    found = load_experiment(path, ["retrieval.kind=shared", "retrieval.index=~/index"])
    assert isinstance(found, Experiment)
    assert found.model.source == f"path:{home}/model"
    assert list(found.data.mappings) == [found.data.train] == [f"file:{home}/q.jsonl"]
    assert found.retrieval.index == f"{home}/index"
    assert found.prompt.system == "~/ is home."
    made = Experiment.model_validate({"retrieval": {"kind": "shared", "index": "~/index"}})
    assert made.retrieval.index == f"{home}/index"
    made_notebook = NotebookExperiment.model_validate({"recipe": "notebook", "data": "file:~/q"})
    assert made_notebook.data == f"file:{home}/q"


def test_folders(home: Path, tmp_path: Path) -> None:
    found = mt.evaluate("fake:oracle", "starter:recall", limit=5, out="~/runs/a")
    assert found.folder == home / "runs" / "a"
    assert mt.Evaluation.load("~/runs/a") == found
    mt.evaluate("fake:noisy", "starter:recall", limit=5).save("~/runs/b")
    mt.compare("~/runs/a", "~/runs/b", out="~/runs/c")
    assert mt.Comparison.load("~/runs/c").record == mt.Comparison.load(home / "runs/c").record
    mt.analyze("~/runs/a").save("~/runs/a")
    index = mt.search_index("starter:train", "~/runs/index", limit=20)
    assert index.folder == home / "runs" / "index"
    app = mt.create_app("search:~/runs/index", folder="~/serve", logs=False)
    app.state.services.require_store().close()
    assert (home / "serve").is_dir()
    assert not (tmp_path / "~").exists()


def test_the_command_line(home: Path, tmp_path: Path, medtune: CommandLine) -> None:
    medtune.record("evaluate", "fake:oracle", "starter:recall", "--limit", "5", "--out", "~/e")
    medtune.record("evaluate", "fake:noisy", "starter:recall", "--limit", "5", "--out", "~/f")
    medtune.record("compare", "~/e", "~/f", "--out", "~/c")
    assert (home / "c" / "report.html").is_file()
    assert not (tmp_path / "~").exists()
