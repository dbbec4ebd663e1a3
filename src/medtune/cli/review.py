"""Define `medtune review sample | score`: spot checks of the parser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import Json, print_record
from medtune.cli.output import Terminal

Folder = Annotated[Path, typer.Argument(help="A sample's folder.")]


def sample(
    evaluations: Annotated[
        list[Path], typer.Argument(metavar="EVAL...", help="Evaluation folders of free answers.")
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Items to draw.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the sample and its order.")] = 0,
    against: Annotated[
        Path | None,
        typer.Option(help="Scored evaluation of the same questions; differences are doubtful."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("review"),
    json: Json = False,
) -> None:
    """Draw outputs to adjudicate, blind, doubtful ones more often; write a sheet to fill in.

    Example: medtune review sample runs/eval/free --n 200
    """
    from medtune.spotcheck import commands

    print_record(commands.draw_spot_check(evaluations, n, seed, out, Terminal(), against), json)
    Terminal().log_message(f"items: {out / 'items.jsonl'} and items.csv")
    Terminal().log_message(
        "each reviewer fills in the column choice of a copy, marks-NAME.csv: the letter that the "
        "output gives, N (names no option) or U (cannot be told)"
    )
    Terminal().log_message(f"then: medtune review score {out}")


def score(
    folder: Folder,
    marks: Annotated[
        list[Path] | None,
        typer.Option(
            "--marks",
            metavar="FILE",
            help="A filled-in sheet, NAME.csv; repeatable. Without it, the folder's marks-*.csv.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Score the matchers' precision and recall, and Cohen's kappa of the reviewers.

    Example: medtune review score review
    """
    from medtune.spotcheck import commands

    print_record(commands.score_spot_check(folder, marks or ()), json)
    Terminal().log_message(f"record: {folder / 'review.json'}")
