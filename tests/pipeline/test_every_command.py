"""What every command of medtune has in common: help, -q, -v, and how it takes nonsense."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.conftest import CommandLine

from medtune import cli
from medtune.commands import compare as compare_recipe


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


COMMANDS = dict(leaves(typer.main.get_command(cli.app)))
NAMES = [" ".join(path) for path in COMMANDS]
ASKING = [name for name in NAMES if any(p.required for p in COMMANDS[tuple(name.split())].params)]
"""Commands that do nothing without an input."""
MAKING = {"keys add"}
"""Commands whose argument is a name for something new."""
REDACTING = {"guard redact"}
"""Commands that take any text."""


def arguments(name: str) -> list[Any]:
    return [p for p in COMMANDS[tuple(name.split())].params if p.param_type_name == "argument"]


def test_the_commands_are_found() -> None:
    assert len(NAMES) > 40
    assert {"review score", "evaluate", "release gate"} <= set(ASKING)
    assert "run" not in ASKING


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_and_says_how_much_it_tells(medtune: CommandLine, name: str) -> None:
    code, out, err = medtune(*name.split(), "-h")
    assert code == 0
    assert err == ""
    for option in ("-q, --quiet", "-v, --verbose", "-h, --help"):
        assert option in out


@pytest.mark.parametrize("name", ASKING)
def test_a_command_without_its_input_is_a_usage_error(medtune: CommandLine, name: str) -> None:
    code, out, err = medtune(*name.split())
    assert code == 2
    assert out == ""
    assert "Usage:" in err
    assert "Missing" in err


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        (name, bad)
        for name in NAMES
        for bad in ("nowhere", "taken", "taken/below", "nothing.json", "folder", "")
        if arguments(name)
        and not (name in MAKING and bad)
        and not (name in REDACTING and bad in ("taken", "nothing.json"))
    ],
)
def test_nonsense_is_told_in_a_sentence(
    medtune: CommandLine, tmp_path: Path, name: str, bad: str
) -> None:
    (tmp_path / "taken").write_text("x")
    (tmp_path / "nothing.json").write_text(" [")
    (tmp_path / "folder").mkdir()
    command = COMMANDS[tuple(name.split())]
    given = [bad for _ in arguments(name)]
    for option in command.params:
        if option.param_type_name == "option" and option.required:
            given += [option.opts[0], bad]
    code, out, err = medtune(*name.split(), *given)
    assert code == 2, err
    assert out == ""
    assert "error:" in err.lower()
    assert "internal error" not in err


READING = [
    ("prepare --inspect {}", ["nowhere", "taken", "taken/below", "nothing.json", "folder"]),
    ("index info {}", ["nowhere", "taken", "taken/below", "nothing.json", "folder"]),
    ("index build starter --out {}", ["taken", "taken/below", "nothing.json"]),
    ("index build {} --out ix", ["nowhere", "taken", "taken/below", "nothing.json", "folder"]),
    ("index build starter --out ix --calibration {}", ["nowhere", "nothing.json", "folder"]),
    ("index build starter --out ix --without {}", ["nowhere", "nothing.json", "folder"]),
    ("prepare --verify --out {}", ["nowhere", "taken", "taken/below", "folder"]),
    ("evaluate fake:oracle starter:recall --adapter {}", ["nowhere", "taken", "folder"]),
    (
        "evaluate fake:oracle starter:recall --shots 1 --shots-from {}",
        ["nowhere", "taken", "taken/below", "nothing.json", "folder"],
    ),
    ("bench fake:oracle --data {}", ["nowhere", "taken", "nothing.json", "folder"]),
    ("parity fake:oracle fake:noisy --data {}", ["nowhere", "taken", "nothing.json", "folder"]),
    ("serve fake:oracle --policy {}", ["nowhere", "taken", "taken/below", "folder"]),
    ("serve fake:oracle --calibration {}", ["nowhere", "taken", "taken/below", "folder"]),
    ("serve fake:oracle --data {}", ["taken", "taken/below"]),
    ("serve fake:oracle --database {}", ["nowhere", "taken", "nothing.json"]),
    ("guard test --policy {}", ["nowhere", "taken", "taken/below", "folder"]),
    ("guard test --learned {}", ["nowhere", "taken", "taken/below", "folder"]),
    ("monitor report --data {}", ["nowhere", "taken", "taken/below"]),
    ("monitor report --reference {}", ["nowhere", "taken", "taken/below", "folder"]),
    ("monitor corrections --data {}", ["nowhere", "taken", "taken/below"]),
    ("keys list --data {}", ["taken", "taken/below"]),
    ("release list --registry {}", ["taken", "taken/below"]),
    ("release rollback --registry {}", ["nowhere", "taken", "taken/below", "folder"]),
    ("run {}", ["nowhere", "taken", "taken/below", "nothing.json", "folder"]),
    ("update --margins {}", ["nowhere", "taken", "taken/below", "folder"]),
    ("mix --calibration {0} --calibration {0}", ["nowhere", "taken", "nothing.json", "folder"]),
    (
        "study open-book fake:oracle starter:recall --index {}",
        ["nowhere", "taken", "taken/below", "folder"],
    ),
    ("study prompts {}", ["nowhere", "taken", "nothing.json", "folder"]),
    ("study test-size {}", ["nowhere", "taken", "nothing.json", "folder"]),
]


@pytest.mark.parametrize(
    ("command", "bad"), [(command, bad) for command, bads in READING for bad in bads]
)
def test_what_cannot_be_read_is_told_in_a_sentence(
    medtune: CommandLine, tmp_path: Path, command: str, bad: str
) -> None:
    (tmp_path / "taken").write_text("x")
    (tmp_path / "nothing.json").write_text(" [")
    (tmp_path / "folder").mkdir()
    code, _, err = medtune(*command.format(bad).split())
    assert code == 2, err
    assert "error:" in err.lower()
    assert "internal error" not in err


@pytest.mark.parametrize(
    "command", ["answer Why? --option A --option B", "bench fake:oracle", "serve fake:oracle"]
)
def test_answers_that_need_probabilities_are_not_generated(
    medtune: CommandLine, command: str
) -> None:
    code, _, err = medtune(*command.split(), "--method", "generate")
    assert code == 2
    assert "error: --method generate\nexpected: letter or cloze" in err


def test_the_version(medtune: CommandLine) -> None:
    assert medtune("--version") == (0, f"medtune {version('medtune')}\n", "")


EVALUATE = ("evaluate", "fake:oracle", "starter:recall", "--limit", 3)


@pytest.mark.parametrize("given", [("-q", *EVALUATE), (*EVALUATE, "-q"), (*EVALUATE, "--quiet")])
def test_quiet_tells_results_and_errors_only(medtune: CommandLine, given: tuple[str, ...]) -> None:
    code, out, err = medtune(*given)
    assert (code, err) == (0, "")
    assert "100.0" in out
    code, _, err = medtune("-q", "compare", "a", "b")
    assert code == 2
    assert "a holds no evaluation" in err
    assert medtune(*EVALUATE)[2] != ""  # the next one is not quiet


def crash(monkeypatch: pytest.MonkeyPatch) -> None:
    def recipe(*_: Any, **__: Any) -> None:
        raise KeyError("no such thing")

    monkeypatch.setattr(compare_recipe, "compare", recipe)


def test_a_crash_is_told_apart_from_a_check_that_said_no(
    medtune: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(monkeypatch)
    code, out, err = medtune("compare", "a", "b")
    assert (code, out) == (70, "")
    assert "internal error, KeyError: 'no such thing'" in err
    assert "with -v" in err


def test_verbose_shows_where_it_crashed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(monkeypatch)
    with pytest.raises(SystemExit, match="70"):
        cli.main(["compare", "a", "b", "-v"])
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "in recipe" in err


def test_several_paths_of_one_pattern_are_explained(medtune: CommandLine, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    code, _, err = medtune("evaluate", "fake:oracle", "starter", "--adapter", "one", "two")
    assert code == 2
    assert "If the shell made several paths of one pattern: name one of one, two" in err


def test_a_port_in_use_is_told_before_a_model_is_opened(
    medtune: CommandLine, tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # A model that does not exist would be complained about, if it were looked for first.
        code, _, err = medtune("serve", "path:nowhere", "--port", port)
    assert code == 2
    assert f"port {port} on 127.0.0.1: in use" in err
    assert list(tmp_path.iterdir()) == []


def child(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "TQDM_DISABLE": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_imports_nothing_that_computes(tmp_path: Path) -> None:
    done = child(
        "import sys\n"
        "from medtune import cli\n"
        "try:\n    cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy', 'sklearn', 'fastapi'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_bars_of_libraries_do_not_redraw_themselves_in_a_log(tmp_path: Path) -> None:
    script = (
        "import os\n"
        "os.environ.pop('TQDM_DISABLE')\n"
        "from medtune import cli\n"
        "try:\n    cli.main(['--version'])\n"
        "except SystemExit: pass\n"
        "from tqdm.auto import tqdm\n"
        "list(tqdm(range(272), mininterval=0))\n"
    )
    done = child(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


# Names of models and data as people give them

ROWS = [
    "Welche Aussage trifft zu?;(a) Ménière;(b) Sjögren;A",
    "Was ist hier richtig, bitte?;(a) x;(b) y;B",
    "Und was ist hier falsch?;(a) u;(b) v;A,B",
    "Was fehlt in dieser Zeile?;(a) u;(b) ;A",
]


def test_a_file_as_a_spreadsheet_saves_it_is_examined(medtune: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_bytes("\n".join(ROWS).encode("cp1252"))
    code, out, err = medtune("prepare", "--inspect", "my.csv")
    assert code == 0, err
    assert 'stem = "1"' in out
    assert 'options = [\n    "2",\n    "3",\n]' in out
    for note in ("semicolons", "Latin-1", "no header line: the columns are named 1 to 4"):
        assert note in err
    code, out, err = medtune(
        *("evaluate", "fake:oracle", "my.csv", "--map", "stem=1"),
        *("--map", "options=2,3", "--map", "answer=4"),
    )
    assert code == 0, err
    assert "file:my.csv" in out
    assert "left out of file:my.csv: " in out
    assert "1 × several right answers" in out
    assert "semicolons" in err


def test_an_inspection_takes_what_is_known(medtune: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("text,p,q,z\nWhich is it?,x,y,1\nWhat is it?,u,v,2\n")
    given = ("--map", "options=p,q", "--map", "answer=z", "--map", "answer_base=1")
    record = medtune.record("prepare", "--inspect", "own.csv", *given)
    assert record["mapping"]["options"] == ["p", "q"]
    assert record["mapping"]["answer_base"] == 1
    assert record["problems"] == []
    assert len(record["questions"]) == 2
    marked = medtune.record(
        "prepare", "--inspect", "own.csv", *given, "--set", 'prompt.system="Be brief."'
    )
    assert "Be brief." in marked["questions"][0]


def test_a_path_that_does_not_exist_is_told_as_a_path(medtune: CommandLine) -> None:
    code, _, err = medtune("evaluate", "fake:oracle", "none.csv")
    assert code == 2
    assert "none.csv does not exist" in err
    assert "'medqa' names no dataset" in medtune("evaluate", "fake:oracle", "medqa")[2]
