"""The whole story of releases, on fakes: built, gated, served, refused, replaced, rolled back."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.conftest import CommandLine
from tests.real.test_serve import Running, running
from tests.unit.serving.endpoint import QUESTION

from medtune.core.safety import SafetyRecord
from medtune.registry.store import Registry
from medtune.serving.store import Store

DATA = "starter:train"
LENIENT = "accuracy = 0.05\nnegation = 0.3\nflips = 0.9\ncalibration = 0.5\nregression = 0.15\n"


class Works:
    """Runs commands in a folder, and keeps where evidence lies."""

    def __init__(self, medtune: CommandLine, folder: Path, registry: Path) -> None:
        self.medtune, self.folder, self.registry = medtune, folder, registry
        self.shared: list[str] = []

    def run(self, *arguments: str, code: int = 0) -> str:
        found, out, err = self.medtune(*arguments)
        assert found == code, f"{arguments}: {out}{err}"
        return out + err

    def release(self, *arguments: str, code: int = 0) -> str:
        return self.run("release", *arguments, "--registry", str(self.registry), code=code)

    def evaluated(self, kind: str, data: str = DATA) -> Path:
        out = self.folder / f"eval-{kind}-{data.partition(':')[2]}"
        self.run(
            "evaluate", f"fake:{kind}", data, "--method", "letter", "--orders", "cyclic",
            "--out", str(out),
        )  # fmt: skip
        return out

    def compared(self, champion: str, candidate: str) -> Path:
        out = self.folder / f"compare-{champion}-{candidate}"
        held = [str(self.evaluated(kind, "starter:transfer")) for kind in (champion, candidate)]
        self.run(
            "compare", str(self.evaluated(champion)), str(self.evaluated(candidate)),
            "--calibration-a", held[0], "--calibration-b", held[1], "--out", str(out), "--json",
            code=0,
        )  # fmt: skip
        return out

    def gate(self, champion: str, candidate: str, name: str, code: int = 0) -> str:
        folder = str(self.compared(champion, candidate))
        evidence = ["--comparison", folder, "--regression", folder, *self.shared]
        return self.release("gate", name, *evidence, code=code)


@pytest.fixture
def works(medtune: CommandLine, tmp_path: Path) -> Works:
    made = Works(medtune, tmp_path, tmp_path / "registry")
    margins = tmp_path / "margins.toml"
    margins.write_text(LENIENT)
    safety = tmp_path / "safety.json"
    code, out, _ = medtune("guard", "test", "--json")
    assert code in (0, 1)
    SafetyRecord.model_validate_json(out)
    safety.write_text(out)
    made.run(
        "parity", "fake:noisy", "fake:noisy", "--data", DATA, "--method", "letter",
        "--out", str(tmp_path / "parity"),
    )  # fmt: skip
    made.run("bench", "fake:noisy", "--data", DATA, "--out", str(tmp_path / "bench"))
    made.shared = [
        "--safety", str(safety), "--parity", str(tmp_path / "parity" / "record.json"),
        "--bench", str(tmp_path / "bench" / "record.json"), "--margins", str(margins),
    ]  # fmt: skip
    return made


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


def until(server: Running, release: str, seconds: float = 10.0) -> float:
    start = time.perf_counter()
    while server.ask().json()["release"] != release:
        assert time.perf_counter() - start < seconds, f"{release} is not served"
        time.sleep(0.02)
    return time.perf_counter() - start


def test_from_the_first_release_to_a_rollback(works: Works, tmp_path: Path) -> None:
    works.release("build", "v1", "fake:noisy")
    assert "was not asked" in works.release("promote", "v1", code=1)
    works.gate("noisy", "noisy", "v1")
    works.release("promote", "v1")
    registry = Registry(works.registry)
    first = registry.find("champion")

    options = ("--registry", str(works.registry))
    with running(tmp_path / "serve", *options, model="release:champion") as server:
        assert server.ask().json()["release"] == "v1"
        askers = Askers(server)

        works.release("build", "v2", "fake:constant")
        refused = works.gate("noisy", "constant", "v2", code=1)
        assert "refused" in refused
        assert "v2 is refused" in works.release("promote", "v2", code=1)
        assert registry.find("champion") == first

        works.release("build", "v3", "fake:oracle")
        works.gate("noisy", "oracle", "v3")
        works.release("promote", "v3", "--challenger")
        start = time.perf_counter()
        works.release("promote", "v3")
        assert time.perf_counter() - start < 1
        assert until(server, "v3") < 1.5
        works.release("rollback")
        assert until(server, "v1") < 1.5
        askers.stop()

    assert askers.codes == {200}
    assert {reply["release"] for reply in askers.replies} == {"v1", "v3"}
    actions = [(line.action, line.detail.get("passed")) for line in registry.log()]
    assert actions == [
        ("release.build", None), ("release.gate", True), ("release.promote", None),
        ("release.build", None), ("release.gate", False),
        ("release.build", None), ("release.gate", True), ("release.challenger", None),
        ("release.promote", None), ("release.rollback", None),
    ]  # fmt: skip
    assert registry.verify(first).faults == ()
    store = Store.open(f"sqlite:///{tmp_path / 'serve' / 'medtune.db'}")
    served = [line.detail["name"] for line in store.audit_lines() if line.action == "release.serve"]
    store.close()
    assert served == ["v3", "v1"]
    said = json.loads(works.release("list", "--json").partition("\n\n")[0])
    assert [row["name"] for row in said["releases"]] == ["v1", "v2", "v3"]


def test_a_tampered_release_is_not_served_and_the_old_one_goes_on(
    works: Works, tmp_path: Path
) -> None:
    works.release("build", "v1", "fake:noisy")
    works.gate("noisy", "noisy", "v1")
    works.release("promote", "v1")
    policy = tmp_path / "policy.toml"
    registry = Registry(works.registry)
    source = registry.object(registry.find("v1").files["policy.toml"].sha256)
    policy.write_text(source.read_text().replace('"starter-1"', '"mine"'))
    works.release("build", "v2", "fake:noisy", "--policy", str(policy))
    assert "policy" in works.release("diff", "v1", "v2")
    works.gate("noisy", "noisy", "v2")
    place = registry.object(registry.find("v2").files["policy.toml"].sha256)
    place.chmod(0o644)
    place.write_text(place.read_text().replace("4000", "9999"))
    assert "sha256" in works.release("verify", "v2", code=1)
    assert "damaged" in works.release("promote", "v2", code=2)
    with running(tmp_path / "s", "--registry", str(works.registry), model="release:champion") as s:
        registry.point("champion", registry.find("v2"), "somebody", "release.promote")
        time.sleep(1.0)
        assert s.ask().json()["release"] == "v1"


def test_evidence_of_other_models_is_refused(works: Works) -> None:
    works.release("build", "v1", "fake:noisy")
    works.gate("noisy", "noisy", "v1")
    works.release("promote", "v1")
    works.release("build", "v2", "fake:oracle")
    folder = str(works.compared("noisy", "constant"))
    said = works.release("gate", "v2", "--comparison", folder, *works.shared, code=2)
    assert "no evidence about release v2" in said
    said = works.release("gate", "v2", code=1)
    assert "needs a comparison with the champion" in said
    waived = works.release("gate", "v2", "--waive", "accuracy:Ann:we trust it anyway", code=1)
    assert "waived by Ann" in waived
    works.release("gate", "v2", "--waive", "safety:Ann:we trust it anyway", code=2)
    works.release("gate", "v2", "--waive", "accuracy:Ann:no", code=2)
