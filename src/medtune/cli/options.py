"""Define shared options, and print records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer

from medtune.cli.completion import (
    complete_data,
    complete_evaluation,
    complete_experiment,
    complete_model,
    complete_run,
)
from medtune.cli.output import is_output_process, show_record
from medtune.core.config import config_hash, load_experiment
from medtune.core.errors import ConfigError, InputError, did_you_mean
from medtune.core.experiment import ColumnMapping, DtypeName, Experiment, NotebookExperiment
from medtune.core.records import Method, Record
from medtune.models.model_argument import resolve_adapter_argument, resolve_model_argument

T = TypeVar("T")

MODEL = (
    "embedded:smollm2-135m, hub:ORG/NAME[@REV], path:DIR, path:FILE.gguf, adapter:DIR, "
    "remote:URL#NAME, search:DIR, mix:DIR, fake:oracle|constant|biased|noisy"
)
DEFAULT_MODEL = "search:starter"
"""Model that answers questions if none is named: a search in the starter questions."""
DATA = "starter[:SPLIT], hub:ORG/NAME[/CONFIG][:SPLIT], file:PATH[:SPLIT], snapshot:FOLDER[:SPLIT]"


def refuse_generate(method: T) -> T:
    """Refuse --method generate where an answer needs probabilities.

    Raises:
        InputError: It is generate.
    """
    if method == "generate":
        raise InputError("--method generate", expected="letter or cloze")
    return method


Json = Annotated[bool, typer.Option("--json", help="Print only the record, as JSON.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write; default runs/NAME-HASH.")]
Adapter = Annotated[
    Path | None,
    typer.Option(
        help="A run's folder, or its adapter's.",
        callback=resolve_adapter_argument,
        autocompletion=complete_run,
    ),
]
Model = Annotated[
    str,
    typer.Argument(help=MODEL, callback=resolve_model_argument, autocompletion=complete_model),
]
PolicyFile = Annotated[
    Path | None, typer.Option(help="Policy file; the starter policy without one.")
]
LearnedFile = Annotated[
    Path | None, typer.Option(help="File of a learned guard; by default the shipped one.")
]
TaggerFile = Annotated[
    Path | None, typer.Option(help="File of a tagger of names; by default the shipped one.")
]
CalibrationFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder of an evaluation of calibration questions.",
        autocompletion=complete_evaluation,
    ),
]
Index = Annotated[
    Path | None,
    typer.Option(help="Folder of an index whose passages are shown; a search model has its own."),
]
ScoringMethod = Annotated[
    Method | None, typer.Option(help="letter or cloze; as the model was taught.")
]
LikelihoodMethod = Annotated[
    Method | None,
    typer.Option(help="letter or cloze; as the model was taught.", callback=refuse_generate),
]
DataArgument = Annotated[str, typer.Argument(help=DATA, autocompletion=complete_data)]
DataOption = Annotated[str, typer.Option(help=DATA, autocompletion=complete_data)]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first N questions.")]
Dtype = Annotated[DtypeName, typer.Option(help="Dtype of the model.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="KEY=COLUMN",
        help="Columns of other files: stem=..., options=a,b,c, answer=..., answer_base=0|1, "
        "id=..., subject=...; repeatable.",
    ),
]
OutFolder = Annotated[Path | None, typer.Option("--out", help="Folder to write.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the steps, what is reused, and the time; write nothing."),
]
ExperimentFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[EXPERIMENT]",
        help="A TOML file, or a name such as medmcqa; the quickstart without one.",
        autocompletion=complete_experiment,
    ),
]


def print_record(record: Record, json: bool, written: Mapping[str, Path] | None = None) -> None:
    """Print a record on stdout, as a table or as JSON.

    JSON contains the paths of the written files, by name, as "written".
    """
    if json:
        if is_output_process():
            paths = {name: str(path) for name, path in (written or {}).items()}
            shown = record.model_dump(mode="json") | ({"written": paths} if paths else {})
            typer.echo(dumps(shown, indent=2, ensure_ascii=False))
    else:
        show_record(record)


def print_records(records: Sequence[Record], json: bool) -> None:
    """Print the records of one command; JSON is one document, a list where there are several."""
    if not json or len(records) == 1:
        for record in records:
            print_record(record, json)
    elif is_output_process():
        shown = [record.model_dump(mode="json") for record in records]
        typer.echo(dumps(shown, indent=2, ensure_ascii=False))


def default_run_folder(config: Experiment | NotebookExperiment) -> Path:
    """Return the default folder of a run."""
    return Path("runs") / f"{config.name}-{config_hash(config)[:8]}"


def parse_column_mapping(pairs: list[str]) -> ColumnMapping:
    """Parse --map options as experiment settings, so that errors read the same."""
    config = load_experiment(None, column_mapping_settings(pairs))
    assert isinstance(config, Experiment)
    return config.data.columns


def column_mapping_settings(pairs: list[str]) -> list[str]:
    """Convert --map options to experiment settings."""
    settings = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if equals and key == "options":
            value = dumps([name.strip() for name in value.split(",")], ensure_ascii=False)
        elif equals and key != "answer_base":
            value = dumps(value, ensure_ascii=False)
        settings.append(f"data.columns.{key}{equals}{value}")
    return settings


def load_finetune_experiment(path: Path | None, settings: list[str] | None) -> Experiment:
    """Load a fine-tuning experiment.

    Raises:
        ConfigError: It is invalid, or is the notebook's experiment.
    """
    config = load_experiment(path, settings or ())
    if isinstance(config, NotebookExperiment):
        raise ConfigError(str(path), ["recipe: found 'notebook', which `medtune run` runs whole"])
    return config


def parse_list(option: str, text: str, kind: Callable[[str], T], expected: str) -> list[T]:
    """Parse a comma-separated list.

    Raises:
        InputError: An entry cannot be parsed.
    """
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text}", expected=expected) from error


def parse_names(option: str, text: str, kinds: Any) -> tuple[Any, ...]:
    """Parse a comma-separated list of the names of a `Literal`.

    Raises:
        InputError: A name is unknown or occurs twice.
    """
    known = get_args(kinds)
    names = parse_list(option, text, str, "")
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        near = did_you_mean(unknown[0], known) if unknown else ""
        raise InputError(
            f"{option} {text}{near}", expected=f"some of {', '.join(known)}, each once"
        )
    return tuple(names)
