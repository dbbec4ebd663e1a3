"""The tables of docs/configuration.md: every key of an experiment and of a guard policy."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from pydantic import BaseModel

from medtune.core.experiment import Experiment, NotebookExperiment
from medtune.core.settings.describe import ConfigKey, describe_settings
from medtune.data.datasheet import markdown_table
from medtune.guardrails.policy import Policy

LONGEST_DEFAULT = 80
"""Characters of a default that a cell shows; a longer one stands in the file that it names."""
EXPERIMENT_FILE = "`medtune new`"
POLICY_FILE = "the starter policy"


def experiment_tables() -> str:
    """Write the keys of an experiment, one table of the file after the other."""
    return _tables(Experiment, EXPERIMENT_FILE)


def notebook_table() -> str:
    """Write the keys of the seed notebook's recipe that it does not share with an experiment."""
    own = (s for s in describe_settings(NotebookExperiment) if "columns." not in s.key)
    return _table(own, EXPERIMENT_FILE)


def policy_tables() -> str:
    """Write the keys of a guard policy."""
    return _tables(Policy, POLICY_FILE)


def _tables(kind: type[BaseModel], file: str) -> str:
    lines = []
    settings = sorted(describe_settings(kind), key=lambda setting: "." in setting.key)
    for table, some in groupby(settings, key=lambda s: s.key.rpartition(".")[0]):
        lines += [
            "",
            f"### `[{table}]`" if table else "### Outside of any table",
            "",
            _table(some, file),
        ]
    return "\n".join(lines)


def _table(settings: Iterable[ConfigKey], file: str) -> str:
    rows = []
    for setting in settings:
        default = "required" if setting.required else "not set"
        if setting.default is not None:
            short = len(setting.default) <= LONGEST_DEFAULT
            default = f"`{setting.default}`" if short else f"see {file}"
        key = setting.key.rpartition(".")[2]
        rows.append((f"`{key}`", setting.values, default, setting.meaning))
    return markdown_table(("key", "values", "default", "meaning"), rows)
