"""The Hub, spoken with a local server of its protocol; each command is a process of its own.

`huggingface_hub` and `datasets` read their settings when they are imported, so that the address of
the server and the cache are given by the environment, as a user gives them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.forked_commands import ForkedCommands
from tests.hub_server import Hub, serving_hub
from tests.real.tiny_llama import write_tiny_llama

CHUNK = 10 * 1024 * 1024
"""Bytes that huggingface_hub writes at once; what is not written is fetched again."""


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A random one-layer Llama of 12.6 MB with the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_llama(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def served() -> Iterator[Hub]:
    with serving_hub(Hub()) as running:
        yield running


@pytest.fixture
def hub(served: Hub, model_files: dict[str, bytes]) -> Hub:
    """At the same address for every test, with a model and a dataset."""
    vars(served).update(vars(Hub(port=served.port)))
    served.add("model", "org/tiny", {**model_files, "README.md": b"A model."})
    served.add("dataset", "org/exam", {"data/train.jsonl": rows(8), "data/test.jsonl": rows(4)})
    return served


def rows(count: int, stem: str = "Which letter is number") -> bytes:
    lines = [
        {"question": f"{stem} {n}?", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": n % 4}
        for n in range(count)
    ]
    return "\n".join(map(json.dumps, lines)).encode()


READ_ON_IMPORT = ("HF_ENDPOINT", "HF_HOME", "HF_HUB_OFFLINE")


class Machine:
    """One user's machine: a working folder, a cache and an environment."""

    def __init__(self, home: Path, hub: Hub) -> None:
        self.home, self.folder = home, home
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))},
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._commands: dict[tuple[str | None, ...], ForkedCommands] = {}
        self.stack = ExitStack()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        key = tuple(environment.get(name) for name in READ_ON_IMPORT)
        if key not in self._commands:
            imported = {n: v for n, v in environment.items() if n in READ_ON_IMPORT}
            commands = ForkedCommands({**self._environment, **imported})
            self._commands[key] = self.stack.enter_context(commands)
        done = self._commands[key].run(self.folder, arguments, environment)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def record(self, *arguments: str, **environment: str) -> dict[str, Any]:
        done = self.run(*arguments, "--json", **environment)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def refused(self, *arguments: str, **environment: str) -> str:
        """Run a command that is to fail with exit code 2; return its message as one line."""
        done = self.run(*arguments, **environment)
        assert done.returncode == 2, (done.stdout, done.stderr)
        return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def one_machine(served: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("machine"), served)
    with machine.stack:
        yield machine


@pytest.fixture
def machine(one_machine: Machine, tmp_path: Path) -> Machine:
    """The machine with an empty cache and an empty folder."""
    shutil.rmtree(one_machine.home / "hf", ignore_errors=True)
    one_machine.folder = tmp_path
    return one_machine


EXAM = ("evaluate", "hub:org/tiny", "hub:org/exam:test")


def test_a_model_and_a_dataset_are_evaluated_and_stay_in_the_cache(
    hub: Hub, machine: Machine
) -> None:
    first = machine.record(*EXAM, "--out", "online")
    model = hub.repositories["model", "org/tiny"]
    assert first["model"]["fingerprint"] == model.branches["main"]
    assert first["counts"]["n"] == 4
    assert not hub.paths("README.md")[0][1].startswith("/org/tiny"), "only what is needed"
    asked = len(hub.requests)
    again = machine.record(*EXAM, "--out", "offline", HF_HUB_OFFLINE="1")
    assert len(hub.requests) == asked
    assert again["accuracy"] == first["accuracy"]
    assert again["model"] == first["model"]
    assert again["data"] == first["data"]


def test_a_pinned_revision_stays_when_main_moves_on(hub: Hub, machine: Machine) -> None:
    model, data = hub.repositories["model", "org/tiny"], hub.repositories["dataset", "org/exam"]
    old_model, old_data = model.branches["main"], data.branches["main"]
    model.tags["v1"] = old_model
    model.commit({"config.json": b"{}"})
    data.commit({"data/test.jsonl": rows(7, "Which newer letter is number")})
    for revision in ("v1", old_model):
        found = machine.record(
            "evaluate", f"hub:org/tiny@{revision}", f"hub:org/exam@{old_data}:test"
        )
        assert found["model"]["fingerprint"] == old_model
        assert found["data"]["n"] == 4
    newer = machine.record("evaluate", "fake:constant", "hub:org/exam:test")
    assert newer["data"]["n"] == 7


def test_a_broken_transfer_resumes_where_it_broke(hub: Hub, machine: Machine) -> None:
    hub.breaks["model.safetensors"] = [CHUNK + 5]
    assert machine.record(*EXAM)["counts"]["n"] == 4
    ranges = [headers.get("range") for _, _, headers in hub.paths("/model.safetensors")]
    assert ranges[-2:] == [None, f"bytes={CHUNK}-"]
    # Files come from another host than the Hub, which must not see the token.
    sent = [path for _, path, headers in hub.requests if "authorization" in headers]
    assert not any(path.startswith("/cdn/") for path in sent)


def test_a_transfer_that_keeps_breaking_is_one_sentence_and_goes_on_later(
    hub: Hub, machine: Machine
) -> None:
    hub.breaks["model.safetensors"] = [0] * 6
    said = machine.refused(*EXAM)
    assert "hub:org/tiny: the download broke off" in said
    assert "give the same command again" in said
    hub.requests.clear()
    assert machine.record(*EXAM)["counts"]["n"] == 4
    assert not hub.paths("/tokenizer.json"), "files that arrived whole are kept"


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_gated_repositories_ask_for_the_licence(hub: Hub, machine: Machine, kind: str) -> None:
    name = {"model": "org/tiny", "dataset": "org/exam"}[kind]
    hub.repositories[kind, name].gated = True
    page = f"{hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"
    said = machine.refused(*EXAM)
    assert f"hub:{name} is gated, and no token was sent" in said
    assert f"accept the licence on {page}, then set HF_TOKEN" in said.replace("/ ", "/")
    said = machine.refused(*EXAM, HF_TOKEN="hf_read")
    assert "its licence was not accepted with this token" in said
    assert "hf_read" not in said
    hub.accepted.add(("hf_read", name))
    assert machine.record(*EXAM, HF_TOKEN="hf_read")["counts"]["n"] == 4


def test_private_and_missing_repositories_look_alike_without_a_token(
    hub: Hub, machine: Machine
) -> None:
    hub.repositories["model", "org/tiny"].private = True
    said = machine.refused(*EXAM)
    assert "the Hub has no model org/tiny, or it is private and no valid token was sent" in said
    assert "set HF_TOKEN" in said
    assert machine.record(*EXAM, HF_TOKEN="hf_read")["counts"]["n"] == 4
    said = machine.refused("evaluate", "hub:org/none", "starter:recall", HF_TOKEN="hf_read")
    assert "no model org/none, or it is private and closed to this token" in said
    said = machine.refused("evaluate", "fake:constant", "hub:org/none:test")
    assert "the Hub has no dataset org/none, or it is private" in said
    said = machine.refused("evaluate", "hub:org/none", "starter:recall", HF_TOKEN="hf_wrong")
    assert "status 401: Invalid credentials" in said
    assert "the token is wrong or has expired" in said


def test_a_wrong_revision_or_split_lists_what_there_is(hub: Hub, machine: Machine) -> None:
    hub.repositories["model", "org/tiny"].tags["v1"] = "0" * 40
    hub.repositories["dataset", "org/exam"].branches["old"] = "0" * 40
    said = machine.refused("evaluate", "hub:org/tiny@v9", "starter:recall")
    assert "the Hub has model org/tiny, but no revision v9 of it" in said
    assert "expected: a commit, or one of main, v1" in said
    said = machine.refused("evaluate", "fake:constant", "hub:org/exam@v9:test")
    assert "the Hub has dataset org/exam, but no revision v9 of it" in said
    assert "one of main, old" in said
    said = machine.refused("evaluate", "fake:constant", "hub:org/exam:dev")
    assert "hub:org/exam:dev" in said
    assert "['train', 'test']" in said


def test_a_repository_without_a_model_lists_its_files(hub: Hub, machine: Machine) -> None:
    hub.add("model", "org/files", {"README.md": b"x", "tiny.Q4_1.gguf": b"GGUF"})
    said = machine.refused("evaluate", "hub:org/files", "starter:recall")
    assert "hub:org/files has no config.json, only README.md, tiny.Q4_1.gguf" in said
    assert "hf download org/files tiny.Q4_1.gguf" in said
    hub.add("model", "org/bin", {"config.json": b"{}", "pytorch_model.bin": b"x"})
    said = machine.refused("evaluate", "hub:org/bin", "starter:recall")
    assert "hub:org/bin has no *.safetensors, only config.json, pytorch_model.bin" in said
    hub.add("dataset", "org/empty", {"README.md": b"x"})
    said = machine.refused("evaluate", "fake:constant", "hub:org/empty:test")
    assert "the dataset has no data file in a format that can be read" in said


def test_a_hub_that_is_ill_or_gone_is_one_sentence(hub: Hub, machine: Machine) -> None:
    hub.fails_with = 503
    said = machine.refused("evaluate", "hub:org/tiny", "starter:recall")
    assert "hub:org/tiny: the Hub answers with status 503" in said
    dead = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    said = machine.refused("evaluate", "hub:org/tiny", "starter:recall", **dead)
    assert (
        "the Hub (http://127.0.0.1:9) cannot be reached and the model is not in the local" in said
    )
    said = machine.refused("evaluate", "hub:org/tiny", "starter:recall", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set and the model is not in the local cache" in said
    said = machine.refused("evaluate", "fake:constant", "hub:org/exam:test", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set and the dataset is not in the local cache" in said


def test_a_cache_that_cannot_be_written_is_no_fault_of_the_network(
    hub: Hub, machine: Machine
) -> None:
    (machine.home / "file").touch()
    said = machine.refused(
        "evaluate", "hub:org/tiny", "starter:recall", HF_HOME=str(machine.home / "file")
    )
    assert "cannot write" in said
    assert "part of the path is a file" in said
