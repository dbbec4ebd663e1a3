"""`medtune release export`: a release for others to read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medtune.cli.options import Json, print_record
from medtune.cli.release import REGISTRY, Name, Where
from medtune.core.errors import CheckFailed


def export(
    name: Name,
    to: Annotated[
        Literal["hub-folder", "mlflow"],
        typer.Option("--to", help="A folder as the Hub takes it, or a version in MLflow."),
    ] = "hub-folder",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; default runs/export/NAME.")
    ] = None,
    tracking_uri: Annotated[
        str, typer.Option("--tracking-uri", help="MLflow's store: sqlite:///FILE, or a server.")
    ] = "sqlite:///mlflow.db",
    licence: Annotated[
        str | None, typer.Option(help="Of the weights, by SPDX id, where medtune knows none.")
    ] = None,
    with_texts: Annotated[
        bool, typer.Option("--with-texts", help="Keep questions' texts in the evidence.")
    ] = False,
    registry: Where = REGISTRY,
    json: Json = False,
) -> None:
    """Write a release with its cards, bill of materials and evidence; or register it in MLflow."""
    from medtune.releases.export import export_release as recipe
    from medtune.releases.registry import Registry

    options = recipe.ExportOptions(out, licence, with_texts)
    store = Registry(registry)
    if to == "mlflow":
        print_record(recipe.to_mlflow(store, name, options, tracking_uri), json)
    else:
        record = recipe.to_folder(store, name, options)
        print_record(record, json)
        if record.bom_faults:
            raise CheckFailed(
                f"bom.cdx.json is not what CycloneDX asks for: {record.bom_faults[0]}"
            )
