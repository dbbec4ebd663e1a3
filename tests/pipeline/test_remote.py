from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine
from tests.unit.models.openai_server import OpenAiServer, serving

from medtune.data.load import load_split

KEY = "secret-7"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAiServer]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("MEDTUNE_API_KEY", KEY)
    with serving(OpenAiServer(key=KEY)) as running:
        yield running


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["letter", "cloze", "generate"])
def test_a_whole_evaluation(
    medtune: CommandLine, server: OpenAiServer, tmp_path: Path, method: str
) -> None:
    server.shows_template = True
    command = ("evaluate", server.name, "starter:recall", "--method", method, "--out", "e")
    found = medtune.record(*command)
    assert found["counts"]["n"] == 80
    assert found["counts"]["unparsed"] == 0
    assert found["model"]["source"] == server.name
    assert found["model"]["device"] == f"127.0.0.1:{server.port}"
    # A model that draws lots is at chance: 99.99 % of such exams lie within these bounds.
    assert 0.06 < found["accuracy"]["value"] < 0.48
    rows = predictions(tmp_path / "e")
    assert [row["id"] for row in rows] == [q.id for q in load_split("starter:recall").questions]
    if method == "letter":
        assert 0 < found["mean_mass"] < 0.9
    if method == "generate":
        assert found["stop_rate"]["value"] == 1.0
    assert "still valid" in medtune(*command)[2]
    for path in (tmp_path / "e").iterdir():
        assert KEY not in path.read_text()


def test_a_dead_server_is_an_error_and_the_same_command_goes_on(
    medtune: CommandLine, server: OpenAiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medtune.models.remote.http.MAX_PAUSE_S", 0.01)
    command = ("evaluate", server.name, "starter:train", "--options-only", 0, "--out", "e")
    # Beyond the first 256 questions, which are kept.
    server.dies_after = 300
    code, _, err = medtune(*command)
    assert code == 2
    assert "does not answer" in err
    assert "goes on where it stopped" in err
    assert not (tmp_path / "e" / "record.json").exists()
    server.dies_after = None
    found = medtune.record(*command)
    assert found["resumed_at"] == 256
    whole = medtune.record(*command[:-1], "f")
    assert found["accuracy"] == whole["accuracy"]


def test_a_wrong_key_is_an_error_that_does_not_show_it(
    medtune: CommandLine, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDTUNE_API_KEY", "other-8")
    code, out, err = medtune("evaluate", server.name, "starter:recall")
    assert (code, out) == (2, "")
    assert "MEDTUNE_API_KEY" in err
    assert "other-8" not in err


@pytest.mark.parametrize("verb", ["run", "train"])
def test_a_remote_model_is_not_trained(medtune: CommandLine, verb: str) -> None:
    code, _, err = medtune(verb, "--set", "model.source=remote:http://localhost:1/v1#m")
    assert code == 2
    assert "can be evaluated, but not loaded here" in err


def test_no_torch_is_needed(server: OpenAiServer, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from medtune.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit as exit_:\n"
        "    code = exit_.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'accelerate', 'datasets'} & set(sys.modules)\n"
        "print('heavy:', code, *sorted(heavy))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "evaluate", server.name, "starter:recall"],
        cwd=tmp_path,
        env={**os.environ, "MEDTUNE_API_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "heavy: 0", done.stderr
