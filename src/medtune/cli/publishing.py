"""Define `medtune export | methods`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import Json, print_record
from medtune.core.errors import InputError
from medtune.publishing.schema import ExportFormat, Relationship


def export(
    evaluation: Annotated[Path, typer.Argument(help="Evaluation folder.")],
    to: Annotated[
        ExportFormat,
        typer.Option("--to", help="Every Eval Ever, or the Hub's .eval_results of a model."),
    ] = "every-eval-ever",
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write; its files keep the format's paths.")
    ] = Path("runs/export"),
    model_id: Annotated[
        str | None, typer.Option(help="every-eval-ever: ORG/NAME of the evaluated model.")
    ] = None,
    organization: Annotated[
        str, typer.Option(help="every-eval-ever: who made the evaluation.")
    ] = "not stated",
    relationship: Annotated[
        Relationship, typer.Option(help="every-eval-ever: relation of the evaluator to the model.")
    ] = "other",
    with_texts: Annotated[
        bool, typer.Option("--with-texts", help="every-eval-ever: write the questions' texts.")
    ] = False,
    json: Json = False,
) -> None:
    """Export an evaluation in a format of other programs.

    Example: medtune export runs/eval/base --to every-eval-ever
    """
    from medtune.publishing import export as recipe
    from medtune.publishing.every_eval_ever import Attribution, is_hub_name

    if model_id is not None and not is_hub_name(model_id):
        raise InputError(f"--model-id {model_id}", expected="ORG/NAME, as on the Hub")
    attribution = Attribution(organization, relationship, model_id)
    print_record(recipe.export_evaluation(evaluation, to, out, attribution, with_texts), json)


def methods(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, comparison or evaluation.")],
) -> None:
    """Print the Methods paragraph of a paper, in Markdown, with its references.

    Example: medtune methods runs/compare/base-tuned
    """
    from medtune.publishing.export import describe_methods

    typer.echo(describe_methods(folder).to_markdown(), nl=False)
