from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from medtune import cli
from medtune.core.experiment import DataConfig
from medtune.core.progress import NoProgress
from medtune.core.schemas.dataset import SnapshotManifest
from medtune.data.snapshot import prepare_snapshot

# A busy machine is no failure.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

LONGEST_FIRST = ("real", "gpu", "pipeline", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with its tier, which is the name of its folder, and begin with the longest.

    A file is done by one worker, so that what its tests share is made once: a long file that begins
    last would be waited for.
    """
    for item in items:
        item.add_marker(tier_of(item))
    items.sort(key=lambda item: LONGEST_FIRST.index(tier_of(item)))


def tier_of(item: pytest.Item) -> str:
    return item.path.relative_to(Path(__file__).parent).parts[0]


class CommandLine:
    """The command line in an empty folder."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Run it: (exit code, stdout, stderr)."""
        with pytest.raises(SystemExit) as exit_:
            cli.main([str(argument) for argument in arguments])
        code = exit_.value.code
        assert isinstance(code, int)
        out, err = self._capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    def record(self, *arguments: object) -> dict[str, Any]:
        """Run it with --json, to success; return the record."""
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found


@pytest.fixture
def medtune(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    return CommandLine(capsys)


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> SnapshotManifest:
    """Of the starter's snapshot, with every split that there can be."""
    data = DataConfig(validation_size=20, calibration_size=40)
    folder = tmp_path_factory.mktemp("snapshot")
    return prepare_snapshot(data, 17, folder, NoProgress()).manifest
