"""The whole story of releases, on fakes: built, gated, served, refused, replaced, rolled back."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.conftest import CommandLine
from tests.pipeline.serving.endpoint import QUESTION
from tests.real.test_serve import Running, running
from tests.unit.releases.test_registry import crafted

from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.registry import Registry
from medtune.serving.storage.store import Store

GUESSES = "--waive", "accuracy:Ann:a fake that guesses, to have a first champion"
LENIENT = """
version = "eighty frozen questions"
accuracy = 0.05
negation = 0.3
subjects = 0.3
flips = 0.9
calibration = 0.5
regression = 0.15
agreement = 0.95
withheld = 0.1
[least]
accuracy = 300
subjects = 40
negation = 40
orders = 300
calibration = 300
regression = 80
parity = 80
"""


class Works:
    """Runs commands on a registry."""

    def __init__(self, medtune: CommandLine, folder: Path) -> None:
        self.medtune, self.registry = medtune, folder / "registry"
        folder.mkdir(exist_ok=True)
        self.margins = folder / "margins.toml"
        self.margins.write_text(LENIENT)

    def release(self, *arguments: str, code: int = 0) -> str:
        found, out, err = self.medtune("release", *arguments, "--registry", str(self.registry))
        assert found == code, f"{arguments}: {out}{err}"
        return out + err

    def evaluate(self, name: str, *more: str, code: int = 0) -> str:
        asked = "--data", "starter:train", "--calibration", "starter:transfer"
        return self.release("evaluate", name, *asked, *more, code=code)

    def gate(self, name: str, *more: str, code: int = 0) -> str:
        return self.release("gate", name, "--margins", str(self.margins), *more, code=code)


@pytest.fixture
def works(medtune: CommandLine, tmp_path: Path) -> Works:
    made = Works(medtune, tmp_path)
    made.release("freeze", "starter:recall")
    return made


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "registry"


@pytest.fixture
def measured(works: Works, kept: Path) -> Works:
    """v1, a fake that guesses, is built and evaluated: once, and copied from there."""
    if kept.is_dir():
        shutil.rmtree(works.registry)
        shutil.copytree(kept, works.registry)
    else:
        works.release("build", "v1", "fake:noisy")
        works.evaluate("v1")
        shutil.copytree(works.registry, kept)
    return works


class Askers:
    """Clients that ask without a pause until they are stopped."""

    def __init__(self, server: Running) -> None:
        self.replies: list[dict[str, Any]] = []
        self.codes: set[int] = set()
        self._server, self._stop = server, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx2.Client(timeout=30) as client:
            while not self._stop.is_set():
                answer = client.post(f"{self._server.url}/v1/answer", json=QUESTION)
                self.codes.add(answer.status_code)
                self.replies.append(answer.json())

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def until(server: Running, release: str, seconds: float = 10.0) -> None:
    start = time.perf_counter()
    while server.ask().json()["release"] != release:
        assert time.perf_counter() - start < seconds, f"{release} is not served"
        time.sleep(0.02)


def test_from_the_first_release_to_a_rollback(works: Works, tmp_path: Path) -> None:
    works.release("build", "v1", "fake:noisy")
    assert "has not judged v1" in works.release("promote", "v1", code=1)
    works.evaluate("v1")
    works.gate("v1", *GUESSES)
    works.release("promote", "v1")
    registry = Registry(works.registry)
    first = registry.find("champion")

    options = ("--registry", str(works.registry))
    with running(tmp_path / "serve", *options, model="release:champion") as server:
        assert server.ask().json()["release"] == "v1"
        askers = Askers(server)

        works.release("build", "v2", "fake:constant")
        works.evaluate("v2")
        assert "v2 is refused: accuracy" in works.gate("v2", code=1)
        assert "v2 is refused" in works.release("promote", "v2", code=1)
        assert registry.find("champion") == first

        works.release("build", "v3", "fake:oracle")
        said = works.evaluate("v3")
        assert "v1 · starter:recall" not in said, "the champion's answers are kept"
        works.gate("v3")
        works.release("promote", "v3", "--challenger")
        start = time.perf_counter()
        works.release("promote", "v3")
        assert time.perf_counter() - start < 5
        until(server, "v3")
        works.release("rollback")
        until(server, "v1")
        askers.stop()

    assert askers.codes == {200}
    assert {reply["release"] for reply in askers.replies} == {"v1", "v3"}
    actions = [(line.action, line.detail.get("passed")) for line in registry.read_log()]
    assert actions == [
        ("release.freeze", None),
        ("release.build", None), ("release.evaluate", None), ("release.gate", True),
        ("release.promote", None),
        ("release.build", None), ("release.evaluate", None), ("release.gate", False),
        ("release.build", None), ("release.evaluate", None), ("release.gate", True),
        ("release.challenger", None), ("release.promote", None), ("release.rollback", None),
    ]  # fmt: skip
    assert registry.verify(first).faults == ()
    store = Store.open(f"sqlite:///{tmp_path / 'serve' / 'medtune.db'}")
    served = [
        line.detail["name"] for line in store.audit.list_lines() if line.action == "release.serve"
    ]
    store.close()
    assert served == ["v3", "v1"]
    listed = json.loads(works.release("list", "--json").partition("\n\n")[0])
    assert [row["name"] for row in listed["releases"]] == ["v1", "v2", "v3"]
    changed = works.release("diff", "v1", "v3")
    assert "frozen questions are answered differently" in changed
    assert "right is" in changed


def test_a_tampered_release_is_not_served_and_the_old_one_goes_on(
    measured: Works, tmp_path: Path
) -> None:
    measured.gate("v1", *GUESSES)
    measured.release("promote", "v1")
    policy = tmp_path / "policy.toml"
    registry = Registry(measured.registry)
    source = registry.objects.object_path(registry.find("v1").files["policy.toml"].sha256)
    policy.write_text(source.read_text().replace('"starter-4"', '"mine"'))
    measured.release("build", "v2", "fake:noisy", "--policy", str(policy))
    assert "policy" in measured.release("diff", "v1", "v2")
    measured.evaluate("v2")
    measured.gate("v2")
    place = registry.objects.object_path(registry.find("v2").files["policy.toml"].sha256)
    place.chmod(0o644)
    place.write_text(place.read_text().replace("4000", "9999"))
    assert "sha256" in measured.release("verify", "v2", code=1)
    assert "damaged" in measured.release("promote", "v2", code=2)
    with running(
        tmp_path / "s", "--registry", str(measured.registry), model="release:champion"
    ) as s:
        registry.set_alias("champion", registry.find("v2"), "somebody", "release.promote")
        time.sleep(1.0)
        assert s.ask().json()["release"] == "v1"


def test_an_old_verdict_promotes_nothing_new(measured: Works) -> None:
    measured.gate("v1", *GUESSES)
    few = "--data", "starter:transfer", "--calibration", "starter:train", "--limit", "20"
    measured.release("evaluate", "v1", *few)
    assert "v1 was measured again since" in measured.release("promote", "v1", code=1)
    said = measured.gate("v1", code=1)
    assert "evaluation 2 of these weights; sets of questions until then: 2" in said
    assert "v1 is refused" in measured.release("promote", "v1", code=1)
    measured.evaluate("v1")
    measured.gate("v1", *GUESSES)
    measured.release("freeze", "starter:transfer", "--limit", "30")
    said = measured.release("promote", "v1", code=1)
    assert "other questions were frozen since" in said
    assert "medtune release evaluate v1" in said
    assert "other questions were frozen since" in measured.gate("v1", code=1)
    assert Registry(measured.registry).read_aliases().champion is None
    told = measured.release("log", "v1")
    assert told.count("release.evaluate v1") == 3
    assert "data starter:transfer, n 20" in told


def test_chance_is_no_first_champion(measured: Works) -> None:
    said = measured.gate("v1", code=1)
    assert "v1 is refused: accuracy" in said
    assert "always answering" in " ".join(said.split())
    assert "v1 is refused: accuracy" in measured.release("promote", "v1", code=1)
    assert Registry(measured.registry).read_aliases().champion is None
    measured.gate("v1", *GUESSES)
    measured.release("promote", "v1")


@pytest.mark.parametrize("name", ["../x", "a b", "", "x" * 65, "champion", "a/b", "é", "a\n"])
def test_a_refused_name_gets_one_sentence(works: Works, name: str) -> None:
    said = works.release("build", name, "fake:noisy", code=2)
    assert "not a valid release name" in said or "is an alias, not the name of a release" in said
    assert "Traceback" not in said
    assert [line.action for line in Registry(works.registry).read_log()] == ["release.freeze"]


def test_a_crafted_release_writes_nothing_and_is_told(works: Works, tmp_path: Path) -> None:
    registry = Registry(works.registry)
    works.release("build", "v1", "fake:noisy")
    path = crafted(registry, "../../../owned")
    for command in ("verify", "show", "promote", "export"):
        said = works.release(command, path.stem, code=2)
        assert "'../../../owned' is unsafe" in " ".join(said.split())
    assert not list(tmp_path.rglob("owned"))
    path.unlink()
    works.release("verify", "v1")


def test_aliases_edited_by_hand_serve_nobody_new(works: Works, tmp_path: Path) -> None:
    for name, kind in (("v1", "noisy"), ("v2", "constant")):
        works.release("build", name, f"fake:{kind}")
    registry = Registry(works.registry)
    one, two = registry.find("v1"), registry.find("v2")
    registry.set_alias("champion", one, "ann", "release.promote")
    options = ("--registry", str(works.registry))
    with running(tmp_path / "s", *options, model="release:champion") as server:
        path = works.registry / "aliases.json"
        whole = path.read_text()
        path.write_text(whole.replace(one.id, two.id))
        time.sleep(1.0)
        assert server.ask().json()["release"] == "v1"
        assert "where the log says" in works.release("verify", "v1", code=1)
        assert "where the log says" in works.release("promote", "champion", code=2)
        path.unlink()
        registry.set_alias("champion", two, "ann", "release.promote")
        until(server, "v2")


def test_what_was_not_measured_is_refused_and_a_waiver_has_a_name(works: Works) -> None:
    works.release("build", "v1", "fake:noisy")
    said = works.release("gate", "v1", code=1)
    assert "needs the guards' suites" in said
    waived = works.release("gate", "v1", "--waive", "orders:Ann:we trust it anyway", code=1)
    assert "waived by Ann" in waived
    works.release("gate", "v1", "--waive", "safety:Ann:we trust it anyway", code=2)
    works.release("gate", "v1", "--waive", "orders:Ann:no", code=2)
    works.release("gate", "v1", "--waive", "beauty:Ann:we trust it anyway", code=2)


def test_evidence_is_kept_by_what_it_is_and_a_changed_one_is_refused(measured: Works) -> None:
    registry = Registry(measured.registry)
    found = EvidenceStore(registry).find_evidence(registry.find("v1").id, None)
    assert found is not None
    place = registry.objects.object_path(found.records["safety"].sha256)
    place.chmod(0o644)
    place.write_text(place.read_text().replace('"value": 0.0', '"value": 0.1', 1) + " ")
    assert "sha256 is" in measured.gate("v1", code=2)
    measured.evaluate("v1")
    measured.gate("v1", *GUESSES)


def test_the_suite_is_needed_and_kept_from_training(
    medtune: CommandLine, tmp_path: Path, works: Works
) -> None:
    works.release("build", "v1", "fake:noisy")
    said = works.evaluate("v1", "--trained-on", "starter:train", code=2)
    assert "v1 was not trained on starter:train" in said
    bare = Works(medtune, tmp_path / "bare")
    bare.release("build", "v1", "fake:noisy")
    assert "medtune release freeze" in bare.evaluate("v1", code=2)
