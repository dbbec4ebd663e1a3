"""Add -q and -v to every command, and a hint where the shell expanded a pattern."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand

from medtune.cli.output import verbosity

F = TypeVar("F", bound=Callable[..., Any])

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and results.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print tracebacks of errors, too.")]
_OPTIONS = {"quiet": Quiet, "verbose": Verbose}


def add_verbosity_options(function: F) -> F:
    """Add the options -q and -v to a command."""

    @functools.wraps(function)
    def command(*arguments: Any, **settings: Any) -> Any:
        told = verbosity()
        told.quiet |= settings.pop("quiet")
        told.verbose |= settings.pop("verbose")
        return function(*arguments, **settings)

    own = inspect.signature(function, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in _OPTIONS.items()
    ]
    command.__signature__ = own.replace(parameters=[*own.parameters.values(), *added])  # type: ignore[attr-defined]
    command.__annotations__ = get_type_hints(function, include_extras=True) | _OPTIONS
    return command  # type: ignore[return-value]


class Command(TyperCommand):
    """A command that explains surplus arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            typer.BadParameter: There are too many, for example from a shell pattern.
        """
        given = [argument for argument in args if Path(argument).exists()]
        try:
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


class Commands(typer.Typer):
    """A Typer app whose commands all have -q and -v."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Register a command."""
        register = super().command(name, cls=Command, **settings)

        def with_options(function: F) -> F:
            register(add_verbosity_options(function))
            return function

        return with_options
