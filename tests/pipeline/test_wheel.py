"""The wheel: everything that medtune needs outside of a checkout is in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the source distribution, as PyPI's readers get it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package_and_the_experiments(wheel: Path) -> None:
    package = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "medtune").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    experiments = {f"medtune/experiments/{p.name}" for p in (ROOT / "experiments").glob("*.toml")}
    assert len(experiments) > 5
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == package | experiments


def test_the_wheel_works_where_there_is_no_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "here").mkdir()

    def medtune(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "medtune", *arguments],
            cwd=tmp_path / "here",
            env={"PYTHONPATH": str(tmp_path / "site"), "PATH": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert medtune("--version")
    # starter questions, experiments, templates; then passages, policy, fixed texts and the guards
    medtune("prepare", "quickstart", "--out", "run")
    assert (tmp_path / "here" / "run" / "data.html").exists()
    answer = medtune("answer", "Which vitamin is deficient in scurvy?", "--option", "Vitamin C",
                     "--option", "Vitamin A")  # fmt: skip
    assert "Vitamin C" in answer
    # the database's migrations
    assert "ward" in medtune("keys", "add", "ward", "--data", "store")
