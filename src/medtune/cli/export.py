"""Define `medtune release export` and `medtune release push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medtune.cli.options import Json, print_record
from medtune.cli.output import Terminal
from medtune.cli.release import REGISTRY, Actor, Name, Where, actor_name
from medtune.core.errors import CheckFailed

Licence = Annotated[
    str | None, typer.Option(help="SPDX id of the weights' licence, if medtune knows none.")
]
WithTexts = Annotated[
    bool, typer.Option("--with-texts", help="Keep question texts in the evidence.")
]


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
    licence: Licence = None,
    with_texts: WithTexts = False,
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


def push(
    name: Name,
    target: Annotated[str, typer.Argument(help="Repository of the Hub: hub:ORG/NAME.")],
    private: Annotated[
        bool, typer.Option("--private", help="Create a private repository.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="Branch to commit to; default main.")
    ] = None,
    licence: Licence = None,
    with_texts: WithTexts = False,
    registry: Where = REGISTRY,
    by: Actor = None,
    json: Json = False,
) -> None:
    """Upload a release that passed the gate to the Hub, as `release export` writes it.

    The token is read from HF_TOKEN, or from `hf auth login`.

    Example: medtune release push v1 hub:me/my-release --private
    """
    from medtune.releases.export.push import push_release
    from medtune.releases.registry import Registry

    record = push_release(
        Registry(registry),
        name,
        target,
        actor_name(by),
        Terminal(),
        private=private,
        revision=revision,
        licence=licence,
        texts=with_texts,
    )
    print_record(record, json)
