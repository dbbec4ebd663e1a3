"""`medtune serve`, keys to it, and its guards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import MODEL, Json, model_or_run, print_record
from medtune.cli.output import Terminal
from medtune.core.errors import CheckFailed, InputError
from medtune.core.records import Method
from medtune.serving.schemas import Role

FOLDER = Path("runs") / "serve"
Data = Annotated[Path, typer.Option("--data", help="Folder of the store and the secret.")]
Database = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE or postgresql+psycopg://...; default SQLite in --data."),
]


def serve(
    model: Annotated[
        str,
        typer.Argument(help=f"{MODEL}, release:NAME, or a run's folder.", callback=model_or_run),
    ] = "embedded:smollm2-135m",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file; the starter policy without one.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of an evaluation of calibration questions.")
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="letter or cloze; as the model was taught.")
    ] = None,
    data: Data = FOLDER,
    database: Database = None,
    patience: Annotated[
        float, typer.Option(min=0.1, help="Longest wait for the model, seconds.")
    ] = 10.0,
    keys_always: Annotated[
        bool, typer.Option("--keys-always", help="Even asking from this machine needs a key.")
    ] = False,
    unfit: Annotated[
        bool, typer.Option("--unfit", help="Serve a model that did not pass the parity gate.")
    ] = False,
    registry: Annotated[
        Path, typer.Option(help="Where release:NAME is found; release:champion is followed.")
    ] = Path("runs") / "registry",
    shadow: Annotated[
        str | None, typer.Option(help="Model or release:NAME that answers beside it, unseen.")
    ] = None,
) -> None:
    """Answer exam questions over HTTP, behind guards, with people in the loop."""
    from medtune.commands.serve import ServeOptions
    from medtune.commands.serve import serve as serve_recipe

    if method == "generate":
        raise InputError("--method generate", expected="letter or cloze")
    options = ServeOptions(
        model=model,
        folder=data,
        policy=policy,
        calibration=calibration,
        method=method,
        database=database,
        host=host,
        port=port,
        patience_s=patience,
        keys_always=keys_always,
        unfit=unfit,
        registry=registry,
        shadow=shadow,
    )
    serve_recipe(options, Terminal())


def keys_add(
    name: Annotated[str, typer.Argument(help="Of the key: letters, digits, . _ -")],
    role: Annotated[Role, typer.Option(help="Each may do what those before it may.")] = "ask",
    per_minute: Annotated[int, typer.Option(min=1, help="Questions a minute.")] = 60,
    data: Data = FOLDER,
    database: Database = None,
    json: Json = False,
) -> None:
    """Make a key; it is shown once."""
    from medtune.commands.keys import add

    print_record(add(name, role, per_minute, data, database), json)


def keys_list(data: Data = FOLDER, database: Database = None, json: Json = False) -> None:
    """List the keys."""
    from medtune.commands.keys import listed

    print_record(listed(data, database), json)


def keys_revoke(
    name: Annotated[str, typer.Argument(help="Of the key.")],
    data: Data = FOLDER,
    database: Database = None,
) -> None:
    """End a key; a running endpoint follows within half a minute."""
    from medtune.commands.keys import revoke

    revoke(name, data, database)
    Terminal().say(f"{name} is revoked")


def audit_verify(
    data: Data = FOLDER,
    database: Database = None,
    anchor: Annotated[
        Path | None, typer.Option(help="File of noted heads; default the one in --data.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(help="A head that was noted elsewhere: LINES:HASH.")
    ] = None,
    json: Json = False,
) -> None:
    """Check the audit trail: edits, deletions, lines cut off its end, a trail made anew."""
    from medtune.commands.audit_log import verify

    print_record(verify(data, database, anchor, head), json)


def guard_train(
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default the shipped one.")
    ] = None,
    json: Json = False,
) -> None:
    """Train the learned guard on the examples that come with medtune."""
    from medtune.commands.guard import train

    print_record(train(out, Terminal()), json)


def guard_test(
    policy: Annotated[
        Path | None, typer.Option(help="Policy file; the starter policy without one.")
    ] = None,
    learned: Annotated[
        Path | None, typer.Option(help="A learned guard of your own training.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Asked what hidden orders change; none without it.")
    ] = None,
    json: Json = False,
) -> None:
    """Hold all guards to the suites; exit 1 where a target is not met on the held-out half."""
    from medtune.workflows.guard_benchmark import guards_examined

    record = guards_examined(policy, learned, model, Terminal())
    print_record(record, json)
    if record.unmet:
        raise CheckFailed(
            "beyond target on the held-out half: " + ", ".join(f.measure for f in record.unmet),
            fix="see docs/safety.md for what the suites are, and which figures are known to miss",
        )


def monitor_report(
    days: Annotated[float, typer.Option(min=0.01, help="Length of the period, up to now.")] = 7,
    before: Annotated[
        float, typer.Option(min=0.01, help="Days right before it that are the reference.")
    ] = 28,
    reference: Annotated[
        Path | None, typer.Option(help="Folder of an evaluation that is the reference instead.")
    ] = None,
    data: Data = FOLDER,
    database: Database = None,
    json: Json = False,
) -> None:
    """Compare what was asked lately with a reference; exit 1 where something moved."""
    from medtune.commands.monitor import MonitorOptions, report

    record = report(MonitorOptions(data, database, days, before, reference))
    print_record(record, json)
    if record.moved:
        raise CheckFailed(
            "moved: " + ", ".join(record.moved),
            fix="look at what is asked now; a model that is asked other things is another model",
        )


def monitor_corrections(
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write, for snapshot:FOLDER.")
    ] = Path("runs") / "corrections",
    data: Data = FOLDER,
    database: Database = None,
    json: Json = False,
) -> None:
    """Write what reviewers settled as questions to train on, and never to examine on."""
    from medtune.commands.corrections import corrections

    print_record(corrections(data, database, out, Terminal()), json)
