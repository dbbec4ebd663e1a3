"""Write an experiment in which every key is commented with its meaning and its default."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from medtune.core.config import load_experiment
from medtune.core.errors import FolderError, InputError, check_choice
from medtune.core.experiment import Experiment
from medtune.core.run_folder import write_text
from medtune.core.settings.describe import ConfigKey, describe_settings, format_value

TemplateName = Literal["quickstart", "medmcqa", "open-book", "ablation"]
MEDMCQA = {
    "data.train": "hub:openlifescienceai/medmcqa:train",
    "data.evaluate": ("hub:openlifescienceai/medmcqa:validation",),
}
TEMPLATES: dict[str, dict[str, Any]] = {
    "quickstart": {},
    "medmcqa": {
        "model.source": "hub:HuggingFaceTB/SmolLM2-1.7B-Instruct",
        **MEDMCQA,
        "data.validation_size": 500,
        "data.calibration_size": 1000,
        "data.train_size": 2000,
        "training.target": "letter",
        "training.epochs": 2,
        "training.learning_rate": 2e-4,
        "evaluation.methods": ("letter", "cloze"),
    },
    "open-book": {
        **MEDMCQA,
        "data.validation_size": 2000,
        "data.calibration_size": 2000,
        "data.train_size": 8000,
        "retrieval.kind": "per-option",
        "training.objective": "choice",
        "training.method": "full",
        "training.epochs": 1,
        "training.batch_size": 32,
        "training.token_budget": 1024,
        "training.learning_rate": 1e-4,
        "training.warmup_steps": 20,
        "training.schedule": "linear",
        "training.save_every": 25,
        "evaluation.methods": ("cloze",),
    },
    "ablation": {
        "seed": 42,
        **MEDMCQA,
        "data.train_size": 2000,
        "data.evaluate_size": 500,
        "training.epochs": 3,
        "training.batch_size": 4,
        "training.learning_rate": 2e-4,
        "training.warmup_steps": 10,
        "training.schedule": "linear",
    },
}
"""Settings of the templates that are no defaults."""
HEADER = """\
# An experiment of medtune, from the template "{template}".
#   medtune run {path} --dry-run     what will be done, and how long it takes
#   medtune run {path}
#
# A line that begins with "#key = " is a default; remove its "#" to change it.
"""
WIDTH = 100


def write_experiment(
    path: Path, template: str = "quickstart", settings: Mapping[str, Any] | None = None
) -> Path:
    """Write a commented experiment to a new file.

    Args:
        path: The file, which must not exist.
        template: Name of the template.
        settings: Values by dotted key, in place of the template's.

    Raises:
        InputError: There is no such template, or the name is that of no TOML file.
        FolderError: The file exists, or cannot be written.
        ConfigError: A setting is invalid.
    """
    check_choice("--template", template, get_args(TemplateName))
    if path.suffix != ".toml":
        raise InputError(f"{path} is the name of no TOML file", expected="a name such as my.toml")
    if path.exists():
        raise FolderError(
            f"{path} exists, and is left as it is", fix="choose another name, or remove the file"
        )
    stem = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("._-") or "experiment"
    values = {"name": stem, **TEMPLATES[template], **(settings or {})}
    # Invalid settings are refused before anything is written.
    load_experiment(None, [f"{key}={format_value(value)}" for key, value in values.items()])
    header = HEADER.format(template=template, path=path)
    write_text(path, header + "\n".join(_write_tables(values)) + "\n")
    return path


def _write_tables(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the file: the keys of no table, then one table after the other."""
    table = ""
    settings = list(describe_settings(Experiment))
    for setting in sorted(settings, key=lambda setting: "." in setting.key):
        head, dot, key = setting.key.partition(".")
        if dot and head != table:
            yield f"\n[{head}]"
            table = head
        yield ""
        yield from _write_setting(setting, key if dot else head, values)


def _write_setting(setting: ConfigKey, key: str, values: Mapping[str, Any]) -> Iterator[str]:
    default = "not set" if setting.default is None else setting.default
    if setting.key in values:
        meaning = f"{setting.meaning} ({setting.values}; default: {default})"
        line = f"{key} = {format_value(values[setting.key])}"
    else:
        unset = " by default not set" if setting.default is None else ""
        meaning = f"{setting.meaning} ({setting.values}{';' if unset else ''}{unset})"
        line = f"#{key} = {setting.default or ''}".rstrip()
    for part in textwrap.wrap(meaning, WIDTH - 2, break_long_words=False, break_on_hyphens=False):
        yield f"# {part}"
    yield line
