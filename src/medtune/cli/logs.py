"""Define `medtune import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import Columns, Json, OutFolder, parse_column_mapping, print_record
from medtune.cli.output import Terminal


def import_(
    log: Annotated[
        Path,
        typer.Argument(help="Results folder of lm_eval --log_samples, or an Inspect log."),
    ],
    task: Annotated[
        str | None, typer.Option(help="Task or group; without it, all of them.")
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="lm_eval: metric that says what is right; by default the task's first."),
    ] = None,
    filter_name: Annotated[
        str | None, typer.Option("--filter", help="lm_eval: filter that read free answers.")
    ] = None,
    columns: Columns = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Import a log of lm-evaluation-harness or Inspect as evaluations.

    Example: medtune import results/my-model --task mmlu_anatomy
    """
    from medtune.foreign_logs.import_log import import_log

    record = import_log(
        log,
        out,
        Terminal(),
        task=task,
        columns=parse_column_mapping(columns) if columns else None,
        metric=metric,
        filter_name=filter_name,
    )
    print_record(record, json)
