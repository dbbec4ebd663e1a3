"""What several verbs share: options, and how a record is printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import typer

from medtune.cli.output import show, speaks
from medtune.core.config import config_hash, load_experiment
from medtune.core.errors import ConfigError, InputError
from medtune.core.experiment import ColumnMapping, Experiment, NotebookExperiment
from medtune.core.records import Record

T = TypeVar("T")

MODEL = (
    "embedded:smollm2-135m, hub:ORG/NAME[@REV], path:DIR, adapter:DIR, remote:URL#NAME, "
    "fake:oracle|constant|biased|noisy"
)
DATA = "starter[:SPLIT], hub:ORG/NAME[/CONFIG][:SPLIT], file:PATH[:SPLIT], snapshot:FOLDER[:SPLIT]"


def model_name(text: str) -> str:
    """Read a MODEL: a run's folder stands for what it trained, a pattern for its only match.

    Raises:
        InputError: A pattern matches nothing, or more than one.
    """
    kind, colon, place = text.partition(":")
    if colon and kind not in ("adapter", "path"):
        return text
    place = str(_only(Path(place if colon else text)))
    if colon:
        return f"{kind}:{_trained(Path(place))}" if kind == "adapter" else f"{kind}:{place}"
    run = Path(place)
    for kind, name in (("adapter", "adapter"), ("path", "model")):
        if (run / name).is_dir():
            return f"{kind}:{run / name}"
    if (run / "adapter_config.json").is_file():
        return f"adapter:{run}"
    return f"path:{run}" if (run / "config.json").is_file() else text


def model_or_run(text: str) -> str:
    """Read a MODEL whose calibration counts too: a run's folder holds both, and stays as it is."""
    if ":" not in text:
        run = _only(Path(text))
        if any((run / kind).is_dir() for kind in ("adapter", "model")):
            return str(run)
    return model_name(text)


def adapter_folder(path: Path | None) -> Path | None:
    """Read --adapter: a run's folder stands for its adapter, a pattern for its only match."""
    return None if path is None else _trained(_only(path))


def _trained(folder: Path) -> Path:
    return folder / "adapter" if (folder / "adapter").is_dir() else folder


def _only(path: Path) -> Path:
    """Find the only path that a pattern matches; what is no pattern stays as it is."""
    if not any(mark in str(path) for mark in "*?[") or path.exists():
        return path
    found = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{path} matches {len(found) or 'no'} folder{'s' if len(found) != 1 else ''}"
        + "".join(f"\n  {name}" for name in found[:10]),
        expected="a pattern that matches exactly one",
        fix="name one of them" if found else "list what is there: ls runs",
    )


Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON, nothing else.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder to write; default runs/NAME-HASH.")]
Adapter = Annotated[
    Path | None,
    typer.Option(help="A run's folder, or its adapter's.", callback=adapter_folder),
]
Model = Annotated[str, typer.Argument(help=MODEL, callback=model_name)]
Limit = Annotated[int | None, typer.Option(min=1, help="First so many questions.")]
Arithmetic = Literal["auto", "float32", "bfloat16", "float16", "nf4"]
Dtype = Annotated[Arithmetic, typer.Option(help="Arithmetic.")]
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
ExperimentFile = Annotated[
    Path | None,
    typer.Argument(metavar="[EXPERIMENT]", help="A TOML file; the quickstart without one."),
]


def print_record(record: Record, json: bool, written: Mapping[str, Path] | None = None) -> None:
    """Print a record on stdout: a table, or JSON.

    Args:
        record: To print.
        json: As JSON.
        written: Where files were written, by what they are; JSON holds them as "written".
    """
    if json:
        if speaks():
            paths = {name: str(path) for name, path in (written or {}).items()}
            shown = record.model_dump(mode="json") | ({"written": paths} if paths else {})
            typer.echo(dumps(shown, indent=2, ensure_ascii=False))
    else:
        show(record)


def run_folder(config: Experiment | NotebookExperiment) -> Path:
    """Name the folder of a run."""
    return Path("runs") / f"{config.name}-{config_hash(config)[:8]}"


def mapping(pairs: list[str]) -> ColumnMapping:
    """Read --map options with the experiment's own reader, so that the faults read alike."""
    config = load_experiment(None, column_settings(pairs))
    assert isinstance(config, Experiment)
    return config.data.columns


def column_settings(pairs: list[str]) -> list[str]:
    """Write --map options as an experiment's settings."""
    settings = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if equals and key == "options":
            value = dumps([name.strip() for name in value.split(",")], ensure_ascii=False)
        elif equals and key != "answer_base":
            value = dumps(value, ensure_ascii=False)
        settings.append(f"data.columns.{key}{equals}{value}")
    return settings


def finetune_experiment(path: Path | None, settings: list[str] | None) -> Experiment:
    """Load an experiment that fine-tunes.

    Raises:
        ConfigError: It has faults, or is the notebook's.
    """
    config = load_experiment(path, settings or ())
    if isinstance(config, NotebookExperiment):
        raise ConfigError(str(path), ["recipe: found 'notebook', which `medtune run` runs whole"])
    return config


def chosen(option: str, text: str, kind: Callable[[str], T], expected: str) -> list[T]:
    """Read a list that commas part.

    Raises:
        InputError: An entry is none of its kind.
    """
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"{option} {text}", expected=expected) from error


def named(option: str, text: str, kinds: Any) -> tuple[Any, ...]:
    """Read a list of names, each of a `Literal`'s.

    Raises:
        InputError: A name is none of them, or stands twice.
    """
    known = get_args(kinds)
    names = chosen(option, text, str, "")
    if len(set(names)) < len(names) or not set(names) <= set(known):
        raise InputError(f"{option} {text}", expected=f"some of {', '.join(known)}, each once")
    return tuple(names)
