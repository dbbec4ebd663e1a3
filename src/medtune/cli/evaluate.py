"""Define `medtune evaluate | merge | compare | analyze | rescore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medtune.cli.completion import complete_evaluation
from medtune.cli.options import (
    Adapter,
    Columns,
    DataArgument,
    DryRun,
    Dtype,
    Json,
    Limit,
    Model,
    OutFolder,
    parse_column_mapping,
    print_record,
)
from medtune.cli.output import Terminal
from medtune.core.errors import InputError
from medtune.core.experiment import EvaluationConfig, RetrievalConfig, RetrievalKind
from medtune.core.predictions_io import (
    ANALYSIS_FILE,
    ANALYSIS_PAGE_FILE,
    PREDICTIONS_FILE,
    RECORD_FILE,
    Evaluation,
)
from medtune.core.prompt import FormName
from medtune.core.records import Method, Normalization, Orders, ShotChoice, Variant
from medtune.core.run_folder import slugify
from medtune.foreign_logs.write_lm_eval import LogFormat

EVALUATIONS = Path("runs") / "eval"
"""Folder of evaluations without a folder of their own."""
METHOD, PROMPT, OPEN_BOOK = "Method", "Prompt", "Open book"
"""Titles in the help of `evaluate`."""


def evaluate(
    model: Model,
    data: DataArgument,
    method: Annotated[
        Method,
        typer.Option(
            rich_help_panel=METHOD,
            help="letter, cloze (likelihood of the option's text) or generate.",
        ),
    ] = "letter",
    adapter: Adapter = None,
    limit: Limit = None,
    shots: Annotated[
        int,
        typer.Option(rich_help_panel=PROMPT, min=0, help="Worked examples before each question."),
    ] = 0,
    shots_from: Annotated[
        str | None, typer.Option(rich_help_panel=PROMPT, help="DATA that the examples come from.")
    ] = None,
    shots_by: Annotated[
        ShotChoice,
        typer.Option(
            rich_help_panel=PROMPT,
            help="The first ones, random ones per question, or of the same subject.",
        ),
    ] = "fixed",
    orders: Annotated[
        Orders,
        typer.Option(
            rich_help_panel=METHOD,
            help="Options as given, in all cyclic orders (the mean), or PriDe.",
        ),
    ] = "given",
    variant: Annotated[
        Variant,
        typer.Option(
            rich_help_panel=METHOD, help="Perturb the questions first; see `study robustness`."
        ),
    ] = "plain",
    options_only: Annotated[
        int,
        typer.Option(
            rich_help_panel=METHOD,
            min=0,
            help="Ask at most N questions again without the stem; 0 for none.",
        ),
    ] = 500,
    normalization: Annotated[
        Normalization,
        typer.Option(rich_help_panel=METHOD, help="cloze: sum, or mean per token or byte."),
    ] = "byte",
    form: Annotated[
        FormName | None,
        typer.Option(
            rich_help_panel=METHOD, help="generate: ask for the option's text or its letter."
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(rich_help_panel=METHOD, min=1, help="generate: longest answer.")
    ] = 50,
    constrained: Annotated[
        bool,
        typer.Option(
            "--constrained",
            rich_help_panel=METHOD,
            help="generate: allow only the options as answers.",
        ),
    ] = False,
    search: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=OPEN_BOOK, help="Index of passages: a text search in it is a baseline."
        ),
    ] = None,
    retrieval: Annotated[
        RetrievalKind | None,
        typer.Option(
            rich_help_panel=OPEN_BOOK,
            help="Show passages of the index: each option its own, or the same for all.",
        ),
    ] = None,
    passages: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=OPEN_BOOK, min=1, max=10, help="retrieval: passages in a prompt; 1."
        ),
    ] = None,
    words: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=OPEN_BOOK, min=5, help="retrieval: most words of a passage; 60."
        ),
    ] = None,
    columns: Columns = None,
    dtype: Dtype = "auto",
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most questions in a forward pass, by default 64, 512 on a GPU; of a remote "
            "model, most requests under way at one server, by default 8.",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Short name for tables and comparisons.")
    ] = None,
    log: Annotated[
        LogFormat | None,
        typer.Option(help="Also write the answers as lm-evaluation-harness logs them."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="K/N", help="Evaluate part K of N; `medtune merge` merges them."),
    ] = None,
    out: OutFolder = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Evaluate a model on a split; write its predictions and record.

    Example: medtune evaluate embedded:smollm2-135m starter:recall --method letter
    """
    config = EvaluationConfig(
        normalization=normalization,
        orders=orders,
        options_only=options_only,
        shots=shots,
        shots_by=shots_by,
        max_new_tokens=max_new_tokens,
        constrained=constrained,
    )
    book = _parse_retrieval(retrieval, passages, words)
    if dry_run:
        from medtune.commands.evaluate import check_settings
        from medtune.workflows.dry_run import plan_evaluation

        check_settings(config, method, variant, shots_from is not None, shard)

        plan = plan_evaluation(
            model,
            data,
            out,
            method=method,
            settings=config,
            adapter=adapter,
            limit=limit,
            columns=parse_column_mapping(columns or []),
            dtype=dtype,
            form=form,
            plain=not shots and variant == "plain" and retrieval is None and search is None,
            shard=shard,
        )
        print_record(plan, json)
        return
    from medtune.commands.evaluate import evaluate as evaluate_recipe

    evaluation = evaluate_recipe(
        model,
        data,
        out=out,
        keep_in=EVALUATIONS,
        progress=Terminal(),
        method=method,
        adapter=adapter,
        limit=limit,
        shots_from=shots_from,
        variant=variant,
        columns=parse_column_mapping(columns or []),
        settings=config,
        dtype=dtype,
        batch=batch,
        form=form,
        label=label,
        search=search,
        retrieval=book,
        log=log,
        shard=shard,
    )
    _print_evaluation(evaluation, json)


def _print_evaluation(evaluation: Evaluation, json: bool) -> None:
    folder = evaluation.folder
    assert folder is not None, "it has a folder of its own"
    written = {"record": folder / RECORD_FILE, "predictions": folder / PREDICTIONS_FILE}
    print_record(evaluation.record, json, written)
    Terminal().log_message(f"predictions: {written['predictions']}")


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(
            help="Folders of all parts, in any order.", autocompletion=complete_evaluation
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the whole evaluation.")],
    json: Json = False,
) -> None:
    """Merge the parts of an evaluation that `evaluate --shard` made.

    Example: medtune merge runs/parts/1 runs/parts/2 --out runs/eval/whole
    """
    from medtune.evaluation.merge_shards import merge_shards

    _print_evaluation(merge_shards([Evaluation.load(part) for part in parts]).save(out), json)


def _parse_retrieval(
    kind: RetrievalKind | None, passages: int | None, words: int | None
) -> RetrievalConfig | None:
    """Return the settings of open-book prompts; None leaves them to the model.

    Raises:
        InputError: Passages are described, but not shown.
    """
    sizes = {"passages": passages, "words": words}
    given = {name: value for name, value in sizes.items() if value is not None}
    if given and kind in (None, "none"):
        raise InputError(
            "".join(f"--{name} {value} " for name, value in given.items())
            + "without passages in the prompt",
            expected="--retrieval per-option or shared",
        )
    return RetrievalConfig(kind=kind, **given) if kind is not None else None


def compare(
    a: Annotated[
        Path,
        typer.Argument(
            help="Evaluation folder of the reference, or a log.",
            autocompletion=complete_evaluation,
        ),
    ],
    b: Annotated[
        Path,
        typer.Argument(
            help="Evaluation folder of the candidate, or a log.",
            autocompletion=complete_evaluation,
        ),
    ],
    calibration_a: Annotated[
        Path | None,
        typer.Option(help="Evaluation of the reference on the calibration split."),
    ] = None,
    calibration_b: Annotated[
        Path | None, typer.Option(help="Evaluation of the candidate on the same split.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(help="Write the table as LaTeX (booktabs) to this file.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="Write accuracies, baselines, differences and slices to this file."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(help="Write the figures as SVG, PDF and PNG to this folder."),
    ] = None,
    methods: Annotated[
        Path | None, typer.Option(help="Write the Methods paragraph, Markdown, to this file.")
    ] = None,
    out: OutFolder = None,
    json: Json = False,
) -> None:
    """Compare two evaluations of the same questions, paired.

    Example: medtune compare runs/eval/base runs/eval/tuned
    """
    from medtune.commands.compare import compare as compare_recipe

    folder = out or Path("runs") / "compare" / slugify(a.resolve().name, b.resolve().name)
    compared = compare_recipe(
        a, b, calibration_a=calibration_a, calibration_b=calibration_b, out=folder
    )
    written = {"record": folder / "comparison.json", "report": folder / "report.html"}
    if latex or csv or figures or methods:
        from medtune.publishing.export import export_comparison

        written |= export_comparison(folder, latex, csv, figures, methods)
    print_record(compared.record, json, written)
    for name, path in written.items():
        if name != "record":
            Terminal().log_message(f"{name}: {path}")


def analyze(
    evaluation: Annotated[
        Path,
        typer.Argument(
            help="Evaluation folder, or a log of another harness.",
            autocompletion=complete_evaluation,
        ),
    ],
    calibration: Annotated[
        Path | None,
        typer.Option(help="Evaluation of the same model on the calibration split."),
    ] = None,
    json: Json = False,
) -> None:
    """Analyse failures, calibration and selective prediction.

    Example: medtune analyze runs/eval/base --calibration runs/eval/calibration
    """
    from medtune.commands.analyze import analysis_folder
    from medtune.commands.analyze import analyze as analyze_recipe

    analysis = analyze_recipe(evaluation, calibration).save(analysis_folder(evaluation))
    folder = analysis.folder
    assert folder is not None, "it was saved"
    written = {"record": folder / ANALYSIS_FILE, "report": folder / ANALYSIS_PAGE_FILE}
    print_record(analysis.record, json, written)
    Terminal().log_message(f"report: {written['report']}")


def rescore(
    file: Annotated[Path, typer.Argument(help="The notebook's JSON, or predictions.jsonl.")],
    matcher: Annotated[
        Literal["notebook", "strict"], typer.Option(help="Matcher that reads the answers.")
    ] = "strict",
    json: Json = False,
) -> None:
    """Score saved free answers again.

    Example: medtune rescore evaluation_results.json --matcher strict
    """
    from medtune.commands.rescore import rescore as rescore_recipe

    print_record(rescore_recipe(file, matcher), json)
