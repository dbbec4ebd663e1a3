"""A plain install has neither scikit-learn nor the server stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from medtune.cli.extras import EXTRAS
from medtune.guardrails.policy import STARTER_POLICY

ROOT = Path(__file__).parents[2]

# Runs commands, separated by "+", where the named packages cannot be imported; prints their codes.
PROGRAM = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

MISSING = sys.argv[1].split(",")
sys.meta_path.insert(0, Missing())
from medtune.cli import main
for command in sys.argv[2].split(" + "):
    try:
        main(command.split())
    except SystemExit as end:
        print("code:", command, end.code, file=sys.stderr)
"""


def codes(folder: Path, extras: tuple[str, ...], *commands: str) -> tuple[list[int], str]:
    """Exit codes of commands in an install without some extras, and what they wrote to stderr."""
    missing = ",".join(package for extra in extras for package in EXTRAS[extra])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, missing, " + ".join(commands)],
        cwd=folder,
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return [int(code) for code in re.findall(r"^code: .* (\d+)$", done.stderr, re.M)], done.stderr


def test_commands_of_a_plain_install_need_no_extra(tmp_path: Path) -> None:
    found, said = codes(
        tmp_path,
        tuple(EXTRAS),
        "evaluate fake:noisy starter:recall --out e",
        "compare e e",
        "analyze e",
        "prepare --out p",
        "models list",
        "release list",
    )
    assert found == [0] * 6, said


@pytest.mark.parametrize(
    ("extra", "command", "package"),
    [("guard", "guard train --out g", "sklearn"), ("serve", "keys list", "sqlalchemy")],
)
def test_a_missing_extra_is_named(tmp_path: Path, extra: str, command: str, package: str) -> None:
    found, said = codes(tmp_path, (extra,), command)
    assert found == [2], said
    assert f"this command needs {package}, which is not installed" in said
    assert f"pip install 'medtune[{extra}]'" in said


def test_an_engine_that_is_not_installed_is_named(tmp_path: Path) -> None:
    policy = STARTER_POLICY.read_text().replace("[privacy]\n", '[privacy]\nengine = "presidio"\n')
    (tmp_path / "p.toml").write_text(policy)
    (tmp_path / "t.txt").write_text("Mr Karl Weber")
    found, said = codes(tmp_path, ("presidio",), "guard redact t.txt --policy p.toml")
    assert found == [2], said
    assert "pip install 'medtune[presidio]'" in said


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_table_names_what_the_extra_installs(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {line.partition(">=")[0] for line in project["optional-dependencies"][extra]}
    names = packages_distributions()
    installed = {name for package in EXTRAS[extra] for name in names[package]}
    assert wanted <= {name.lower().replace("_", "-") for name in installed}
