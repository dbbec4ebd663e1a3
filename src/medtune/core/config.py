"""Experiments: TOML in, one closed record out, every fault reported at once."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from medtune.core.errors import ConfigError
from medtune.core.prompt import Form, PromptStyle
from medtune.core.records import Method, Normalization, Record, content_hash

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class ColumnMapping(Record):
    """Which columns of a file hold what; the default is MedMCQA's."""

    id: str = "id"
    """Missing ids are made from the row's content. Optional columns: "" for none; one that is
    named in an experiment must exist, one that is only a default may be absent."""
    stem: str = "question"
    options: tuple[str, ...] = ("opa", "opb", "opc", "opd")
    """One column per option, or a single column that holds a list."""
    answer: str = "cop"
    """An index, a letter, or the right option's text."""
    answer_form: Literal["index", "letter", "text"] | None = None
    """None reads it off the whole file, and refuses where two forms fit and disagree."""
    answer_base: Literal[0, 1] | None = None
    """Whether indices count from 0 or 1; None detects it and refuses when it cannot be told."""
    subject: str = "subject_name"
    topic: str = "topic_name"
    explanation: str = "exp"
    group: str = ""
    split: str = "split"
    """Column that names the split of a row, for `file:PATH:SPLIT`."""


class ModelConfig(Record):
    """Which model, in which arithmetic."""

    source: str = "embedded:smollm2-135m"
    """embedded:, hub:ORG/NAME[@revision], path:DIR; fakes are for `evaluate` only."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """auto is bfloat16 where the machine multiplies it fast, else float32."""
    attention: Literal["sdpa", "eager"] = "sdpa"


class DataConfig(Record):
    """Which questions."""

    train: str = "starter:train"
    evaluate: tuple[str, ...] = Field(default=("starter:recall", "starter:transfer"), min_length=1)
    train_size: int | None = Field(default=None, gt=0)
    """First so many questions after cleaning; None takes all."""
    evaluate_size: int | None = Field(default=None, gt=0)
    """Likewise for every evaluated split."""
    columns: ColumnMapping = ColumnMapping()


class LoraSettings(Record):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = Field(default=16, gt=0)
    alpha: int = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: tuple[str, ...] = Field(default=LORA_TARGETS, min_length=1)


class TrainingConfig(Record):
    """How to fine-tune."""

    target: Form = "text"
    """What the model learns to answer: the option's text or its letter."""
    epochs: int = Field(default=6, gt=0)
    batch_size: int = Field(default=16, gt=0)
    """Examples per optimizer step, over all processes."""
    token_budget: int = Field(default=1024, gt=0)
    """Most positions in one forward pass; a step is cut into as many as it needs."""
    max_tokens: int = Field(default=1024, gt=0)
    """Examples longer than this are left out and counted."""
    learning_rate: float = Field(default=2e-3, gt=0)
    warmup_steps: int = Field(default=5, ge=0)
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    permute_options: bool = True
    """Show the options in a new random order in every epoch."""
    save_every: int = Field(default=20, gt=0)
    """Steps between checkpoints."""
    lora: LoraSettings = LoraSettings()


class EvaluationConfig(Record):
    """How to examine."""

    methods: tuple[Method, ...] = Field(default=("cloze", "letter", "generate"), min_length=1)
    """The first is primary: the verdict rests on it."""
    normalization: Normalization = "byte"
    """Cloze: compare summed log-probability, or its mean per token or byte (acc_norm of
    lm-evaluation-harness: it does not depend on how a tokenizer cuts)."""
    shots: int = Field(default=0, ge=0)
    """Worked examples before each question, the first ones of the train split."""
    max_new_tokens: int = Field(default=50, gt=0)

    @model_validator(mode="after")
    def _once(self) -> EvaluationConfig:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError(f"a method is named twice: {', '.join(self.methods)}")
        return self


class Experiment(Record):
    """A run as data. The defaults are the quickstart."""

    recipe: Literal["finetune"] = "finetune"
    name: str = Field(default="quickstart", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = 17
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    prompt: PromptStyle = PromptStyle()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


class NotebookExperiment(Record):
    """The seed notebook's recipe, bugs included; see `recipes/notebook.py`."""

    recipe: Literal["notebook"]
    name: str = Field(default="notebook", pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = 42
    model: str = "hub:HuggingFaceTB/SmolLM2-1.7B-Instruct"
    data: str = "hub:openlifescienceai/medmcqa:train"
    columns: ColumnMapping = ColumnMapping()
    train_size: int = Field(default=500, gt=0)
    cutoff: int = Field(default=1000, ge=0)
    """Rows before this are not sampled for the evaluation (the train rows of the notebook)."""
    evaluate_size: int = Field(default=20, gt=0)
    epochs: float = Field(default=3, gt=0)
    max_length: int = Field(default=512, gt=0)
    max_new_tokens: int = Field(default=50, gt=0)


AnyExperiment = Annotated[Experiment | NotebookExperiment, Field(discriminator="recipe")]


def load_experiment(
    path: Path | None, overrides: Sequence[str] = ()
) -> Experiment | NotebookExperiment:
    """Read an experiment and apply `key=value` overrides.

    Args:
        path: A TOML file; None is the built-in quickstart.
        overrides: Dotted keys and TOML values, `training.epochs=2`; a value that is not TOML
            is taken as a string.

    Raises:
        ConfigError: With every fault, each by its key.
    """
    source = str(path) if path else "built-in quickstart"
    tree = _read(path) if path else {}
    faults = [fault for text in overrides if (fault := _override(tree, text))]
    tree.setdefault("recipe", "finetune")
    try:
        experiment = _ADAPTER.validate_python(tree)
    except ValidationError as error:
        faults += [_describe(tree, fault) for fault in error.errors()]
        raise ConfigError(source, faults) from error
    if faults:
        raise ConfigError(source, faults)
    return experiment


def config_hash(experiment: Experiment | NotebookExperiment) -> str:
    """Hash every setting, defaults included; 64 hex digits."""
    return content_hash(experiment.model_dump(mode="json"))


def to_toml(experiment: Experiment | NotebookExperiment) -> str:
    """Write an experiment as TOML, every default spelled out; reading it back is lossless."""
    lines: list[str] = []
    _write_table(experiment.model_dump(mode="json"), (), lines)
    return "\n".join(lines).strip() + "\n"


_ADAPTER: TypeAdapter[Experiment | NotebookExperiment] = TypeAdapter(AnyExperiment)


def _read(path: Path) -> dict[str, Any]:
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


def _override(tree: dict[str, Any], text: str) -> str | None:
    """Set one key; return a fault instead where the text is no assignment."""
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


def _describe(tree: dict[str, Any], fault: Any) -> str:
    """Turn one pydantic fault into a line: key, what was found, what was expected."""
    # The first part of a discriminated union's location is the tag, not a key.
    place = list(fault["loc"][1:])
    key = ".".join(str(part) for part in place) or "recipe"
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place[-1]), _known_keys(tree, place[:-1]), n=1)
        return f"{key}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
    if fault["type"] == "union_tag_invalid":
        return f"recipe: found {tree.get('recipe')!r}, expected 'finetune' or 'notebook'"
    if fault["type"] == "missing":
        return f"{key}: missing"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{key}: found {fault['input']!r}; {message[0].lower() + message[1:]}"


def _known_keys(tree: dict[str, Any], place: list[Any]) -> list[str]:
    model: Any = NotebookExperiment if tree.get("recipe") == "notebook" else Experiment
    for part in place:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _write_table(table: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {k: v for k, v in table.items() if not isinstance(v, dict) and v is not None}
    if path and plain:
        lines += ["", f"[{'.'.join(path)}]"]
    lines += [f"{key} = {_toml_value(value)}" for key, value in plain.items()]
    # TOML has no null; None is only ever a default here, so leaving it out is lossless.
    lines += [f"# {key}: not set" for key, value in table.items() if value is None]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, (*path, key), lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        # JSON's escapes are TOML's too, but JSON leaves DEL as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
