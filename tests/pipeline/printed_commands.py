"""Every command that medtune prints: in its README, its docs, its cards and its error messages."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"(?:^|/bin/|-m |-- |srun )medtune (?=[a-z-])")
"""Where a command begins: by its name, its path, `python -m`, or behind a launcher."""
MESSAGE = re.compile(r"(?:^|`|; )(medtune [a-z][^;`,]*)")
"""A command in a message: the whole of it, or in backticks."""
IN_TEXT = re.compile(r"`(medtune [a-z][^`]*)`")


@dataclass(frozen=True)
class Printed:
    """A command, and where it is printed."""

    place: str
    line: str

    @property
    def words(self) -> list[str]:
        """Its arguments."""
        return shlex.split(re.sub(r"(?:^|\s)#.*", "", self.line))[1:]

    def __str__(self) -> str:
        return f"{self.place}: {self.line}"


def in_block(text: str) -> Iterator[tuple[int, str]]:
    """Find commands in the shell blocks of a Markdown text, with the line that they begin in."""
    inside, start, open_line = False, 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside, open_line = not inside and line[3:].strip() in ("sh", "bash", "console"), ""
        elif inside:
            start = start if open_line else number
            open_line += line.strip() + " "
            if open_line.rstrip().endswith("\\"):
                open_line = open_line.rstrip()[:-1]
                continue
            for part in re.split(r";\s|&&|\|\s|'(?=\s*$)", open_line):
                if found := COMMAND.search(part):
                    yield start, "medtune " + part[found.end() :].strip()
            open_line = ""


def of_docs() -> Iterator[Printed]:
    """List the commands of README and docs."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text, name = path.read_text(), path.relative_to(ROOT)
        for number, line in in_block(text):
            yield Printed(f"{name}:{number}", line)
        for number, line in enumerate(text.splitlines(), 1):
            for found in IN_TEXT.findall(line):
                yield Printed(f"{name}:{number}", found)


def of_templates() -> Iterator[Printed]:
    """List the commands that cards and pages print; what is filled in is a word here."""
    for path in sorted((ROOT / "src").rglob("templates/*.*")):
        text = re.sub(r"\{%.*?%\}", "\n", re.sub(r"\{\{.*?\}\}", "NAME", path.read_text()))
        for number, line in enumerate(text.splitlines(), 1):
            for found in (
                *IN_TEXT.findall(line),
                *re.findall("(?:<code>|%\\})(medtune [^<{]*)", line),
            ):
                yield Printed(f"{path.relative_to(ROOT)}:{number}", found)


def of_messages() -> Iterator[Printed]:
    """List the commands that errors tell to type: `fix="medtune ..."`."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.keyword) or node.arg != "fix":
                continue
            for found in MESSAGE.findall(_text(node.value)):
                yield Printed(f"{path.relative_to(ROOT)}:{node.value.lineno}", found.strip())


def _text(node: ast.expr) -> str:
    """Write a text, with a word for everything that is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    return "NAME" if isinstance(node, ast.FormattedValue) else ""
