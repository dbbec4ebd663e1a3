from __future__ import annotations

from pathlib import Path

from tests.unit.releases.export import dossiers as make

from medtune.core.progress import NoProgress
from medtune.core.records import ForgettingRecord
from medtune.releases.general_knowledge import measure_forgetting


class Listener(NoProgress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def log_message(self, text: str) -> None:
        self.said.append(text)


def measure(
    folder: Path, base: str, name: str = "fake:constant", fingerprint: str | None = None
) -> tuple[ForgettingRecord | None, list[str]]:
    release = make.release(base=base, base_fingerprint=fingerprint or base)
    listener = Listener()
    return measure_forgetting(release, name, folder, listener), listener.said


def test_a_release_is_asked_beside_its_base(tmp_path: Path) -> None:
    found, _ = measure(tmp_path, "fake:oracle")
    assert found is not None
    assert {(c.a, c.b, c.difference) for c in found.answers} == {("base", "v2", -0.75)}
    # What is there is not asked again.
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jsonl")}
    assert len(written) == 4
    assert measure(tmp_path, "fake:oracle")[0] == found
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_a_base_that_is_not_here_is_said_and_not_measured(tmp_path: Path) -> None:
    found, said = measure(tmp_path, "path:/gone")
    assert found is None
    assert said[-1].startswith("not asked, because path:/gone cannot be opened")


def test_a_base_that_changed_is_said_and_not_compared(tmp_path: Path) -> None:
    found, said = measure(tmp_path, "fake:oracle", fingerprint="another")
    assert found is None
    assert said[-1] == "fake:oracle is no longer what v2 was trained from"
