"""Help in groups, suggestions for what is misspelt, new experiments, and plans."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.cli import GROUPS
from medtune.commands import doctor
from medtune.core.provenance import installed_version
from medtune.models.memory import GIB


def test_help_lists_every_command_under_its_title_in_80_plain_columns(
    medtune: CommandLine,
) -> None:
    text = medtune("--help")[1]
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "..." not in text.replace("[ARGS]...", "")
    for title, table in GROUPS.items():
        section = text.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
        assert set(re.findall(r"(?m)^  ([a-z][\w-]*)", section)) == set(table)


def test_options_of_evaluate_are_in_groups(medtune: CommandLine) -> None:
    text = medtune("evaluate", "--help")[1]
    titles = re.findall(r"(?m)^(\w[\w ]+):$", text)
    assert titles == ["Arguments", "Method", "Prompt", "Open book", "Options"]
    assert "--shots" in text.partition("Prompt:")[2].partition("Open book:")[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evalute fake:oracle starter", "Did you mean 'evaluate'?"),
        ("study robustnes", "Did you mean 'robustness'?"),
        ("evaluate fake:oracle starter --methd cloze", "--methd; did you mean --method?"),
        ("--versoin", "--versoin; did you mean --version?"),
        ("evaluate fake:oracle starter --method cloz", "did you mean cloze?"),
        ("evaluate fake:oracle starter:recal", "no such split; did you mean recall?"),
        ("evaluate fake:oracle startr", "did you mean starter?"),
        ("evaluate fake:oracel starter:recall", "did you mean fake:oracle?"),
        ("evaluate embeded:smollm2-135m starter:recall", "did you mean embedded:smollm2-135m?"),
        ("compress fake:oracle starter --scheme int9", "--scheme 'int9'; did you mean int8?"),
        ("study learning-curve --selections randm", "did you mean random?"),
        ("run --set model.dtype=float23", "did you mean float32?"),
        ("run --set data.columns.stm=x", "data.columns.stm: unknown key; did you mean stem?"),
        ("new x.toml --template medmqa", "did you mean medmcqa?"),
        ("new x.toml --model hubb:a/b", "did you mean hub?"),
        ("guard test --policy p.toml", "confidence.rsk: unknown key; did you mean risk?"),
        ("release gate v1 --waive acuracy:all:x", "did you mean accuracy?"),
    ],
)
def test_what_is_misspelt_is_suggested(
    medtune: CommandLine, tmp_path: Path, line: str, said: str
) -> None:
    (tmp_path / "p.toml").write_text(
        'version = "x"\norder = ["size", "privacy", "crisis", "scope"]\n[confidence]\nrsk = 0.1\n'
    )
    code, out, err = medtune(*line.split())
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / "x.toml").exists()


def test_nothing_is_suggested_for_what_resembles_nothing(medtune: CommandLine) -> None:
    assert "did you mean" not in medtune("evaluate", "zzz", "starter")[2]


def test_a_shell_is_told_the_choices(tmp_path: Path) -> None:
    words = ("medtune", "evaluate", "fake", ":", "oracle", "starter", ":", "re")
    done = subprocess.run(
        [sys.executable, "-m", "medtune"],
        cwd=tmp_path,
        env={
            **os.environ,
            "_MEDTUNE_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["recall"], done.stderr


def test_a_new_experiment_is_valid_and_nothing_is_overwritten(
    medtune: CommandLine, tmp_path: Path
) -> None:
    code, out, err = medtune(*("new my.toml --model hub:a/b --data starter:train".split()))
    assert (code, out) == (0, "")
    assert "medtune run my.toml --dry-run" in err
    text = (tmp_path / "my.toml").read_text()
    assert 'source = "hub:a/b"' in text
    assert medtune("new", "my.toml")[0] == 2
    assert medtune("new", "my.toml", "--model", "fake:oracle")[0] == 2
    assert (tmp_path / "my.toml").read_text() == text


@pytest.mark.parametrize(
    "line",
    [
        "evaluate fake:oracle starter:recall --dry-run",
        "evaluate fake:oracle starter:recall --search nowhere --dry-run",
        "evaluate fake:oracle starter:recall --out e --shots 2 --shots-from starter --dry-run",
        "study robustness fake:oracle starter:recall --dry-run",
        "prepare --dry-run",
    ],
)
def test_a_plan_is_printed_and_nothing_is_written(
    medtune: CommandLine, tmp_path: Path, line: str
) -> None:
    plan = medtune.record(*line.split())
    assert plan["kind"] == "plan"
    assert plan["steps"]
    assert {step["state"] for step in plan["steps"]} == {"to do"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "evaluate fake:oracle starter:recall --out e",
        "evaluate fake:oracle starter:recall",
        "prepare --out p",
        "study robustness fake:oracle starter:recall --limit 20",
    ],
)
def test_a_plan_counts_on_what_is_there(medtune: CommandLine, tmp_path: Path, line: str) -> None:
    assert medtune(*line.split())[0] == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    first = medtune.record(*line.split(), "--dry-run")["steps"][0]
    assert (first["state"], first["seconds"] or 0) == ("reused", 0)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evaluate gpt-9 starter --dry-run", "names no model"),
        ("evaluate fake:oracle starter:recall --limit 81 --dry-run", "81 were asked for"),
        ("evaluate fake:oracle starter:recall --shots 2 --dry-run", "without --shots-from"),
        ("evaluate fake:oracle starter:recall --constrained --dry-run", "--constrained"),
        ("evaluate fake:oracle starter:recall --words 9 --dry-run", "without passages"),
        ("compress fake:oracle starter:recall --dry-run", "no weights to quantize"),
        ("run nowhere.toml --dry-run", "no such file"),
        ("prepare --inspect x.csv --dry-run", "--dry-run with --verify or --inspect"),
        ("study prompts --dry-run", "calibration_size is 0"),
    ],
)
def test_a_plan_of_bad_input_is_refused(
    medtune: CommandLine, tmp_path: Path, line: str, said: str
) -> None:
    code, out, err = medtune(*line.split())
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str | None:
        return None if package == "torch" else installed_version(package)

    monkeypatch.setattr("medtune.commands.doctor.installed_version", version)
    code, out, err = medtune("doctor")
    assert (code, out) == (1, "")
    assert "not ready: torch not installed" in err
    assert "to do: pip install torch" in err


def test_a_cache_that_cannot_be_written_or_is_full_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(free: int, memory: int) -> list[Any]:
        return list(doctor._find_faults(tmp_path / "cache", free, memory))

    assert find(GIB, 8 * GIB) == []
    assert "export MEDTUNE_CACHE" in find(0, 8 * GIB)[0]
    assert "of memory" in find(GIB, GIB)[0]
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "cannot be written" in find(GIB, 8 * GIB)[0]
    assert doctor._judge([], None, "") == "Ready: everything that a job needs is here."
    assert "pip install x" in doctor._judge([], "embedded:m", "pip install x")
