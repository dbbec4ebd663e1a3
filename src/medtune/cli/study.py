"""`medtune study VERB`: what an accuracy depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medtune.cli.options import (
    DATA,
    Adapter,
    Columns,
    Dtype,
    ExperimentFile,
    Json,
    Limit,
    Model,
    OutFolder,
    Set,
    chosen,
    finetune_experiment,
    mapping,
    named,
    print_record,
    run_folder,
)
from medtune.cli.output import Terminal
from medtune.core.errors import InputError
from medtune.core.prompt import Target
from medtune.core.records import Method, Record
from medtune.core.run_folder import slug
from medtune.studies.ablation.schema import NOTEBOOK_SIZE
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.studies.learning_curve.schema import SELECTIONS, Equal, Selection
from medtune.studies.learning_curve.schema import SIZES as CURVE_SIZES
from medtune.studies.prompts.schema import SHOTS
from medtune.studies.test_size.schema import DRAWS, SIZES, SamplePlan

Workers = Annotated[
    int, typer.Option(min=1, help="Processes on this machine, each with its share of the cores.")
]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Do the I-th of N parts, as one task of an array job."),
]


def by_size(
    a: Annotated[Path, typer.Argument(help="Evaluation folder.")],
    b: Annotated[
        Path | None, typer.Argument(help="Evaluation folder of a candidate, same questions.")
    ] = None,
    sizes: Annotated[str, typer.Option(help="Questions in a smaller test.")] = ",".join(
        map(str, SIZES)
    ),
    draws: Annotated[int, typer.Option(help="Smaller tests at each size.")] = DRAWS,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    by_subject: Annotated[
        bool, typer.Option("--by-subject", help="Also draw in proportion to the subjects.")
    ] = False,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Show what smaller tests, drawn from saved answers, would have found."""
    from medtune.studies.test_size.study import sample_size

    numbers = chosen("--sizes", sizes, int, "whole numbers, such as 20,50,100")
    plan = SamplePlan(tuple(numbers), draws, seed)
    names = [place.resolve().name for place in (a, b) if place is not None]
    folder = out or Path("runs") / "test-size" / slug(*names)
    finish(sample_size(a, b, plan, by_subject, folder), folder / "test-size.html", json)


def robustness(
    model: Model,
    data: Annotated[str, typer.Argument(help=DATA)],
    method: Annotated[Method, typer.Option(help="letter, cloze or generate.")] = "letter",
    adapter: Adapter = None,
    limit: Limit = None,
    columns: Columns = None,
    dtype: Dtype = "auto",
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Reorder the options, hide the stem, push wrong answers: what is left of the accuracy?"""
    from medtune.studies.robustness import study as recipe

    options = recipe.RobustnessOptions(
        model=model,
        data=data,
        method=method,
        adapter=adapter,
        limit=limit,
        columns=mapping(columns or []),
        dtype=dtype,
    )
    folder = out or Path("runs") / "robustness" / slug(model, str(adapter or ""), data, method)
    finish(recipe.robustness(options, folder, Terminal()), folder / recipe.PAGE, json)


def decoding(
    model: Model,
    data: Annotated[str, typer.Argument(help=DATA)],
    adapter: Adapter = None,
    limit: Limit = None,
    columns: Columns = None,
    repeats: Annotated[
        int, typer.Option(min=2, help="Examinations of every setting that samples.")
    ] = 5,
    dtype: Dtype = "auto",
    workers: Workers = 1,
    shard: Shard = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Let it answer in two dozen ways: what does each cost, and what does it give?"""
    from medtune.studies.decoding import study as recipe

    options = recipe.DecodingOptions(
        model=model,
        data=data,
        adapter=adapter,
        limit=limit,
        columns=mapping(columns or []),
        repeats=repeats,
        dtype=dtype,
    )
    folder = out or Path("runs") / "decoding" / slug(model, str(adapter or ""), data)
    record = recipe.decoding(options, folder, WorkerCounts.of(workers, shard), Terminal())
    finish(record, folder / recipe.PAGE, json)


def ablation(
    experiment: ExperimentFile = None,
    settings: Set = None,
    few: Annotated[
        int, typer.Option(min=1, help="Training questions of all rungs but the last.")
    ] = NOTEBOOK_SIZE,
    workers: Workers = 1,
    shard: Shard = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Mend the seed notebook's mistakes one at a time: what was each worth?"""
    from medtune.studies.ablation import study as recipe

    config = finetune_experiment(experiment, settings)
    folder = out or Path("runs") / "ablation" / run_folder(config).name
    options = recipe.AblationOptions(config, few)
    record = recipe.ablation(options, folder, WorkerCounts.of(workers, shard), Terminal())
    finish(record, folder / recipe.PAGE, json)


def learning_curve(
    experiment: ExperimentFile = None,
    settings: Set = None,
    sizes: Annotated[str, typer.Option(help="Training questions.")] = ",".join(
        map(str, CURVE_SIZES)
    ),
    selections: Annotated[
        str, typer.Option(help="How they are chosen: random, balanced by subject, curated.")
    ] = ",".join(SELECTIONS),
    targets: Annotated[
        str, typer.Option(help="What is taught; by default the experiment's own.")
    ] = "",
    equal: Annotated[str, typer.Option(help="epochs, steps, or both.")] = "epochs,steps",
    workers: Workers = 1,
    shard: Shard = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Train on more and more questions, chosen in several ways: does size or selection count?"""
    from medtune.studies.learning_curve import study as recipe

    config = finetune_experiment(experiment, settings)
    options = recipe.CurveOptions(
        experiment=config,
        sizes=tuple(chosen("--sizes", sizes, int, "whole numbers, such as 125,500,2000")),
        selections=named("--selections", selections, Selection),
        targets=named("--targets", targets, Target) if targets else (),
        equal=named("--equal", equal, Equal),
    )
    folder = out or Path("runs") / "learning-curve" / run_folder(config).name
    record = recipe.learning_curve(options, folder, WorkerCounts.of(workers, shard), Terminal())
    finish(record, folder / recipe.PAGE, json)


def prompts(
    experiment: ExperimentFile = None,
    settings: Set = None,
    adapter: Adapter = None,
    shots: Annotated[str, typer.Option(help="Worked examples before a question.")] = ",".join(
        map(str, SHOTS)
    ),
    workers: Workers = 1,
    shard: Shard = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Ask in some dozens of wordings; choose on the calibration split, report on the other."""
    from medtune.studies.prompts import study as recipe

    config = finetune_experiment(experiment, settings)
    counts = chosen("--shots", shots, int, "whole numbers, such as 0,1,3")
    if min(counts) < 0:
        raise InputError(f"--shots {shots}", expected="0 or more")
    options = recipe.PromptOptions(config, adapter, tuple(counts))
    folder = out or Path("runs") / "prompts" / run_folder(config).name
    record = recipe.prompts(options, folder, WorkerCounts.of(workers, shard), Terminal())
    finish(record, folder / recipe.PAGE, json)


def finish(record: Record, page: Path, json: bool) -> None:
    """Print a study and where its page lies; a part of a grid has none yet."""
    print_record(record, json)
    if not isinstance(record, GridState):
        Terminal().say(f"report: {page}")
