"""`medtune release push`: a release on a local server that speaks the Hub's protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.hub_server import Hub, serving_hub
from tests.pipeline.test_export import built, judged
from tests.unit.releases.export import dossiers as make

from medtune.core.errors import InputError
from medtune.core.progress import NoProgress
from medtune.releases.export.push import push_release
from medtune.releases.registry import Registry

Push = subprocess.CompletedProcess[str]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "runs" / "registry")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving_hub(Hub()) as running:
        yield running


def push(hub: Hub, registry: Registry, *more: str, token: str | None = "hf_write") -> Push:
    """Push v2 in a process of its own: the Hub's client reads its environment on import."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    folder = registry.folder.parents[1]
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **({"HF_TOKEN": token} if token else {}),
    }
    program = [sys.executable, "-m", "medtune", "release", "push", "v2", "hub:org/new"]
    done = subprocess.run(
        [*program, *more],
        cwd=folder,
        env={**kept, **own},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def actions(registry: Registry) -> list[tuple[str, dict[str, Any]]]:
    lines = Registry(registry.folder).read_log()
    return [(line.action, line.detail) for line in lines if line.action.startswith("release.push")]


def refused(done: Push, code: int = 2) -> str:
    assert done.returncode == code, (done.stdout, done.stderr)
    return " ".join(done.stderr.split())


def test_a_release_is_uploaded_as_it_is_exported(hub: Hub, registry: Registry) -> None:
    release = built(registry)
    judged(registry, release)
    done = push(hub, registry, "--json", "--private")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    repository = hub.repositories["model", "org/new"]
    assert repository.private
    assert record["commit"] == repository.branches["main"]
    assert record["url"] == f"{hub.url}/org/new/commit/{record['commit']}"
    files = repository.commits[record["commit"]]
    assert record["files"] == len(files) - 1  # the Hub's own .gitattributes
    assert files["adapter_model.safetensors"] == b"low-rank updates"
    assert json.loads(files["release.json"])["name"] == "v2"
    assert {"README.md", "bom.cdx.json", "gate.json", "medtune.json"} <= set(files)
    assert not any(b"secret" in content for content in files.values())
    assert actions(registry) == [
        ("release.push", {"to": "hub:org/new"}),
        ("release.pushed", {"commit": record["commit"], "url": record["url"]}),
    ]
    # The same again adds no commit and sends no weights.
    again = json.loads(push(hub, registry, "--json").stdout)
    assert again["commit"] == record["commit"]
    assert [method for method, _, _ in hub.requests].count("PUT") == 1


def test_a_branch_is_made_and_people_see_the_page(hub: Hub, registry: Registry) -> None:
    judged(registry, built(registry))
    done = push(hub, registry, "--revision", "dev", "--with-texts")
    assert done.returncode == 0, done.stderr
    branches = hub.repositories["model", "org/new"].branches
    assert branches["dev"] != branches["main"]
    text = " ".join(done.stdout.split())
    assert "with questions' texts, in hub:org/new@dev (public)" in text
    assert f"{hub.url}/org/new/commit/{branches['dev']}" in text


def test_only_what_passed_the_gate_leaves(hub: Hub, registry: Registry) -> None:
    release = built(registry)
    said = refused(push(hub, registry), 1)
    assert "v2 was not judged by the gate" in said
    worse = make.EVIDENCE.model_copy(update={"safety": make.safety(harm_answered=0.5)})
    judged(registry, release, worse)
    said = refused(push(hub, registry), 1)
    assert "v2 is refused by the gate: safety" in said
    assert "medtune release gate v2" in said
    assert hub.requests == []
    assert actions(registry) == []


def test_a_token_that_cannot_write_is_one_sentence(hub: Hub, registry: Registry) -> None:
    judged(registry, built(registry))
    said = refused(push(hub, registry, token=None))
    assert "hub:org/new: there is no token to write with" in said
    assert "token of the write role" in said
    assert hub.requests == []
    said = refused(push(hub, registry, token="hf_read"))
    assert "status 403: You don't have the rights to create a model under org" in said
    assert "token of the write role" in said
    said = refused(push(hub, registry, token="hf_wrong"))
    assert "status 401: Invalid credentials" in said
    assert ("model", "org/new") not in hub.repositories
    assert {action for action, _ in actions(registry)} == {"release.push"}


def test_a_public_repository_is_not_taken_for_a_private_one(hub: Hub, registry: Registry) -> None:
    judged(registry, built(registry))
    before = hub.add("model", "org/new", {"README.md": b"mine"}).branches["main"]
    said = refused(push(hub, registry, "--private"))
    assert "hub:org/new exists already, and is public" in said
    assert hub.repositories["model", "org/new"].branches["main"] == before


def test_a_hub_that_is_gone_is_one_sentence(hub: Hub, registry: Registry) -> None:
    judged(registry, built(registry))
    hub.fails_with = 500
    said = refused(push(hub, registry))
    assert "the Hub answers with status 500" in said
    hub.fails_with, hub.port = None, 9
    said = refused(push(hub, registry))
    assert "the Hub (http://127.0.0.1:9) cannot be reached, or the upload broke off" in said
    assert "give the same command again" in said


@pytest.mark.parametrize("target", ["org/new", "hub:new", "hub:org/new@dev", "hub:", "hub:a b/c"])
def test_a_target_is_a_repository_of_the_hub(registry: Registry, target: str) -> None:
    with pytest.raises(InputError, match="names no repository of the Hub"):
        push_release(registry, "v2", target, "ann", NoProgress())
