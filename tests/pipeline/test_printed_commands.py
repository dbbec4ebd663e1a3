"""What is printed can be typed: every command exists, with its options and all that it needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

import pytest
import typer
from tests.pipeline.printed_commands import Printed, of_docs, of_messages, of_templates

from medtune import cli

whole_command: Callable[[], Any] = cache(lambda: typer.main.get_command(cli.app))
"""medtune with all its commands, made once."""
ABRIDGED = " ..."
"""Stands for more words of a command."""


def check(printed: Printed) -> None:
    """Parse a command as the command line does, without running it."""
    command = whole_command()
    context = command.context_class(command, info_name="medtune")
    words = [word.replace("*", "X") for word in printed.words]  # a pattern wants a match
    while commands := getattr(command, "commands", None):
        if not words:
            return  # the name of a group
        name = words.pop(0)
        assert name in commands, f"{printed}: there is no command {name}"
        command = commands[name]
        context = command.context_class(command, parent=context, info_name=name)
    if not words or "--help" in words or ABRIDGED in printed.line:
        return  # a command's name in a sentence
    try:
        command.make_context(context.info_name, words, parent=context)
    except Exception as error:  # noqa: BLE001 - typer has its own copy of click's errors
        pytest.fail(f"{printed}: {error}")


@pytest.mark.parametrize("listed", [of_docs, of_templates, of_messages])
def test_every_printed_command_can_be_typed(listed: Callable[[], Iterable[Printed]]) -> None:
    found = list(listed())
    assert found
    for printed in found:
        check(printed)


def test_every_help_has_an_example_of_its_command_that_can_be_typed() -> None:
    without = dict(list_commands(whole_command()))
    assert len(without) > 40
    for name, command in list(without.items()):
        example = re.search(r"Example: (medtune [^\n]+)", command.help)
        if example and example[1].startswith(f"medtune {name}"):
            check(Printed(f"help of {name}", example[1]))
            del without[name]
    assert not without


def list_commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from list_commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


@pytest.mark.parametrize(
    "line",
    ["medtune answr", "medtune answer adapter:FOLDER", "medtune serve --prot 1", "medtune keys ad"],
)
def test_one_that_cannot_be_typed_is_found(line: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(Printed("here", line))
