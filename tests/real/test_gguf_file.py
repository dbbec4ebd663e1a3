"""`path:FILE.gguf`: the embedded model's own file, run by llama.cpp and read by transformers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.conftest import CommandLine

from medtune.core.errors import UnknownModelError
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import AnswerModel, Decoding, GenerateRequest, Message
from medtune.core.records import Method
from medtune.data.load import load_split
from medtune.evaluation.score import score_options
from medtune.models import builtin
from medtune.models.local.local_model import LocalModel
from medtune.models.open_model import open_model
from medtune.models.remote.llama_cpp import LlamaCpp
from medtune.models.remote.remote_model import RemoteModel


@pytest.fixture(scope="module")
def file() -> Path:
    found = builtin.find_gguf()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def run_as_it_is(file: Path) -> LlamaCpp:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")
    opened = open_model(f"path:{file}")
    assert isinstance(opened, LlamaCpp)
    return opened


def scores(model: AnswerModel, method: Method, count: int) -> list[tuple[float, ...]]:
    """Give the probabilities of the options of the first questions, [question][option]."""
    questions = load_split("starter:recall", size=count).questions
    return [found for found, _ in score_options(model, PromptStyle(), method, questions)]


@pytest.mark.parametrize(("method", "count", "close"), [("letter", 16, 0.02), ("cloze", 4, 0.05)])
def test_llama_cpp_answers_as_the_embedded_model_does(
    run_as_it_is: LlamaCpp, model: LocalModel, method: Method, count: int, close: float
) -> None:
    found, expected = scores(run_as_it_is, method, count), scores(model, method, count)
    rows = list(zip(found, expected, strict=True))
    same = sum(one.index(max(one)) == other.index(max(other)) for one, other in rows)
    assert same >= count - 2
    apart = [abs(a - b) for one, other in rows for a, b in zip(one, other, strict=True)]
    assert sum(apart) / len(apart) < close


def test_transformers_reads_the_same_weights(file: Path, model: LocalModel) -> None:
    read = open_model(f"path:{file}", dtype="float32")
    assert isinstance(read, LocalModel)
    assert scores(read, "letter", 8) == scores(model, "letter", 8)
    described = read.describe()
    assert described.fingerprint == builtin.SHA256
    assert replace_source(described.model_dump()) == replace_source(model.describe().model_dump())


def replace_source(description: dict[str, object]) -> dict[str, object]:
    return {**description, "source": ""}


def test_the_command_says_who_runs_the_file(medtune: CommandLine, file: Path) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")
    shutil.copy(file, "own.gguf")
    code, _, err = medtune(
        "evaluate", "path:own.gguf", "starter:recall", "--limit", 4, "--out", "e"
    )
    assert code == 0, err
    assert "(gguf-q4_1) is run by llama.cpp; with --dtype float32" in " ".join(err.split())
    found = medtune.record(
        "evaluate", "path:own.gguf", "starter:recall", "--limit", 4, "--out", "e"
    )
    assert found["model"]["dtype"] == "gguf-q4_1"
    assert found["model"]["device"] == "llama.cpp"
    assert found["model"]["fingerprint"] == builtin.SHA256
    assert found["model"]["parameters"] == 134_515_008


def test_an_architecture_that_transformers_does_not_know_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.models.test_gguf_file import written

    monkeypatch.setenv("MEDTUNE_CACHE", str(tmp_path / "cache"))
    path = written(tmp_path / "m.gguf", tokenizer="martian")
    with pytest.raises(UnknownModelError, match="transformers cannot read its model") as caught:
        open_model(f"path:{path}", dtype="float32")
    assert "llama-server" in caught.value.fix
    assert [place.name for place in (tmp_path / "cache").iterdir() if place.is_dir()] == []


def test_a_server_chooses_among_the_options_by_a_schema(run_as_it_is: LlamaCpp) -> None:
    """Ask llama.cpp's real server as Ollama and LM Studio are asked: chats, without a tokenizer."""
    remote = RemoteModel.connect(f"remote:{run_as_it_is.name.url}")
    options = ("Vitamin A", "Vitamin C", "Zinc")
    question = Message("user", "Which vitamin is deficient in scurvy?")
    request = GenerateRequest("q", question.content, options, (question,), choices=options)
    [found] = remote.generate([request], Decoding(max_new_tokens=8))
    assert found.text in options
    assert found.stopped
