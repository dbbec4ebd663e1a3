"""Define `medtune serve | keys | audit-log | guard | monitor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.completion import complete_model
from medtune.cli.options import (
    DEFAULT_MODEL,
    MODEL,
    CalibrationFolder,
    Index,
    Json,
    LearnedFile,
    LikelihoodMethod,
    PolicyFile,
    TaggerFile,
    print_record,
)
from medtune.cli.output import Terminal
from medtune.core.errors import CheckFailed, InputError, first_line
from medtune.core.formatting import format_share
from medtune.core.run_folder import write_text
from medtune.core.schemas.guard_check import CheckedLine
from medtune.serving.schemas import Role

FOLDER = Path("runs") / "serve"
EXAM = "hub:openlifescienceai/medmcqa:train"
Data = Annotated[Path, typer.Option("--data", help="Folder of the store and the secret.")]
Database = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE or postgresql+psycopg://...; default SQLite in --data."),
]


def serve(
    model: Annotated[
        str,
        typer.Argument(
            help=f"{MODEL}, {DEFAULT_MODEL}, release:NAME, or a run's folder.",
            autocompletion=complete_model,
        ),
    ] = DEFAULT_MODEL,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    policy: PolicyFile = None,
    calibration: CalibrationFolder = None,
    method: LikelihoodMethod = None,
    data: Data = FOLDER,
    database: Database = None,
    patience: Annotated[
        float, typer.Option(min=0.1, help="Longest wait for the model, seconds.")
    ] = 10.0,
    keys_always: Annotated[
        bool, typer.Option("--keys-always", help="Require a key from this machine, too.")
    ] = False,
    unfit: Annotated[
        bool, typer.Option("--unfit", help="Serve a model that did not pass the parity gate.")
    ] = False,
    registry: Annotated[
        Path, typer.Option(help="Registry folder of release:NAME; release:champion is polled.")
    ] = Path("runs") / "registry",
    shadow: Annotated[
        str | None, typer.Option(help="Model or release:NAME to run in shadow mode.")
    ] = None,
    index: Index = None,
) -> None:
    """Serve answers over HTTP, with guards and human review.

    Example: medtune serve runs/mine --port 8000
    """
    from medtune.commands.serve import serve as run_endpoint

    run_endpoint(
        model,
        Terminal(),
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
        index=index,
    )


def keys_add(
    name: Annotated[str, typer.Argument(help="Of the key: letters, digits, . _ -")],
    role: Annotated[Role, typer.Option(help="Each role includes those before it.")] = "ask",
    per_minute: Annotated[int, typer.Option(min=1, help="Questions a minute.")] = 60,
    data: Data = FOLDER,
    database: Database = None,
    json: Json = False,
) -> None:
    """Create an API key; it is shown once.

    Example: medtune keys add ward --role review
    """
    from medtune.commands.keys import add_key

    print_record(add_key(name, role, per_minute, data, database), json)


def keys_list(data: Data = FOLDER, database: Database = None, json: Json = False) -> None:
    """List the API keys.

    Example: medtune keys list --data runs/serve
    """
    from medtune.commands.keys import list_keys

    print_record(list_keys(data, database), json)


def keys_revoke(
    name: Annotated[str, typer.Argument(help="Of the key.")],
    data: Data = FOLDER,
    database: Database = None,
) -> None:
    """Revoke an API key; a running endpoint refuses it within 30 s.

    Example: medtune keys revoke ward
    """
    from medtune.commands.keys import revoke_key

    revoke_key(name, data, database)
    Terminal().log_message(f"{name} is revoked")


def audit_verify(
    data: Data = FOLDER,
    database: Database = None,
    anchor: Annotated[
        Path | None, typer.Option(help="File of noted heads; default the one in --data.")
    ] = None,
    head: Annotated[str | None, typer.Option(help="A head noted elsewhere: LINES:HASH.")] = None,
    json: Json = False,
) -> None:
    """Verify the audit log: detect edited, deleted, truncated or rebuilt lines.

    Example: medtune audit-log verify --data runs/serve
    """
    from medtune.commands.audit_log import verify_audit_log

    print_record(verify_audit_log(data, database, anchor, head), json)


def guard_train(
    exam: Annotated[
        str, typer.Option("--exam", help="Exam questions, which the guard must let pass.")
    ] = EXAM,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default the shipped one.")
    ] = None,
    json: Json = False,
) -> None:
    """Train the learned guard on the shipped examples and on exam questions.

    Example: medtune guard train --out guard.json.gz
    """
    from medtune.commands.guard import train_guard

    print_record(train_guard(exam, out, Terminal()), json)


def guard_train_tagger(
    exam: Annotated[
        str, typer.Option("--exam", help="Exam questions, as texts without identifiers.")
    ] = EXAM,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default the shipped one.")
    ] = None,
    hold_out: Annotated[
        list[str] | None,
        typer.Option(
            "--hold-out", metavar="AUTHOR", help="Measure this author's templates; repeatable."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Train the tagger of names, addresses and telephone numbers on the shipped templates.

    Example: medtune guard train-tagger --out tagger.zip --hold-out author_08
    """
    from medtune.commands.guard import train_identifier_tagger

    print_record(train_identifier_tagger(exam, out, hold_out or (), Terminal()), json)


def guard_test(
    policy: PolicyFile = None,
    learned: LearnedFile = None,
    tagger: TaggerFile = None,
    model: Annotated[
        str | None, typer.Option(help="Model whose changed answers are counted; by default none.")
    ] = None,
    json: Json = False,
) -> None:
    """Benchmark all guards on the test cases; exit 1 if the held-out half misses a target.

    Example: medtune guard test --policy policy.toml
    """
    from medtune.workflows.guard_benchmark import benchmark_guards

    record = benchmark_guards(policy, learned, model, Terminal(), tagger)
    print_record(record, json)
    if record.unmet_figures:
        raise CheckFailed(
            "beyond target on the held-out half: "
            + ", ".join(f.measure for f in record.unmet_figures),
            fix="see docs/safety.md for the test cases and the known misses",
        )


def guard_check(
    file: Annotated[Path, typer.Argument(help="JSON lines with id, stem and options.")],
    policy: PolicyFile = None,
    learned: LearnedFile = None,
    tagger: TaggerFile = None,
    page: Annotated[
        Path | None, typer.Option(help="Write a page of the lines that are not as expected.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the lines to this file, not to the output.")
    ] = None,
) -> None:
    """Run the guards on the lines of a file; print what they say, a line of JSON for each.

    Example: medtune guard check questions.jsonl --page errors.html
    """
    from medtune.commands.guard import check_file

    kept: list[str] = []

    def emit(checked: CheckedLine) -> None:
        line = checked.model_dump_json()
        typer.echo(line) if out is None else kept.append(f"{line}\n")

    try:
        record = check_file(file, emit, policy=policy, learned=learned, tagger=tagger, page=page)
    finally:
        # What came before a faulty line is not lost.
        if out is not None:
            write_text(out, "".join(kept))
    told = Terminal()
    told.log_message(", ".join(f"{n:,} {action}" for action, n in record.actions.items()))
    for share in record.shares:
        told.log_message(f"{share.name}: {format_share(share.right)} as expected")
    if page is not None:
        told.log_message(f"page: {page}")


def guard_redact(
    file: Annotated[
        str, typer.Argument(help="A text, UTF-8; - is the standard input.", allow_dash=True)
    ],
    policy: PolicyFile = None,
    tagger: TaggerFile = None,
) -> None:
    """Print a text with a numbered mark in place of every identifier.

    Example: medtune guard redact letter.txt
    """
    from medtune.guardrails.privacy.identifiers import redact_text
    from medtune.workflows.open_guards import open_finder

    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} cannot be read: {first_line(error)}", expected="a text, UTF-8"
        ) from error
    find, _ = open_finder(policy, tagger)
    typer.echo(redact_text(text, find=find), nl=False)


def monitor_report(
    days: Annotated[float, typer.Option(min=0.01, help="Days of the period, up to now.")] = 7,
    before: Annotated[
        float, typer.Option(min=0.01, help="Days of the reference period before it.")
    ] = 28,
    reference: Annotated[
        Path | None, typer.Option(help="Evaluation folder to use as the reference instead.")
    ] = None,
    data: Data = FOLDER,
    database: Database = None,
    json: Json = False,
) -> None:
    """Compare recent requests with a reference; exit 1 if there is drift.

    Example: medtune monitor report --days 7
    """
    from medtune.commands.monitor import report_drift

    record = report_drift(data, database, days=days, before_days=before, reference=reference)
    print_record(record, json)
    if record.drifted_features:
        raise CheckFailed(
            "moved: " + ", ".join(record.drifted_features),
            fix="look at the recent questions: the measured accuracy may not hold for them",
        )


def monitor_corrections(
    out: Annotated[
        Path, typer.Option("--out", help="Folder to write, for snapshot:FOLDER.")
    ] = Path("runs") / "corrections",
    data: Data = FOLDER,
    database: Database = None,
    json: Json = False,
) -> None:
    """Export decided reviews as a training-only split.

    Example: medtune monitor corrections --data runs/serve --out corrections
    """
    from medtune.commands.monitor import export_corrections

    print_record(export_corrections(data, database, out, Terminal()), json)
