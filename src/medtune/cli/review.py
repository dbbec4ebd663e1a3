"""`medtune review sample | serve | score`: the human spot-check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import Json, print_record
from medtune.terminal import Terminal

Folder = Annotated[Path, typer.Argument(help="A sample's folder.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")]
Reviewer = Annotated[
    str | None, typer.Option(help="Whose marks; the page asks where it is not said.")
]


def sample(
    evaluations: Annotated[
        list[Path], typer.Argument(metavar="EVAL...", help="Evaluation folders of free answers.")
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Items to draw.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the draw and of the order.")] = 0,
    against: Annotated[
        Path | None,
        typer.Option(help="Scored evaluation of the same questions; where it differs is doubt."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("review"),
    serve: Annotated[bool, typer.Option(help="Open the page at once.")] = True,
    port: Port = 0,
    reviewer: Reviewer = None,
    json: Json = False,
) -> None:
    """Draw outputs to adjudicate, blind, doubtful ones more often; serve the page."""
    from medtune.recipes import review

    print_record(review.sample(evaluations, n, seed, out, Terminal(), against), json)
    Terminal().say(f"items: {out / 'items.jsonl'} and items.csv")
    if serve:
        review.serve(out, reviewer, port, Terminal())


def serve(
    folder: Folder,
    port: Port = 0,
    reviewer: Reviewer = None,
    disputed: Annotated[
        bool, typer.Option("--disputed", help="Only what the reviewers do not agree on.")
    ] = False,
) -> None:
    """Show the items one by one on a local page; every mark is saved at once."""
    from medtune.recipes import review

    review.serve(folder, reviewer, port, Terminal(), disputed)


def score(
    folder: Folder,
    marks: Annotated[
        list[Path] | None,
        typer.Option(
            "--marks",
            metavar="FILE",
            help="marks-NAME.jsonl or a filled-in NAME.csv; repeatable. All of the folder's "
            "marks-*.jsonl without it.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Return the matchers' precision and recall, and Cohen's kappa of the reviewers."""
    from medtune.recipes import review

    print_record(review.score(folder, marks or (), Terminal()), json)
    Terminal().say(f"record: {folder / 'review.json'}")
