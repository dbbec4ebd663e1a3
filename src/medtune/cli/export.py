"""Define `medtune release export`."""

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
        typer.Option("--to", help="Write a folder for the Hub, or register a version in MLflow."),
    ] = "hub-folder",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; default runs/export/NAME.")
    ] = None,
    tracking_uri: Annotated[
        str, typer.Option("--tracking-uri", help="Tracking URI: sqlite:///FILE, or a server.")
    ] = "sqlite:///mlflow.db",
    licence: Annotated[
        str | None, typer.Option(help="SPDX id of the weights' licence, if medtune knows none.")
    ] = None,
    with_texts: Annotated[
        bool, typer.Option("--with-texts", help="Keep question texts in the evidence.")
    ] = False,
    registry: Where = REGISTRY,
    json: Json = False,
) -> None:
    """Export a release with model card, SBOM and evidence, or register it in MLflow.

    Example: medtune release export v1 --to hub-folder
    """
    from medtune.releases.export import export_release as recipe
    from medtune.releases.registry import Registry

    options = recipe.ExportOptions(out, licence, with_texts)
    store = Registry(registry)
    if to == "mlflow":
        print_record(recipe.export_to_mlflow(store, name, options, tracking_uri), json)
    else:
        record = recipe.export_to_folder(store, name, options)
        print_record(record, json)
        if record.bom_faults:
            raise CheckFailed(f"bom.cdx.json does not conform to CycloneDX: {record.bom_faults[0]}")
