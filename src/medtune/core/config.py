"""Read experiments from TOML files and overrides; all faults are reported at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import tomli_w
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from medtune.core.errors import ConfigError, InputError, did_you_mean
from medtune.core.experiment import ColumnMapping, Experiment, NotebookExperiment
from medtune.core.records import Record, content_hash

R = TypeVar("R", bound=Record)
_PACKAGE = Path(__file__).parents[1]
SHIPPED_EXPERIMENTS = next(
    (at for at in (_PACKAGE / "experiments", _PACKAGE.parents[1] / "experiments") if at.is_dir()),
    _PACKAGE,
)
"""Experiments that are found by name: beside the modules of a wheel, or in the checkout."""
AnyExperiment = Annotated[Experiment | NotebookExperiment, Field(discriminator="recipe")]


def load_experiment(
    path: Path | None, overrides: Sequence[str] = ()
) -> Experiment | NotebookExperiment:
    """Load an experiment and apply `key=value` overrides.

    Args:
        path: A TOML file, or the name of a shipped experiment; None is the built-in quickstart.
        overrides: Dotted keys and TOML values, `training.epochs=2`; a value that is not TOML
            is taken as a string.

    Raises:
        ConfigError: With every fault, each by its key.
    """
    source = str(path) if path else "built-in quickstart"
    tree = read_toml(find_experiment(path)) if path else {}
    faults = [fault for text in overrides if (fault := _apply_override(tree, text))]
    return validate_experiment(tree, source, faults)


def validate_experiment(
    tree: dict[str, Any], source: str, faults: Sequence[str] = ()
) -> Experiment | NotebookExperiment:
    """Make an experiment of settings; what they do not name has its default.

    Args:
        tree: The settings, a table for each section.
        source: Name of their origin, for the message.
        faults: Faults that were found before, reported with the others.

    Raises:
        ConfigError: With every fault, each by its key.
    """
    tree, faults = {"recipe": "finetune", **tree}, list(faults)
    try:
        experiment = _ADAPTER.validate_python(tree)
    except ValidationError as error:
        recipe = tree["recipe"]
        kind = NotebookExperiment if recipe == "notebook" else Experiment
        # The first part of a discriminated union's location is the tag, not a key.
        faults += [
            f"recipe: found {recipe!r}, expected 'finetune' or 'notebook'"
            if fault["type"] == "union_tag_invalid"
            else _describe_fault(kind, fault["loc"][1:], "recipe", fault)
            for fault in error.errors()
        ]
        raise ConfigError(source, faults) from error
    if faults:
        raise ConfigError(source, faults)
    return experiment


def find_experiment(path: Path) -> Path:
    """Return the file of an experiment: the path itself, or the shipped one of that name.

    Raises:
        ConfigError: It is a bare name, and neither a file nor a shipped experiment has it.
    """
    is_name = path.name == str(path) and not path.suffix
    if not is_name or path.is_file():
        return path
    shipped = {file.stem: file for file in SHIPPED_EXPERIMENTS.glob("*.toml")}
    if path.name not in shipped:
        raise ConfigError(str(path), [f"no such file; shipped are {', '.join(sorted(shipped))}"])
    return shipped[path.name]


def read_columns(columns: ColumnMapping | Mapping[str, Any] | None) -> ColumnMapping | None:
    """Make a column mapping of a dict, such as `{"stem": "question", "options": ["A", "B"]}`.

    Raises:
        ConfigError: A key is unknown, or a value is no column.
    """
    return None if columns is None else read_settings(columns, ColumnMapping, "columns")


def read_settings(given: R | Mapping[str, Any], kind: type[R], name: str) -> R:
    """Make a record of a dict of settings; a record is returned as it is.

    Args:
        given: The record, or a dict of those of its settings that are no defaults.
        kind: Type of the record.
        name: Name of the argument, for messages.

    Raises:
        InputError: It is neither.
        ConfigError: With every fault, each by its key.
    """
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise InputError(f"{name} {given!r}", expected=f"a {kind.__name__}, or a dict")
    return _validate(kind, given, name)


def config_hash(experiment: Experiment | NotebookExperiment) -> str:
    """Return the hash of every setting that has an effect, defaults included; 64 hex digits.

    The folder of a passage index is left out, because its content is hashed where it is used, and
    so are the settings of passages that no prompt shows and of a loss that is not computed.
    """
    tree = experiment.model_dump(mode="json")
    if isinstance(experiment, Experiment):
        tree["training"] = experiment.training.dump_effective()
        if experiment.retrieval.is_open_book:
            del tree["retrieval"]["index"]
        else:
            del tree["retrieval"], tree["prompt"]["evidence"]
    return content_hash(tree)


def to_toml(experiment: Experiment | NotebookExperiment) -> str:
    """Return an experiment as TOML with every default spelled out; loading it is lossless."""
    # TOML has no null; None is only ever a default here, so leaving it out is lossless.
    text = tomli_w.dumps(experiment.model_dump(mode="json", exclude_none=True))
    unset = [f"# {key}: not set\n" for key in _unset(experiment.model_dump(mode="json"))]
    return "".join([text, "\n" if unset else "", *unset])


def _unset(table: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the dotted key of every None."""
    for key, value in table.items():
        if value is None:
            yield path + key
        elif isinstance(value, dict):
            yield from _unset(value, f"{path}{key}.")


_ADAPTER: TypeAdapter[Experiment | NotebookExperiment] = TypeAdapter(AnyExperiment)


def read_toml_as(path: Path, kind: type[R]) -> R:
    """Read and validate a TOML file as a record.

    Raises:
        ConfigError: With every fault, each by its key.
    """
    return _validate(kind, read_toml(path), str(path))


def _validate(kind: type[R], tree: Mapping[str, Any], source: str) -> R:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        name = kind.__name__.lower()
        faults = [_describe_fault(kind, fault["loc"], name, fault) for fault in error.errors()]
        raise ConfigError(source, faults) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: The file does not exist, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(str(path), ["no such file"]) from error
    except NotADirectoryError as error:
        raise ConfigError(str(path), ["no such file: part of the path is a file"]) from error
    except IsADirectoryError as error:
        raise ConfigError(str(path), ["a folder, expected a TOML file"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"not UTF-8 at byte {error.start}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(str(path), [f"not TOML: {error}"]) from error


def _apply_override(tree: dict[str, Any], text: str) -> str | None:
    """Set one key from `key=value`; return a fault if the text is not an assignment."""
    key, equals, raw = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        return f"--set {text}: expected key=value, such as training.epochs=2"
    try:
        value = tomllib.loads(f"v = {raw}")["v"]
    except tomllib.TOMLDecodeError:
        value = raw
    node = tree
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if not isinstance(child, dict):
            return f"--set {text}: {part} is a value, not a table"
        node = child
    node[parts[-1]] = value
    return None


def _describe_fault(
    kind: type[BaseModel], place: Sequence[int | str], whole: str, fault: Any
) -> str:
    """Format one pydantic error as a line: key, what was found, what was expected.

    Args:
        kind: Type of the file.
        place: Path of the key.
        whole: Name of the file's type, for faults of no single key.
        fault: The error.
    """
    key = ".".join(str(part) for part in place) or whole
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key{did_you_mean(str(place[-1]), _known_keys(kind, place[:-1]))}"
    if fault["type"] == "missing":
        return f"{key}: missing"
    near = ""
    if fault["type"] == "literal_error":
        near = did_you_mean(str(fault["input"]), re.findall("'(.+?)'", fault["ctx"]["expected"]))
    message = fault["msg"].removeprefix("Value error, ")
    # The input of a fault of the whole file is the file.
    found = f"found {fault['input']!r}; " if place else ""
    return f"{key}: {found}{message[0].lower() + message[1:]}{near}"


def _known_keys(kind: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """Return the keys of the table at a place of a file."""
    for part in place:
        field = kind.model_fields.get(str(part))
        inner = table_type(field.annotation) if field is not None else None
        if inner is None:
            return []
        kind = inner
    return list(kind.model_fields)


def table_type(annotation: Any) -> type[BaseModel] | None:
    """Return the record of a key that is a table, such as that of `Rule | None`; else None."""
    kinds = [annotation, *get_args(annotation)]
    tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return tables[0] if tables and get_origin(annotation) is not dict else None
