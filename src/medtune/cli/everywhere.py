"""Add -q and -v to every command, list commands and options in groups, and suggest corrections."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from medtune.cli.output import verbosity
from medtune.core.errors import did_you_mean
from medtune.core.run_folder import as_path

F = TypeVar("F", bound=Callable[..., Any])

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and results.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print tracebacks of errors, too.")]
Table = Mapping[str, Callable[..., Any] | tuple[str, Mapping[str, Callable[..., Any]]]]
"""Commands by name; a group of commands is its help and its own commands."""
TERM_WIDTH = 30
"""Widest name of an option beside which there is text."""
_OPTIONS = {"quiet": Quiet, "verbose": Verbose}


def add_verbosity_options(function: F) -> F:
    """Add the options -q and -v to a command, and put the user's home in place of ~ in paths."""

    @functools.wraps(function)
    def command(*arguments: Any, **settings: Any) -> Any:
        told = verbosity()
        told.quiet |= settings.pop("quiet")
        told.verbose |= settings.pop("verbose")
        return function(*arguments, **{name: _expand(one) for name, one in settings.items()})

    own = inspect.signature(function, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]
    command.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    command.__annotations__ = get_type_hints(function, include_extras=True) | _OPTIONS
    return command  # type: ignore[return-value]


def _expand(value: Any) -> Any:
    if isinstance(value, list):
        return [_expand(one) for one in value]
    return as_path(value) if isinstance(value, Path) else value


class Command(TyperCommand):
    """A command whose options are in groups, and which explains what it cannot parse."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            typer.BadParameter: There are too many, for example from a shell pattern.
        """
        # Not Path.exists, which fails on a text that is too long for a name.
        given = [argument for argument in args if os.path.exists(argument)]  # noqa: PTH110
        try:
            with suggest_corrections(self, ctx):
                return super().parse_args(ctx, args)
        except typer.BadParameter:
            raise
        except Exception as error:
            if "unexpected extra argument" not in str(error) or len(given) < 2:
                raise
            raise typer.BadParameter(
                f"{error} If the shell made several paths of one pattern: name one of "
                + ", ".join(given),
                ctx=ctx,
            ) from error

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, in groups by their `rich_help_panel`."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for option in self.get_params(ctx):
            line = option.get_help_record(ctx)
            plain = "Arguments" if option.param_type_name == "argument" else "Options"
            title = getattr(option, "rich_help_panel", None) or plain
            if line is not None:
                groups.setdefault(title, []).append(line)
        # What every command has comes last.
        groups["Options"] = groups.pop("Options")
        write_groups(formatter, groups)


class CommandGroup(TyperGroup):
    """A group of commands that are listed by their `rich_help_panel`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments before the command's name."""
        with suggest_corrections(self, ctx):
            return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, then the options."""
        self.format_commands(ctx, formatter)
        lines = [line for option in self.get_params(ctx) if (line := option.get_help_record(ctx))]
        write_groups(formatter, {"Options": lines})

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the first sentence of their help."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            line = (name, command.get_short_help_str(limit=1000))
            groups.setdefault(command.rich_help_panel or "Commands", []).append(line)
        write_groups(formatter, groups)


def write_groups(formatter: Any, groups: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Write groups of help lines, their texts in one column."""
    terms = [term for lines in groups.values() for term, _ in lines if len(term) <= TERM_WIDTH]
    width = max(map(len, terms), default=0)
    for title, lines in groups.items():
        if lines:
            with formatter.section(title):
                formatter.write_dl([(term.ljust(width), text) for term, text in lines])


@contextmanager
def suggest_corrections(command: Any, ctx: Any) -> Iterator[None]:
    """Name what a misspelt option or choice may have meant.

    Raises:
        typer.BadParameter: As `parse_args` does; so does a choice that does not exist.
    """
    try:
        yield
    except typer.BadParameter as error:
        message = error.message.removeprefix("Value error, ").removesuffix(".")
        value, *choices = re.findall(r"'(.+?)'", message) or [""]
        if "is not one of" in message:
            message += did_you_mean(value, choices)
        error.message = message
        raise
    except Exception as error:
        # typer has its own copy of click's errors.
        if (name := getattr(error, "option_name", None)) and hasattr(error, "possibilities"):
            known = [word for option in command.get_params(ctx) for word in option.opts]
            error.message += did_you_mean(name, known)  # type: ignore[attr-defined]
            error.possibilities = None
        raise


class Commands(typer.Typer):
    """A Typer app whose commands all have -q and -v, and may be listed in groups."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(cls=CommandGroup, no_args_is_help=True, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Register a command."""
        register = super().command(name, cls=Command, **settings)

        def with_options(function: F) -> F:
            register(add_verbosity_options(function))
            return function

        return with_options

    def register(self, title: str | None, table: Table) -> None:
        """Register commands, and groups of commands, under a title of the help."""
        for name, entry in table.items():
            if isinstance(entry, tuple):
                text, commands = entry
                group = Commands(help=text)
                group.register(None, commands)
                self.add_typer(group, name=name, rich_help_panel=title)
            else:
                self.command(name, rich_help_panel=title)(entry)
