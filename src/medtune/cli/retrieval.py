"""Define `medtune index build | info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import DATA, Columns, Json, parse_column_mapping, print_record
from medtune.cli.output import Terminal


def build(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA|FOLDER",
            help=f"{DATA}, of which the train split is used; or a file or folder of texts: "
            "Markdown, plain text, or tables (JSONL, CSV, TSV, parquet) with a column `text` and "
            "no options, and if you like `id`, `title` and `licence`. A table of another form, "
            "or with --map, holds questions.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the index to.")],
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Evaluated questions: passages that are nearly the same, or quote one, are left "
            "out; repeatable.",
        ),
    ] = None,
    weights: Annotated[
        bool,
        typer.Option("--weights", help="Fit weights of all features, not a temperature alone."),
    ] = False,
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Questions to fit on; by default a snapshot's calibration split, else questions "
            "of the index, none of which sees itself or its near-duplicates.",
        ),
    ] = None,
    words: Annotated[int, typer.Option(min=5, help="Texts: most words of a passage.")] = 120,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the passages where the source states none.")
    ] = None,
    stemmer: Annotated[
        str, typer.Option(help="Snowball stemmer of the texts' language, or none.")
    ] = "english",
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Sentence encoder, hub:ORG/NAME or path:DIR, whose vectors are searched too.",
        ),
    ] = None,
    postgres: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="PostgreSQL database to write the passages to, and to search; its password, "
            "if any, from PGPASSWORD or ~/.pgpass.",
        ),
    ] = None,
    columns: Columns = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Use only the first N questions, or passages of texts."),
    ] = None,
    json: Json = False,
) -> None:
    """Build an index of passages, to be searched as `search:DIR` or cited as evidence.

    Example: medtune index build starter:train --out runs/index
    """
    from medtune.commands import index

    built = index.search_index(
        data,
        out,
        columns=parse_column_mapping(columns) if columns else None,
        limit=limit,
        without=without or (),
        words=words,
        licence=licence,
        stemmer=stemmer,
        calibration=calibration,
        weights=weights,
        encoder=encoder,
        postgres=postgres,
        progress=Terminal(),
    )
    print_record(built.record, json, {"index": out})


def info(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of an index.")],
    query: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Show the best passages for a text.")
    ] = None,
    json: Json = False,
) -> None:
    """Verify an index, and show its sources, its scorer, and what a query finds.

    Example: medtune index info runs/index --query "deficient in scurvy"
    """
    from medtune.commands import index

    print_record(index.describe(folder, query), json)
