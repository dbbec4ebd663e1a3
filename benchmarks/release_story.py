"""Releases from the first to a rollback, on a real model; one JSON line.

    python benchmarks/release_story.py [--experiment experiments/quickstart.toml] [--json-out FILE]

In an empty registry: an update trains the first release, which is promoted and served, rules that
so few questions cannot show waived; its own base is refused in its place; an update on more data is
promoted while clients ask, and rolled back.  Then the store alone: 1,000 releases are listed, and a
release of `--gigabytes` is read again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from medtune.core.provenance import collect_provenance
from medtune.releases.evidence_store import EvidenceStore
from medtune.releases.registry import Registry
from medtune.releases.schema import Release

ROOT = Path(__file__).parents[1]
CLIENTS = 4
SUITE = "starter:transfer"
DATA = ("--set", 'data.evaluate=["starter:recall","starter:transfer"]')
MARGINS = """
version = "eighty questions"
calibration = 0.6
flips = 1.0
regression = 0.2
negation = 0.5
agreement = 0.95
withheld = 0.1
[least]
accuracy = 80
search = 80
negation = 10
orders = 80
calibration = 80
regression = 80
parity = 80
"""
"""Wide where 80 questions cannot tell more."""
TOO_FEW = "so few questions prove nothing either way"
QUESTION = {
    "stem": "Which vitamin is deficient in scurvy?",
    "options": ["Vitamin A", "Vitamin C", "Vitamin D", "Vitamin K"],
    "subject": "Biochemistry",
}


def medtune(*arguments: str, codes: Sequence[int] = (0,)) -> tuple[str, float]:
    """Run a command; give what it said, and its seconds."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "medtune", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode in codes, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr, time.perf_counter() - start


class Clients:
    """Ask without a pause until they are stopped."""

    def __init__(self, url: str) -> None:
        self.codes: Counter[int] = Counter()
        self.releases: Counter[str] = Counter()
        self._url, self._stop = url, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx2.Client(timeout=60) as client:
            while not self._stop.is_set():
                answer = client.post(f"{self._url}/v1/answer", json=QUESTION)
                self.codes[answer.status_code] += 1
                self.releases[answer.json().get("release", "none")] += 1

    def until(self, release: str) -> float:
        """Wait for the first answer of a release; give the seconds."""
        start, seen = time.perf_counter(), self.releases[release]
        while self.releases[release] == seen:
            assert time.perf_counter() - start < 120, f"{release} is not served"
            time.sleep(0.02)
        return time.perf_counter() - start

    def stop(self) -> None:
        """Let the last answers come."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def served(registry: Path, folder: Path) -> Iterator[str]:
    """Serve the champion."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "medtune", "serve", "release:champion"]
    where = ["--registry", str(registry), "--data", str(folder), "--port", str(port)]
    with subprocess.Popen([*command, *where], stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                if httpx2.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx2.TransportError:
                pass
            assert process.poll() is None, "the endpoint ended"
            time.sleep(0.1)
        try:
            yield url
        finally:
            process.send_signal(signal.SIGTERM)


def story(experiment: str, folder: Path) -> dict[str, Any]:
    """Go through all of it."""
    store, margins = folder / "registry", folder / "margins.toml"
    margins.write_text(MARGINS)
    where = ("--registry", str(store))
    judged = (*where, "--margins", str(margins))
    updates = ("--out", str(folder / "updates"), "--set", "data.calibration_size=60", *DATA)
    medtune("release", "freeze", SUITE, *where)
    small = ("--set", "data.train_size=120")
    _, first_s = medtune("update", experiment, *updates, *small, *judged, codes=(0, 1))
    registry = Registry(store)
    first, first_waived = _waived(registry, folder, judged)
    _, promote_s = medtune("release", "promote", first.name, *where)
    with served(store, folder / "served") as url:
        medtune("release", "build", "base", first.base, "--method", first.method, *where)
        done = json.loads((folder / "updates" / "record.json").read_text())
        data = folder / "updates" / done["folder"] / "data"
        asked = ("--data", "starter:recall", "--calibration", f"snapshot:{data}:calibration")
        medtune("release", "evaluate", "base", *asked, *where)
        said, _ = medtune("release", "gate", "base", *judged, codes=(1,))
        refused, _ = medtune("release", "promote", "base", *where, codes=(1,))
        _, second_s = medtune("update", experiment, *updates, *judged, codes=(0, 1))
        second, _ = _waived(registry, folder, judged)
        clients = Clients(url)
        clients.until(first.name)
        _, switch_s = medtune("release", "promote", second.name, *where)
        followed_s = clients.until(second.name)
        _, back_s = medtune("release", "rollback", *where)
        returned_s = clients.until(first.name)
        clients.stop()
    evidence_store = EvidenceStore(registry)
    verdict, passed = (
        evidence_store.find_latest_verdict(r) for r in (registry.find("base"), second)
    )
    assert verdict is not None
    assert passed is not None
    parity = evidence_store.read_evidence(passed.evidence).served
    assert parity is not None
    return {
        "first_update_s": round(first_s, 1),
        "first_waived": first_waived,
        "second_update_s": round(second_s, 1),
        "base_refused_for": [r.rule for r in verdict.refused],
        "refusal_told": "is refused" in said + refused,
        "second_judged": {r.rule: f"{r.outcome}: {r.reason}" for r in passed.results},
        "served_agreement": parity.agreement.model_dump(mode="json"),
        "served_max_drift_nats": parity.max_drift,
        "first_promote_s": round(promote_s, 2),
        "promote_s": round(switch_s, 2),
        "promoted_to_first_answer_s": round(followed_s, 2),
        "rollback_s": round(back_s, 2),
        "rolled_back_to_first_answer_s": round(returned_s, 2),
        "answers_meanwhile": {str(code): n for code, n in sorted(clients.codes.items())},
        "answers_by_release": len(clients.releases),
        "log": [line.action for line in registry.read_log()],
    }


def _waived(registry: Registry, folder: Path, judged: Sequence[str]) -> tuple[Release, list[str]]:
    """Judge what the last update built again, and answer for every rule that it did not pass."""
    done = json.loads((folder / "updates" / "record.json").read_text())
    release = registry.find(done["release"])
    told = [r["rule"] for r in done["verdict"]["results"] if r["outcome"] != "passed"]
    waived = [part for rule in told for part in ("--waive", f"{rule}:the benchmark:{TOO_FEW}")]
    medtune("release", "gate", release.name, *judged, *waived)
    return release, told


def store_alone(some: Release, gigabytes: float, folder: Path) -> dict[str, Any]:
    """List 1,000 releases, and read a large one again."""
    many = Registry(folder / "many")
    (many.folder / "releases").mkdir(parents=True)
    for i in range(1000):
        created = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=i)
        one = some.model_copy(update={"name": f"r{i}", "created": created})
        one = Release.model_validate(one.model_dump())
        (many.folder / "releases" / f"{one.id}.json").write_text(one.model_dump_json())
    start = time.perf_counter()
    assert len(many.release_rows()) == 1000
    listed_s = time.perf_counter() - start
    weights = folder / "weights"
    block = os.urandom(1 << 24)
    with weights.open("wb") as handle:
        for _ in range(int(gigabytes * (1 << 30)) // len(block)):
            handle.write(block)
    ref = many.objects.put_file(weights)
    weights.unlink()
    large = some.model_copy(update={"files": {"weights/model.safetensors": ref}})
    found = many.verify(Release.model_validate(large.model_dump()))
    assert not found.faults
    place = many.objects.object_path(ref.sha256)
    start = time.perf_counter()
    with place.open("rb") as handle:
        while handle.read(1 << 20):
            pass
    return {
        "listed_1000_s": round(listed_s, 3),
        "verified_gb_per_s": round(found.size_bytes / found.duration_s / 1e9, 2),
        "read_alone_gb_per_s": round(ref.size_bytes / (time.perf_counter() - start) / 1e9, 2),
    }


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default=str(ROOT / "experiments" / "quickstart.toml"))
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--json-out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medtune-story-") as name:
        folder = Path(name)
        found = story(asked.experiment, folder)
        some = Registry(folder / "registry").find("champion")
        found |= store_alone(some, asked.gigabytes, folder)
    found |= {
        "benchmark": "release_story",
        "provenance": collect_provenance().model_dump(mode="json"),
    }
    if asked.json_out:
        asked.json_out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
