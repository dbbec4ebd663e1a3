"""The command line: verbs to recipes.  Nothing else prints.

Records go to stdout (tables, or JSON with --json); progress and messages go to stderr.
Exit codes: 0 done, 1 a check said no, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from medtune.core.config import config_hash, load_experiment
from medtune.core.errors import CheckFailed, ConfigError, Interrupted, MedtuneError
from medtune.core.experiment import ColumnMapping, EvaluationConfig, Experiment, NotebookExperiment
from medtune.core.prompt import Form
from medtune.core.records import Method, Normalization, Record
from medtune.terminal import Terminal, show

MODEL = "embedded:smollm2-135m, hub:ORG/NAME[@REV], path:DIR, fake:oracle|constant|biased|noisy"
DATA = "starter[:SPLIT], hub:ORG/NAME[/CONFIG][:SPLIT], file:PATH[:SPLIT], snapshot:FOLDER[:SPLIT]"

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-tune small language models on medical multiple-choice questions, and examine "
    "them honestly. For education and research; not medical advice.",
)
models_app = typer.Typer(no_args_is_help=True, help="Show which models are at hand.")
app.add_typer(models_app, name="models")

Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON, nothing else.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable."),
]
ExperimentFile = Annotated[
    Path | None,
    typer.Argument(metavar="[EXPERIMENT]", help="A TOML file; the quickstart without one."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write; default runs/NAME-HASH.")]


@app.command()
def run(
    experiment: ExperimentFile = None, settings: Set = None, out: Out = None, json: Json = False
) -> None:
    """Run the whole job: data, base exam, fine-tune, exam, comparison, report."""
    config = load_experiment(experiment, settings or ())
    folder = out or _run_folder(config)
    if isinstance(config, NotebookExperiment):
        from medtune.recipes import notebook

        _print(notebook.run(config, folder, Terminal()), json)
        return
    from medtune.recipes.run import run as run_recipe

    _print(run_recipe(config, folder, Terminal()), json)
    Terminal().say(f"report: {folder / 'report.html'}")


@app.command()
def prepare(
    experiment: ExperimentFile = None,
    settings: Set = None,
    out: Out = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check a snapshot: its files, its sources, its hash."),
    ] = False,
    inspect: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Propose a column mapping, show ten questions."),
    ] = None,
    json: Json = False,
) -> None:
    """Clean, separate and curate an experiment's data; write the snapshot."""
    from medtune.recipes import prepare as recipe

    config = _finetune(experiment, settings)
    folder = out or _run_folder(config)
    if inspect is not None:
        _print(recipe.inspect(inspect, config.prompt), json)
    elif verify:
        record = recipe.verify(folder, Terminal())
        _print(record, json)
        if record.faults:
            raise CheckFailed(
                f"{record.folder}: {len(record.faults)} faults",
                fix="prepare the data again: medtune prepare EXPERIMENT",
            )
    else:
        _print(recipe.prepare(config, folder, Terminal()), json)


@app.command()
def train(
    experiment: ExperimentFile = None, settings: Set = None, out: Out = None, json: Json = False
) -> None:
    """Fine-tune only; write the adapter."""
    from medtune.recipes.train import train as train_recipe

    config = _finetune(experiment, settings)
    _print(train_recipe(config, out or _run_folder(config), Terminal()), json)


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help=MODEL)],
    data: Annotated[str, typer.Argument(help=DATA)],
    method: Annotated[
        Method, typer.Option(help="letter, cloze (likelihood of the option's text) or generate.")
    ] = "letter",
    adapter: Annotated[Path | None, typer.Option(help="Adapter folder of a run.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="First so many questions.")] = None,
    shots: Annotated[int, typer.Option(min=0, help="Worked examples before each question.")] = 0,
    shots_from: Annotated[
        str | None, typer.Option(help="DATA that the examples come from.")
    ] = None,
    normalization: Annotated[
        Normalization, typer.Option(help="cloze: sum, or mean per token or byte.")
    ] = "byte",
    form: Annotated[
        Form | None, typer.Option(help="generate: ask for the option's text or its letter.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="generate: longest answer.")] = 50,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="KEY=COLUMN",
            help="Columns of other files: stem=..., options=a,b,c, answer=..., answer_base=0|1, "
            "id=..., subject=...; repeatable.",
        ),
    ] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="Arithmetic.")
    ] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Most questions in a forward pass.")] = 64,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write.")] = None,
    json: Json = False,
) -> None:
    """Examine a model on a split; write predictions.jsonl and record.json."""
    from medtune.recipes.evaluate import EvaluateOptions
    from medtune.recipes.evaluate import evaluate as evaluate_recipe

    options = EvaluateOptions(
        model=model,
        data=data,
        method=method,
        adapter=adapter,
        limit=limit,
        shots=shots,
        shots_from=shots_from,
        columns=_mapping(columns or []),
        settings=EvaluationConfig(normalization=normalization, max_new_tokens=max_new_tokens),
        dtype=dtype,
        batch=batch,
        form=form,
    )
    folder = out or Path("runs") / "eval" / _slug(model, adapter, data, method)
    _print(evaluate_recipe(options, folder, Terminal()), json)
    Terminal().say(f"predictions: {folder / 'predictions.jsonl'}")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="Evaluation folder of the reference.")],
    b: Annotated[Path, typer.Argument(help="Evaluation folder of the candidate.")],
    json: Json = False,
) -> None:
    """Compare two evaluations of the same questions, paired."""
    from medtune.recipes.compare import compare as compare_recipe

    _print(compare_recipe(a, b), json)


@app.command()
def rescore(
    file: Annotated[Path, typer.Argument(help="The notebook's JSON, or predictions.jsonl.")],
    matcher: Annotated[
        Literal["notebook", "strict"], typer.Option(help="Which rule reads the answers.")
    ] = "strict",
    json: Json = False,
) -> None:
    """Score saved free answers again."""
    from medtune.recipes.rescore import rescore as rescore_recipe

    _print(rescore_recipe(file, matcher), json)


@app.command()
def doctor(json: Json = False) -> None:
    """Say what machine this is, and what will be slow on it."""
    from medtune.recipes.doctor import doctor as doctor_recipe

    _print(doctor_recipe(), json)


@models_app.command("list")
def models_list(json: Json = False) -> None:
    """List the embedded model and the Hub's cache."""
    from medtune.recipes.models import list_models

    _print(list_models(), json)


@models_app.command("info")
def models_info(model: Annotated[str, typer.Argument(help=MODEL)], json: Json = False) -> None:
    """Load a model and show what medtune reads off it."""
    from medtune.recipes.models import model_info

    _print(model_info(model, Terminal()), json)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    The process edge: errors become one message on stderr and an exit code.
    """
    try:
        app(args=arguments)
    except MedtuneError as error:
        Terminal().error(str(error))
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == Interrupted.exit_code:
            Terminal().error("interrupted")
        raise
    sys.exit(0)


def _print(record: Record, json: bool) -> None:
    if json:
        typer.echo(record.model_dump_json(indent=2))
    else:
        show(record)


def _finetune(path: Path | None, settings: list[str] | None) -> Experiment:
    config = load_experiment(path, settings or ())
    if isinstance(config, NotebookExperiment):
        raise ConfigError(str(path), ["recipe: found 'notebook', which `medtune run` runs whole"])
    return config


def _run_folder(config: Experiment | NotebookExperiment) -> Path:
    return Path("runs") / f"{config.name}-{config_hash(config)[:8]}"


def _slug(model: str, adapter: Path | None, data: str, method: str) -> str:
    """Name an evaluation's folder after what was examined."""
    parts = [model, str(adapter) if adapter else "", data, method]
    return "-".join(
        "".join(c if c.isalnum() else "-" for c in part).strip("-") for part in parts if part
    )


def _mapping(pairs: list[str]) -> ColumnMapping:
    """Read --map options with the experiment's own reader, so that the faults read alike."""
    settings = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if equals and key == "options":
            value = dumps([name.strip() for name in value.split(",")], ensure_ascii=False)
        elif equals and key != "answer_base":
            value = dumps(value, ensure_ascii=False)
        settings.append(f"data.columns.{key}{equals}{value}")
    config = load_experiment(None, settings)
    assert isinstance(config, Experiment)
    return config.data.columns
