"""Tables at the widths that terminals have: nothing is folded that is no text, nothing is lost."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import figures
import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from medtune.cli.output import console as module
from medtune.cli.output.records import print_on_console
from medtune.cli.output.table import PlainTable, shorten_middle
from medtune.core.records import Record, RunRecord
from medtune.core.schemas.compression import BenchRecord, ParityRecord
from medtune.core.schemas.safety import SafetyRecord
from medtune.releases.schema import ReleaseList, ReleaseRow
from medtune.studies.ablation.schema import AblationRecord
from medtune.studies.decoding.schema import DecodingRecord

RESULTS = Path(__file__).parents[2] / "results"
RELEASES = ReleaseList(
    releases=tuple(
        ReleaseRow(
            id=f"{n:064x}",
            name=f"medmcqa-cloze-{n}",
            created=datetime(2026, 1, 2, 3, n, tzinfo=UTC),
            base="hub:HuggingFaceTB/SmolLM2-1.7B-Instruct@0123456789abcdef",
            scheme=("int8", "int8-dynamic", None)[n],
            aliases=(("champion",), ("challenger",), ())[n],
        )
        for n in range(3)
    )
)
KINDS: dict[str, type[Record]] = {
    "quickstart": RunRecord,
    "parity": ParityRecord,
    "bench": BenchRecord,
    "ablation": AblationRecord,
    "decoding": DecodingRecord,
    "safety": SafetyRecord,
}
RECORDS = {
    name: kind.model_validate_json((RESULTS / f"{name}.json").read_bytes())
    for name, kind in KINDS.items()
} | {"releases": RELEASES}
ADDED = {"in", "every", "row:", "·", "=", "*"}


def shown(record: Record, width: int) -> str:
    out = StringIO()
    console = Console(file=out, width=width, highlight=False, markup=False, emoji=False)
    print_on_console(console, record)
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("name", RECORDS)
def test_no_word_is_broken_and_nothing_is_lost(name: str, width: int) -> None:
    text, wide = shown(RECORDS[name], width), shown(RECORDS[name], 1000)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    words, all_words = set(text.split()), set(wide.split())
    assert all_words - {"-"} <= words  # what is missing is not told again under its row
    assert {word for word in words - all_words - ADDED if "…" not in word} == set()


@pytest.mark.parametrize("width", [80, 100, 140])
def test_a_row_of_the_quickstart_is_one_line(width: int) -> None:
    lines = shown(RECORDS["quickstart"], width).splitlines()
    row = next(line for line in lines if re.match(r"starter:recall +cloze +tuned", line))
    for number in ("60.0", "49.0-70.0", "46.2", "52.5"):
        assert number in row.split()
    # Where the columns are too many, what all rows have in common is said once below them.
    common = next((line for line in lines if line.startswith("in every row:")), "")
    assert "80" in row.split() or "n 80" in common


def table(rows: int, *columns: tuple[str, str, str]) -> PlainTable:
    made = PlainTable([(header, kind) for header, kind, _ in columns])  # type: ignore[misc]
    for row in range(rows):
        made.add_row(*(cell.format(row) for _, _, cell in columns))
    return made


def laid_out(made: PlainTable, width: int) -> list[str]:
    out = StringIO()
    Console(file=out, width=width).print(made)
    return out.getvalue().splitlines()


def test_names_are_shortened_in_the_middle_with_a_key_and_stay_apart() -> None:
    made = table(2, ("model", "name", "path:packs/of/a/path-{}/int8"), ("n", "number", "{}"))
    lines = laid_out(made, 26)
    assert lines[:3] == [
        "model                    n",
        "path:pack…a/path-0/int8  0",
        "path:pack…a/path-1/int8  1",
    ]
    assert "".join(lines[3:]).replace(" ", "") == "".join(
        f"path:pack…a/path-{n}/int8=path:packs/of/a/path-{n}/int8" for n in range(2)
    )
    alike = PlainTable([("model", "name")])
    for middle in ("one", "two"):
        alike.add_row(f"aaaaaaaaaaaaaaaaaaaaaaa-{middle}-bbbbbbbbbbbbbbbbbbbbbbbbb")
    first, second = laid_out(alike, 20)[1:3]
    assert first != second


def test_what_is_the_same_in_every_row_goes_below_and_what_does_not_fit_under_its_row() -> None:
    same = table(2, ("model", "name", "base-{}"), ("a", "number", "12345"), ("b", "number", "{}9"))
    assert laid_out(same, 16) == [
        "model    b",
        "base-0  09",
        "base-1  19",
        "in every row:",
        "    a 12345",
    ]
    made = table(2, ("model", "name", "b-{}"), ("a", "number", "{}2345"), ("b", "number", "{}999"))
    assert laid_out(made, 13) == [
        "model      a",
        "b-0    02345",
        "    b 0999",
        "b-1    12345",
        "    b 1999",
    ]


def test_a_style_and_what_looks_like_markup_stay() -> None:
    made = PlainTable([("x", "name")])
    made.add_row(Text("[red]y", style="green"))
    out = StringIO()
    Console(file=out, width=40, force_terminal=True, color_system="standard").print(made)
    assert "\x1b[32m[red]y" in out.getvalue()


def test_a_name_is_cut_to_its_width() -> None:
    for width in range(3, 12):
        assert cell_len(shorten_middle("abcdefghijklm", width)) == width
    assert shorten_middle("short", 5) == "short"


def test_a_pipe_has_a_fixed_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert module.open_console(stderr=False).width == 120


SESSION = """
import sys
from medtune import cli
for command in sys.argv[1:]:
    print("$", command, flush=True)
    try:
        cli.main(command.split())
    except SystemExit as end:
        assert end.code in (0, 1), end.code
"""
COMMANDS = [
    "-q evaluate fake:noisy starter:recall --out noisy",
    "-q evaluate fake:biased starter:recall --out biased",
    "evaluate fake:biased starter:recall --out biased",
    "-q compare noisy biased",
    "-q analyze noisy",
    "-q parity fake:oracle fake:noisy --data starter:recall --limit 20",
    "-q study robustness fake:biased starter:recall --limit 20",
    "-q study test-size noisy biased",
    "-q release list",
    "-q index build starter:train --out ix --calibration starter:transfer --limit 40",
    "-q index info ix --query biceps",
    "-q evaluate fake:noisy starter:recall --out noisy --dry-run",
    "-q study robustness fake:biased starter:recall --limit 20 --dry-run",
]


def in_terminal(width: int, folder: Path, commands: list[str]) -> str:
    """Run commands in a terminal of a width; what it showed, without colours."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    child = subprocess.Popen(
        [sys.executable, "-c", SESSION, *commands],
        cwd=folder,
        env={**env, "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    parts = []
    with os.fdopen(ours, "rb", buffering=0) as screen:
        while True:
            try:
                part = screen.read(65536)
            except OSError:  # the terminal is closed
                break
            if not part:
                break
            parts.append(part)
    assert child.wait(60) == 0, b"".join(parts)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(parts).decode())


@pytest.mark.parametrize("width", [80, 100, 140])
def test_every_family_of_commands_in_a_terminal(tmp_path: Path, width: int) -> None:
    text = in_terminal(width, tmp_path, COMMANDS)
    lines = [part for line in text.splitlines() for part in line.split("\r") if part[:1] != "$"]
    for line in lines:
        # Messages with paths are left to the terminal to wrap.
        assert cell_len(line) <= width or re.match(
            r"(error|to do|expected|predictions|.*valid)", line
        )
    words = set(text.split())
    for word in ("questions", "method", "unparsed", "majority", "detectable", "subject", "lost,"):
        assert word in words
    assert "14.7-32.8" in words  # the interval of the accuracy, whole
    assert "que" not in words
    assert "no releases" in text


def test_the_readmes_picture_is_the_committed_runs() -> None:
    assert figures.PICTURE.read_text() == figures.picture()
