"""Define `medtune study ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medtune.cli.options import (
    MODEL,
    Adapter,
    Columns,
    DataArgument,
    DryRun,
    Dtype,
    ExperimentFile,
    Json,
    Limit,
    Model,
    OutFolder,
    Set,
    default_run_folder,
    load_finetune_experiment,
    parse_column_mapping,
    parse_list,
    parse_names,
    print_record,
    refuse_generate,
)
from medtune.cli.output import Terminal
from medtune.core.errors import InputError
from medtune.core.experiment import RetrievalKind
from medtune.core.prompt import TrainingTarget
from medtune.core.records import Method, Record
from medtune.core.run_folder import slugify
from medtune.models.model_argument import resolve_model_argument
from medtune.studies.ablation.schema import NOTEBOOK_SIZE
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.studies.learning_curve.schema import SELECTIONS, Equal, Selection
from medtune.studies.learning_curve.schema import SIZES as CURVE_SIZES
from medtune.studies.open_book.schema import PASSAGES, SHARES
from medtune.studies.prompts.schema import SHOTS
from medtune.studies.test_size.schema import DRAWS, SIZES, SamplePlan

Workers = Annotated[
    int, typer.Option(min=1, help="Processes on this machine, each with its share of the cores.")
]
Shard = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="Run the I-th of N parts, as one task of an array job."),
]


def by_size(
    a: Annotated[Path, typer.Argument(help="Evaluation folder.")],
    b: Annotated[
        Path | None, typer.Argument(help="Evaluation folder of a candidate, same questions.")
    ] = None,
    sizes: Annotated[str, typer.Option(help="Sizes of smaller tests, in questions.")] = ",".join(
        map(str, SIZES)
    ),
    draws: Annotated[int, typer.Option(help="Number of smaller tests at each size.")] = DRAWS,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    by_subject: Annotated[
        bool, typer.Option("--by-subject", help="Also draw subsamples stratified by subject.")
    ] = False,
    out: OutFolder = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Subsample saved answers: how large must a test be?

    Example: medtune study test-size runs/eval/base --sizes 20,50,100
    """
    from medtune.studies.test_size.study import SampleSizeStudy

    numbers = parse_list("--sizes", sizes, int, "whole numbers, such as 20,50,100")
    plan = SamplePlan(tuple(numbers), draws, seed)
    names = [place.resolve().name for place in (a, b) if place is not None]
    folder = out or Path("runs") / "test-size" / slugify(*names)
    _run_or_plan(
        SampleSizeStudy, folder, None, dry_run, json, a=a, b=b, plan=plan, by_subject=by_subject
    )


def robustness(
    model: Model,
    data: DataArgument,
    method: Annotated[Method, typer.Option(help="letter, cloze or generate.")] = "letter",
    adapter: Adapter = None,
    limit: Limit = None,
    columns: Columns = None,
    dtype: Dtype = "auto",
    out: OutFolder = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Measure robustness: reordered options, hidden stem, suggested wrong answers.

    Example: medtune study robustness embedded:smollm2-135m starter:recall
    """
    from medtune.studies.robustness.study import RobustnessStudy

    folder = out or Path("runs") / "robustness" / slugify(model, str(adapter or ""), data, method)
    _run_or_plan(
        RobustnessStudy,
        folder,
        None,
        dry_run,
        json,
        model=model,
        data=data,
        method=method,
        adapter=adapter,
        limit=limit,
        columns=parse_column_mapping(columns or []),
        dtype=dtype,
    )


def decoding(
    model: Model,
    data: DataArgument,
    adapter: Adapter = None,
    limit: Limit = None,
    columns: Columns = None,
    repeats: Annotated[
        int, typer.Option(min=2, help="Number of evaluations of each sampled setting.")
    ] = 5,
    dtype: Dtype = "auto",
    workers: Workers = 1,
    shard: Shard = None,
    out: OutFolder = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Compare two dozen decoding settings by accuracy, speed and consistency.

    Example: medtune study decoding embedded:smollm2-135m starter:recall --workers 2
    """
    from medtune.studies.decoding.study import DecodingStudy

    folder = out or Path("runs") / "decoding" / slugify(model, str(adapter or ""), data)
    _run_or_plan(
        DecodingStudy,
        folder,
        WorkerCounts.from_options(workers, shard),
        dry_run,
        json,
        model=model,
        data=data,
        adapter=adapter,
        limit=limit,
        columns=parse_column_mapping(columns or []),
        repeats=repeats,
        dtype=dtype,
    )


def ablation(
    experiment: ExperimentFile = None,
    settings: Set = None,
    few: Annotated[
        int, typer.Option(min=1, help="Training questions of all rungs except the last.")
    ] = NOTEBOOK_SIZE,
    workers: Workers = 1,
    shard: Shard = None,
    out: OutFolder = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Fix the seed notebook's bugs one at a time, and measure what each cost.

    Example: medtune study ablation experiments/medmcqa.toml --few 500
    """
    from medtune.studies.ablation.study import AblationStudy

    config = load_finetune_experiment(experiment, settings)
    folder = out or Path("runs") / "ablation" / default_run_folder(config).name
    counts = WorkerCounts.from_options(workers, shard)
    _run_or_plan(AblationStudy, folder, counts, dry_run, json, experiment=config, few=few)


def learning_curve(
    experiment: ExperimentFile = None,
    settings: Set = None,
    sizes: Annotated[str, typer.Option(help="Numbers of training questions.")] = ",".join(
        map(str, CURVE_SIZES)
    ),
    random_sizes: Annotated[
        str,
        typer.Option(help="Further numbers, at random and equal epochs only: 8000,32000."),
    ] = "",
    selections: Annotated[
        str, typer.Option(help="How they are chosen: random, balanced by subject, curated.")
    ] = ",".join(SELECTIONS),
    targets: Annotated[
        str, typer.Option(help="Training targets; by default the experiment's.")
    ] = "",
    equal: Annotated[str, typer.Option(help="epochs, steps, or both.")] = "epochs,steps",
    retrieval: Annotated[
        str,
        typer.Option(
            help="Closed and open book: none, per-option, shared; by default the experiment's."
        ),
    ] = "",
    seeds_under: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES",
            min=0,
            help="Further seeds only where the first took less; by default everywhere.",
        ),
    ] = None,
    workers: Workers = 1,
    shard: Shard = None,
    out: OutFolder = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train on growing numbers of questions, selected in several ways.

    Example: medtune study learning-curve experiments/medmcqa.toml --sizes 125,500
    """
    from medtune.studies.learning_curve.study import LearningCurveStudy

    config = load_finetune_experiment(experiment, settings)
    folder = out or Path("runs") / "learning-curve" / default_run_folder(config).name
    _run_or_plan(
        LearningCurveStudy,
        folder,
        WorkerCounts.from_options(workers, shard),
        dry_run,
        json,
        experiment=config,
        sizes=tuple(parse_list("--sizes", sizes, int, "whole numbers, such as 125,500,2000")),
        random_sizes=tuple(parse_list("--random-sizes", random_sizes, int, "whole numbers"))
        if random_sizes
        else (),
        selections=parse_names("--selections", selections, Selection),
        targets=parse_names("--targets", targets, TrainingTarget) if targets else (),
        equal=parse_names("--equal", equal, Equal),
        retrieval=parse_names("--retrieval", retrieval, RetrievalKind) if retrieval else (),
        seeds_under=seeds_under,
    )


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
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Compare dozens of prompts; choose on the calibration split, report on another.

    Example: medtune study prompts experiments/quickstart.toml --shots 0,3
    """
    from medtune.studies.prompts.study import PromptStudy

    config = load_finetune_experiment(experiment, settings)
    shot_counts = tuple(parse_list("--shots", shots, int, "whole numbers, such as 0,1,3"))
    if min(shot_counts) < 0:
        raise InputError(f"--shots {shots}", expected="0 or more")
    folder = out or Path("runs") / "prompts" / default_run_folder(config).name
    _run_or_plan(
        PromptStudy,
        folder,
        WorkerCounts.from_options(workers, shard),
        dry_run,
        json,
        experiment=config,
        adapter=adapter,
        shots=shot_counts,
    )


def open_book(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help=f"One or more of {MODEL}.")
    ],
    data: DataArgument,
    index: Annotated[Path, typer.Option(help="Folder of a passage index.")],
    passages: Annotated[str, typer.Option(help="Passages in a prompt.")] = ",".join(
        map(str, PASSAGES)
    ),
    shares: Annotated[
        str, typer.Option(help="Shares of the index that are searched, per cent.")
    ] = ",".join(map(str, SHARES)),
    words: Annotated[int, typer.Option(min=5, help="Most words of a passage in a prompt.")] = 60,
    method: Annotated[
        Method, typer.Option(help="letter or cloze.", callback=refuse_generate)
    ] = "cloze",
    limit: Limit = None,
    columns: Columns = None,
    dtype: Dtype = "auto",
    workers: Workers = 1,
    shard: Shard = None,
    out: OutFolder = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Compare closed and open book: passages in the prompt, size of the index, search alone.

    Example: medtune study open-book embedded:smollm2-135m starter:recall --index runs/index
    """
    from medtune.studies.open_book.study import OpenBookStudy

    names = [resolve_model_argument(name) for name in models]
    folder = out or Path("runs") / "open-book" / slugify(*names, data, method)
    _run_or_plan(
        OpenBookStudy,
        folder,
        WorkerCounts.from_options(workers, shard),
        dry_run,
        json,
        models=names,
        data=data,
        index=index,
        passages=parse_list("--passages", passages, int, "whole numbers, such as 1,3,5"),
        shares=parse_list("--shares", shares, float, "numbers, such as 10,100"),
        words=words,
        method=method,
        limit=limit,
        columns=parse_column_mapping(columns or []),
        dtype=dtype,
    )


def _run_or_plan(
    study: Any,
    folder: Path,
    counts: WorkerCounts | None,
    dry_run: bool,
    json: bool,
    **settings: Any,
) -> None:
    """Run a study and print its record, or print its plan; an unfinished grid has no page yet."""
    from medtune.studies.runner import plan_study, run_study

    if dry_run:
        print_record(plan_study(study, folder, **settings), json)
        return
    record: Record = run_study(study, folder, counts, Terminal(), **settings)
    print_record(record, json)
    if not isinstance(record, GridState):
        Terminal().log_message(f"report: {folder / study.page}")
