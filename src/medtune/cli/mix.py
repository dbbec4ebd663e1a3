"""Define `medtune mix`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import Json, OutFolder, print_record
from medtune.cli.output import Terminal
from medtune.core.run_folder import slugify
from medtune.models.model_argument import resolve_model_argument


def mix(
    evaluations: Annotated[
        list[Path] | None,
        typer.Argument(help="Evaluation folders of the models, same questions; none fits only."),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="Evaluation of a model on the calibration split; repeat it, in the same order."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="MODEL to open, if the evaluations do not say; one each, in order."),
    ] = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Mix the answers of models by weights, fitted on calibration.

    Example: medtune mix runs/eval/a runs/eval/b --calibration runs/cal/a --calibration runs/cal/b
    """
    from medtune.mixtures.mix import mix as mix_recipe

    fitted_on = calibration or []
    names = [folder.resolve().name for folder in evaluations or fitted_on]
    folder = out or Path("runs") / "mix" / slugify(*names)
    opened = [resolve_model_argument(name) for name in model or []]
    record = mix_recipe(evaluations or [], fitted_on, folder, Terminal(), opened)
    print_record(record, json, {"mixture": folder / "mix.json"})
    Terminal().log_message(f"answer model: mix:{folder}")
