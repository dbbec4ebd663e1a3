"""The endpoint as a process of its own: started, asked, killed, stopped; and asked nonsense."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from tests.conftest import CommandLine
from tests.pipeline.serving.endpoint import HELD, QUESTION

from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Question, SplitDescription
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.score import answer_questions
from medtune.models.open_model import open_model
from medtune.models.remote.remote_model import RemoteModel
from medtune.retrieval.index import build_index
from medtune.retrieval.schema import Passage, PassageSource
from medtune.serving.storage.store import Store

# By this interpreter: whoever calls `.venv/bin/pytest` has no environment on the PATH.
MEDTUNE = (sys.executable, "-m", "medtune")
TEXT = "Which vitamin is deficient in scurvy?\nA. Vitamin A\nB. Vitamin C\nC. Vitamin D"
OPEN_POLICY = """
version = "open"
order = ["size", "privacy", "crisis", "scope", "confidence", "output"]
[confidence]
uncalibrated = "annotate"
"""


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    url: str
    folder: Path

    def ask(self, question: dict[str, Any] = QUESTION) -> httpx2.Response:
        return httpx2.post(f"{self.url}/v1/answer", json=question, timeout=30)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def running(folder: Path, *options: str, model: str | None = "fake:biased") -> Iterator[Running]:
    port, named = free_port(), [] if model is None else [model]
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*MEDTUNE, "serve", *named, "--port", str(port), "--data", str(folder), *options],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if httpx2.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx2.TransportError:
                pass
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield Running(process, url, folder)
    finally:
        process.kill()
        process.wait()


def test_openais_own_client_is_served(tmp_path: Path) -> None:
    policy = tmp_path / "open.toml"
    policy.write_text(OPEN_POLICY)
    # Asked twice, it answers alike: the others draw by the request's id.
    with running(tmp_path, "--policy", str(policy), model="fake:constant") as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unneeded", max_retries=0)
        # A key that is sent must be known, on this machine as well.
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        store = Store.open(f"sqlite:///{tmp_path / 'medtune.db'}")
        _, secret = store.keys.add("tester", "ask", 600)
        store.close()
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=secret, max_retries=0)
        assert [model.id for model in client.models.list()] == ["fake:constant"]
        asked: list[Any] = [{"role": "user", "content": TEXT}]
        reply = client.chat.completions.create(
            model="m", messages=asked, logprobs=True, top_logprobs=3
        )
        choice = reply.choices[0]
        assert choice.finish_reason == "stop"
        assert choice.message.content is not None
        assert choice.message.content.startswith("A. Vitamin A")
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert {t.token for t in choice.logprobs.content[0].top_logprobs} == {"A", "B", "C"}
        parts = client.chat.completions.create(model="m", messages=asked, stream=True)
        said = "".join(c.choices[0].delta.content or "" for c in parts if c.choices)
        assert said == choice.message.content
        with pytest.raises(openai.BadRequestError, match="at least 1 item"):
            client.chat.completions.create(model="m", messages=[])


def test_without_a_model_it_cites_the_starter_questions_or_defers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDTUNE_CACHE", str(tmp_path / "cache"))
    with running(tmp_path, model=None):
        pass  # builds the index

    def written() -> dict[Path, int]:
        files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
        return {path: path.stat().st_mtime_ns for path in files}

    built = written()
    assert built
    with running(tmp_path, model=None) as server:
        assert written() == built  # read, not built again
        maps = Path(f"/proc/{server.process.pid}/maps")
        if maps.exists():
            assert "torch" not in maps.read_text()
        nerve = {
            "stem": "Which nerve runs in the spiral groove of the humerus?",
            "options": ["Ulnar nerve", "Median nerve", "Radial nerve"],
        }
        reply = server.ask(nerve).json()
        assert (reply["status"], reply["letter"]) == ("answered", "C")
        assert [passage["id"] for passage in reply["evidence"]] == ["train-anatomy-01"]
        drug = {
            "stem": "Which drug is given first in anaphylaxis?",
            "options": ["Atropine", "Adrenaline", "Hydrocortisone", "Salbutamol"],
        }
        reply = server.ask(drug).json()
        assert (reply["status"], reply["letter"]) == ("deferred", None)
        assert reply["measured"]["accuracy"]["n"] == 320
        listed = httpx2.get(f"{server.url}/v1/models").json()
        assert [model["id"] for model in listed["data"]] == ["search:starter"]


def test_an_index_that_cannot_be_used_is_refused(medtune: CommandLine, tmp_path: Path) -> None:
    index = tmp_path / "index"
    passage = Passage(id="a", text="Scurvy is a lack of vitamin C.", source="s")
    source = PassageSource(source="s", licence=None, passages=1)
    build_index([passage], [source], index, "english", NoProgress())
    with running(tmp_path, "--index", str(index)) as server:
        (found,) = server.ask().json()["evidence"]
        assert found["text"] == passage.text
    command = ("serve", "fake:biased", "--data", tmp_path, "--index")
    manifest = (index / "manifest.json").read_text()
    for change, words in (
        (lambda: (index / "passages.arrow").write_bytes(b"x"), "was changed"),
        (lambda: (index / "passages.arrow").unlink(), "is missing"),
        (
            lambda: (index / "manifest.json").write_text(
                manifest.replace('"version": 1', '"version": 0')
            ),
            "holds no passage index of version 1",
        ),
    ):
        change()
        code, _, err = medtune(*command, index)
        assert code == 2
        assert words in " ".join(err.split())
    code, _, err = medtune(*command, "none")
    assert code == 2
    assert "none holds no passage index" in " ".join(err.split())


def test_the_endpoint_is_a_model_like_any_other(tmp_path: Path) -> None:
    """medtune examines its own endpoint: letters and log-probabilities are the model's."""
    policy = tmp_path / "policy.toml"
    policy.write_text(OPEN_POLICY)
    questions = [
        Question(id=str(i), stem=f"Which nerve number {i} is it?", options=tuple("wxyz"), answer=0)
        for i in range(8)
    ]
    nothing = SplitDescription(source="asked", n=8, excluded={}, hash="")
    exam = Exam.for_likelihood(questions, nothing, PromptStyle(), "letter")
    with running(tmp_path / "s", "--policy", str(policy), model="fake:constant") as server:
        remote = open_model(f"remote:{server.url}/v1")
        assert isinstance(remote, RemoteModel)
        served = answer_questions(remote, exam, questions, STRICT_PARSER, {})
        right = answer_questions(open_model("fake:constant"), exam, questions, STRICT_PARSER, {})
    for ours, theirs in zip(served, right, strict=True):
        assert ours.chosen == theirs.chosen
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)
    assert remote.floored == 0


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    told: list[str] = []
    with running(tmp_path) as server:

        def load() -> None:
            while True:
                try:
                    reply = server.ask({**HELD, "stem": f"{HELD['stem']} {time.time_ns()}"})
                except httpx2.TransportError:
                    return
                if reply.status_code == 200:
                    told.append(reply.json()["request_id"])

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        patience = time.monotonic() + 60
        while len(told) <= 10 and time.monotonic() < patience:
            time.sleep(0.05)
        server.process.send_signal(signal.SIGKILL)
        for thread in threads:
            thread.join()
    assert len(told) > 10
    store = Store.open(f"sqlite:///{tmp_path / 'medtune.db'}")
    try:
        assert all(store.reviews.find(number) is not None for number in told)
        store.audit.verify_lines()
    finally:
        store.close()


def test_a_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        codes: list[int] = []

        def load() -> None:
            while True:
                try:
                    codes.append(server.ask().status_code)
                except httpx2.TransportError:  # not taken any more
                    return

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        while len(codes) < 20:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert server.process.wait(20) == 0
    assert set(codes) == {200}
    store = Store.open(f"sqlite:///{tmp_path / 'medtune.db'}")
    kept = sum(store.requests.count().by_status.values())
    store.close()
    assert kept == len(codes)


def test_a_taken_port_and_an_address_without_keys_are_told(
    medtune: CommandLine, tmp_path: Path
) -> None:
    command = ("serve", "fake:biased", "--data", tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = medtune(*command, "--port", taken.getsockname()[1])
    assert code == 2
    assert "in use" in err
    code, _, err = medtune(*command, "--host", "0.0.0.0")
    assert code == 2
    assert "medtune keys add" in err


def test_no_request_gives_a_5xx(tmp_path: Path) -> None:
    """Requests as the schema allows them, and as it does not, over every route."""
    tool = Path(sys.executable).with_name("schemathesis")
    with running(tmp_path) as server:
        done = subprocess.run(
            [
                tool, "run", f"{server.url}/openapi.json", "--checks", "not_a_server_error",
                "--max-examples", "20", "--seed", "1", "--phases", "examples,coverage,fuzzing",
                "--workers", "2", "--no-color",
            ],
            capture_output=True, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip
        alive = server.ask()
    assert done.returncode == 0, done.stdout[-4000:]
    assert alive.status_code == 200
