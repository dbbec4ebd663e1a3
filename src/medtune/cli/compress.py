"""`medtune compress | parity | bench | answer`: from a trained model to what is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from medtune.cli.options import (
    DATA,
    MODEL,
    Adapter,
    Arithmetic,
    Columns,
    Json,
    Limit,
    Model,
    OutFolder,
    mapping,
    model_name,
    model_or_run,
    named,
    print_record,
)
from medtune.cli.output import Terminal
from medtune.core.errors import CheckFailed, InputError
from medtune.core.records import Method
from medtune.core.run_folder import slug
from medtune.core.schemas.compression import SERVED, Budget, ParityRecord, Scheme

SCHEMES: tuple[Scheme, ...] = get_args(Scheme)


def compress(
    model: Model,
    data: Annotated[str, typer.Argument(help=f"Questions of the parity gate: {DATA}")],
    adapter: Adapter = None,
    scheme: Annotated[
        str, typer.Option(help=f"One or more of {', '.join(SCHEMES)}, comma-separated.")
    ] = "int8",
    method: Annotated[
        Method | None, typer.Option(help="letter or cloze; as the model was taught.")
    ] = None,
    limit: Limit = None,
    columns: Columns = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Pack a trained model, and prove on the same questions that nothing broke."""
    from medtune.commands.compress import CompressOptions
    from medtune.commands.compress import compress as compress_recipe

    options = CompressOptions(
        model, _schemes(scheme), data, adapter, method, limit, columns=mapping(columns or [])
    )
    folder = out or Path("runs") / "packed" / slug(model, str(adapter or ""))
    _judged(compress_recipe(options, folder, Terminal()), folder, json)


def parity(
    model: Annotated[str, typer.Argument(help=f"The original: {MODEL}", callback=model_name)],
    others: Annotated[list[str], typer.Argument(metavar="OTHER...", help="What stands in for it.")],
    data: Annotated[str, typer.Option(help=DATA)] = "starter:recall",
    method: Annotated[
        Method | None, typer.Option(help="letter or cloze; as the model was taught.")
    ] = None,
    agreement: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Least share of questions with the same choice, at its lower end."
        ),
    ] = SERVED.agreement,
    loss: Annotated[
        float, typer.Option(min=0, max=1, help="Most accuracy that may be lost, with its interval.")
    ] = SERVED.loss,
    drift: Annotated[
        float,
        typer.Option(
            min=0,
            help="Most that log-probabilities may move on average, nats a token, at the upper end.",
        ),
    ] = SERVED.drift,
    limit: Limit = None,
    columns: Columns = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Hold other models against the first: served, converted elsewhere, from the Hub."""
    from medtune.commands.parity import ParityOptions
    from medtune.commands.parity import parity as parity_recipe

    budget = Budget(agreement=agreement, loss=loss, drift=drift)
    options = ParityOptions(
        model, tuple(map(model_name, others)), data, budget, method, limit, mapping(columns or [])
    )
    folder = out or Path("runs") / "parity" / slug(model, *others)
    _judged(parity_recipe(options, folder, Terminal()), folder, json)


def _judged(record: ParityRecord, folder: Path, json: bool) -> None:
    """Print what the gate found.

    Raises:
        CheckFailed: Something is over its budget.
    """
    from medtune.workflows.parity_gate import PAGE

    print_record(record, json)
    Terminal().say(f"report: {folder / PAGE}")
    if record.unfit:
        raise CheckFailed(
            f"over budget: {', '.join(record.unfit)}",
            expected="everything within its budget",
            fix="what was packed is marked unfit in its card; more questions narrow the intervals",
        )


def bench(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help=MODEL)],
    data: Annotated[str, typer.Option(help=DATA)] = "starter:recall",
    method: Annotated[Method, typer.Option(help="letter or cloze.")] = "letter",
    limit: Limit = None,
    dtype: Annotated[
        str, typer.Option(help="Arithmetic of models that are not packed; several by comma.")
    ] = "auto",
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Measure models side by side: speed, latency, memory, size and accuracy."""
    from medtune.commands.bench import PAGE, BenchOptions
    from medtune.commands.bench import bench as bench_recipe

    dtypes = named("--dtype", dtype, Arithmetic)
    if method == "generate":
        raise InputError("--method generate", expected="letter or cloze")
    options = BenchOptions(tuple(map(model_name, models)), data, method, limit, dtypes)
    folder = out or Path("runs") / "bench" / slug(*models, data, method)
    print_record(bench_recipe(options, folder, Terminal()), json)
    Terminal().say(f"report: {folder / PAGE}")


def answer(
    stem: Annotated[str, typer.Argument(help="The question.")],
    option: Annotated[list[str], typer.Option(help="One of its answers; give two to ten.")],
    model: Annotated[
        str, typer.Option(help=f"{MODEL}, or a run's folder.", callback=model_or_run)
    ] = "embedded:smollm2-135m",
    method: Annotated[
        Method | None, typer.Option(help="letter or cloze; as the model was taught.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy file; the starter policy without one.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of an evaluation of calibration questions.")
    ] = None,
    unfit: Annotated[
        bool, typer.Option("--unfit", help="Ask a model that did not pass the parity gate.")
    ] = False,
    json: Json = False,
) -> None:
    """Ask a model one question, through the guards of the endpoint."""
    from medtune.commands.answer import AnswerOptions
    from medtune.commands.answer import answer as answer_recipe

    if method == "generate":
        raise InputError("--method generate", expected="letter or cloze")
    options = AnswerOptions(stem, tuple(option), model, method, policy, calibration, unfit)
    print_record(answer_recipe(options, Terminal()), json)


def _schemes(text: str) -> tuple[Scheme, ...]:
    """Read a list of schemes.

    Raises:
        InputError: One is unknown.
    """
    named = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    found = tuple(scheme for scheme in SCHEMES if scheme in named)
    if len(found) < len(named):
        unknown = ", ".join(repr(name) for name in named if name not in SCHEMES)
        raise InputError(f"--scheme {unknown}", expected=f"some of {', '.join(SCHEMES)}")
    return found
