from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from medtune.core.config import load_experiment
from medtune.core.errors import ConfigError, FolderError, InputError
from medtune.core.experiment import Experiment, NotebookExperiment
from medtune.core.settings.describe import describe_settings
from medtune.core.settings.template import TEMPLATES, TemplateName, write_experiment
from medtune.guardrails.policy import Policy

EXPERIMENTS = Path(__file__).parents[4] / "experiments"


@pytest.mark.parametrize("kind", [Experiment, NotebookExperiment, Policy])
def test_every_key_has_a_meaning(
    kind: type[Experiment] | type[NotebookExperiment] | type[Policy],
) -> None:
    settings = list(describe_settings(kind))
    assert [setting.key for setting in settings if not setting.meaning] == []
    assert len({setting.key for setting in settings}) == len(settings)


def test_a_key_has_its_type_and_the_default_of_its_table() -> None:
    found = {setting.key: setting for setting in describe_settings(Experiment)}
    assert found["training.lora.dropout"].values == "number, ≥ 0 and < 1"
    assert found["model.dtype"].default == '"auto"'
    assert found["prompt.text.list_options"].default == "false"
    assert found["prompt.letter.list_options"].default == "true"
    assert found["data.train_size"].default is None
    policy = {setting.key: setting for setting in describe_settings(Policy)}
    assert policy["scope.action"].default == '"refuse"'
    assert policy["order"].required


@pytest.mark.parametrize("template", get_args(TemplateName))
def test_a_template_is_the_experiment_of_its_name(tmp_path: Path, template: TemplateName) -> None:
    assert set(TEMPLATES) == set(get_args(TemplateName))
    written = write_experiment(tmp_path / f"{template}.toml", template)
    assert load_experiment(written) == load_experiment(EXPERIMENTS / f"{template}.toml")


def test_every_default_can_be_uncommented(tmp_path: Path) -> None:
    text = write_experiment(tmp_path / "own.toml").read_text()
    plain = load_experiment(tmp_path / "own.toml")
    tried = 0
    for line in text.splitlines():
        # Passages want a kind first, as their error says; what is not set has no default.
        if not line.startswith("#") or line[1:2] in (" ", "") or line.endswith("="):
            continue
        if line.partition(" ")[0] in ("#index", "#passages", "#words", "#query"):
            continue
        changed = tmp_path / "changed.toml"
        changed.write_text(text.replace(f"\n{line}\n", f"\n{line[1:]}\n", 1))
        assert load_experiment(changed) == plain, line
        tried += 1
    assert tried > 70


def test_settings_are_written_and_refused_before_anything_is(tmp_path: Path) -> None:
    place = tmp_path / "My trial!.toml"
    write_experiment(place, settings={"model.source": "hub:a/b", "data.train": "file:x.csv"})
    found = load_experiment(place)
    assert isinstance(found, Experiment)
    assert (found.name, found.model.source, found.data.train) == (
        "my-trial",
        "hub:a/b",
        "file:x.csv",
    )
    with pytest.raises(FolderError, match="exists, and is left as it is"):
        write_experiment(place)
    with pytest.raises(InputError, match="did you mean medmcqa"):
        write_experiment(tmp_path / "x.toml", "medmqa")
    with pytest.raises(InputError, match="no TOML file"):
        write_experiment(tmp_path / "x.json")
    with pytest.raises(ConfigError, match="greater than 0"):
        write_experiment(tmp_path / "x.toml", settings={"training.epochs": 0})
    assert [path.name for path in tmp_path.iterdir()] == [place.name]


def test_no_type_is_described_by_its_address(tmp_path: Path) -> None:
    text = write_experiment(tmp_path / "own.toml").read_text()
    assert "<function" not in text
    assert "AfterValidator" not in text
