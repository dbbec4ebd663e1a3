"""Define `medtune compress | parity | bench | answer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.completion import complete_data, complete_model, complete_schemes
from medtune.cli.options import (
    DATA,
    DEFAULT_MODEL,
    MODEL,
    Adapter,
    CalibrationFolder,
    Columns,
    DataOption,
    DryRun,
    Index,
    Json,
    LikelihoodMethod,
    Limit,
    Model,
    OutFolder,
    PolicyFile,
    ScoringMethod,
    parse_column_mapping,
    parse_names,
    print_record,
    refuse_generate,
)
from medtune.cli.output import Terminal
from medtune.core.errors import CheckFailed, InputError, did_you_mean
from medtune.core.experiment import DtypeName
from medtune.core.records import Method
from medtune.core.run_folder import slugify
from medtune.core.schemas.compression import SCHEMES, SERVED_BUDGET, Budget, ParityRecord, Scheme
from medtune.models.model_argument import resolve_model_argument


def compress(
    model: Model,
    data: Annotated[
        str,
        typer.Argument(help=f"Questions of the parity gate: {DATA}", autocompletion=complete_data),
    ],
    adapter: Adapter = None,
    scheme: Annotated[
        str,
        typer.Option(
            help=f"One or more of {', '.join(SCHEMES)}, comma-separated.",
            autocompletion=complete_schemes,
        ),
    ] = "int8",
    method: ScoringMethod = None,
    limit: Limit = None,
    columns: Columns = None,
    out: OutFolder = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Quantize a trained model, and compare it with the original.

    Example: medtune compress runs/mine starter:recall --scheme int8,gguf-q8_0
    """
    folder = out or Path("runs") / "packed" / slugify(model, str(adapter or ""))
    if dry_run:
        from medtune.workflows.dry_run import plan_compression

        plan = plan_compression(
            model,
            _parse_schemes(scheme),
            data,
            folder,
            adapter=adapter,
            method=method,
            limit=limit,
            columns=parse_column_mapping(columns or []),
        )
        print_record(plan, json)
        return
    from medtune.commands.compress import compress as compress_recipe

    compressed = compress_recipe(
        model,
        _parse_schemes(scheme),
        folder,
        data=data,
        adapter=adapter,
        method=method,
        limit=limit,
        columns=parse_column_mapping(columns or []),
        progress=Terminal(),
    )
    _print_parity(compressed.record, folder, json)


def parity(
    model: Annotated[
        str,
        typer.Argument(
            help=f"The original: {MODEL}",
            callback=resolve_model_argument,
            autocompletion=complete_model,
        ),
    ],
    others: Annotated[
        list[str],
        typer.Argument(
            metavar="OTHER...", help="Models to compare.", autocompletion=complete_model
        ),
    ],
    data: DataOption = "starter:recall",
    method: ScoringMethod = None,
    agreement: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Least share of questions with the same choice, at its lower limit."
        ),
    ] = SERVED_BUDGET.agreement,
    loss: Annotated[
        float, typer.Option(min=0, max=1, help="Largest accepted accuracy loss, with its interval.")
    ] = SERVED_BUDGET.loss,
    drift: Annotated[
        float,
        typer.Option(
            min=0,
            help="Largest mean change of log-probabilities, nats per token, at its upper limit.",
        ),
    ] = SERVED_BUDGET.drift,
    dtype: Annotated[
        DtypeName, typer.Option(help="Dtype of the other models, such as nf4.")
    ] = "auto",
    limit: Limit = None,
    columns: Columns = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Test whether other models answer as the first does.

    They may be on a server, converted elsewhere, from the Hub, or the same one in another dtype.

    Example: medtune parity runs/mine remote:http://localhost:8000/v1#mcq
    """
    from medtune.commands.parity import parity as parity_recipe

    folder = out or Path("runs") / "parity" / slugify(model, *others)
    record = parity_recipe(
        model,
        [resolve_model_argument(other) for other in others],
        data,
        folder,
        Terminal(),
        budget=Budget(agreement=agreement, loss=loss, drift=drift),
        method=method,
        limit=limit,
        columns=parse_column_mapping(columns or []),
        dtype=dtype,
    )
    _print_parity(record, folder, json)


def _print_parity(record: ParityRecord, folder: Path, json: bool) -> None:
    """Print the result of the parity gate.

    Raises:
        CheckFailed: A model is over its budget.
    """
    from medtune.workflows.parity_gate import PAGE

    print_record(record, json)
    Terminal().log_message(f"report: {folder / PAGE}")
    if record.names_over_budget:
        raise CheckFailed(
            f"over budget: {', '.join(record.names_over_budget)}",
            expected="everything within its budget",
            fix="quantized models over budget are marked unfit; more questions narrow intervals",
        )


def bench(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL...", help=MODEL, autocompletion=complete_model),
    ],
    data: DataOption = "starter:recall",
    method: Annotated[
        Method, typer.Option(help="letter or cloze.", callback=refuse_generate)
    ] = "letter",
    limit: Limit = None,
    dtype: Annotated[
        str, typer.Option(help="Dtype of unquantized models; several by comma.")
    ] = "auto",
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Benchmark models: speed, latency, memory, size and accuracy.

    Example: medtune bench embedded:smollm2-135m path:models/other
    """
    from medtune.commands.bench import PAGE
    from medtune.commands.bench import bench as bench_recipe

    dtypes = parse_names("--dtype", dtype, DtypeName)
    folder = out or Path("runs") / "bench" / slugify(*models, data, method)
    record = bench_recipe(
        [resolve_model_argument(model) for model in models],
        data,
        folder,
        Terminal(),
        method=method,
        limit=limit,
        dtypes=dtypes,
    )
    print_record(record, json)
    Terminal().log_message(f"report: {folder / PAGE}")


def answer(
    stem: Annotated[str, typer.Argument(help="The question.")],
    option: Annotated[list[str], typer.Option(help="An answer option; give two to ten.")],
    model: Annotated[
        str,
        typer.Option(
            help=f"{MODEL}, {DEFAULT_MODEL}, or a run's folder.",
            autocompletion=complete_model,
        ),
    ] = DEFAULT_MODEL,
    method: LikelihoodMethod = None,
    policy: PolicyFile = None,
    calibration: CalibrationFolder = None,
    unfit: Annotated[
        bool, typer.Option("--unfit", help="Use a model that did not pass the parity gate.")
    ] = False,
    index: Index = None,
    json: Json = False,
) -> None:
    """Answer one question, through the guards of the endpoint.

    Example: medtune answer "Which vitamin prevents scurvy?" --option A --option C
    """
    from medtune.commands.answer import answer as answer_recipe

    record = answer_recipe(
        stem,
        option,
        Terminal(),
        model=model,
        method=method,
        policy=policy,
        calibration=calibration,
        unfit=unfit,
        index=index,
    )
    print_record(record, json)


def _parse_schemes(text: str) -> tuple[Scheme, ...]:
    """Parse a list of schemes.

    Raises:
        InputError: One is unknown.
    """
    named = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    found = tuple(scheme for scheme in SCHEMES if scheme in named)
    if len(found) < len(named):
        unknown = [name for name in named if name not in SCHEMES]
        raise InputError(
            f"--scheme {', '.join(map(repr, unknown))}{did_you_mean(unknown[0], SCHEMES)}",
            expected=f"some of {', '.join(SCHEMES)}",
        )
    return found
