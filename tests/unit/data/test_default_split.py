from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from medtune.core.errors import DataError
from medtune.core.experiment import DataConfig
from medtune.core.progress import NoProgress
from medtune.data.load import load_split, resolve_split
from medtune.data.pipeline import list_sources
from medtune.data.snapshot import prepare_snapshot
from medtune.data.sources.sources import parse_data_ref


def examined(text: str) -> str:
    return str(resolve_split(parse_data_ref(text), for_training=False))


def taught(text: str) -> str:
    return str(resolve_split(parse_data_ref(text), for_training=True))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the splits that the Hub names, and collect what it is asked."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def naming(*names: str) -> list[tuple[str, dict[str, Any]]]:
        def ask(place: str, **options: Any) -> list[str]:
            calls.append((place, options))
            return list(names)

        monkeypatch.setattr(datasets, "get_dataset_split_names", ask)
        return calls

    return naming


def test_the_starter_questions_ask_for_a_split() -> None:
    with pytest.raises(DataError, match="starter names no split to evaluate on") as caught:
        load_split("starter")
    assert caught.value.expected == (
        "one of starter:train, starter:recall, starter:transfer, starter:general"
    )
    assert taught("starter") == "starter:train"
    assert load_split("starter", for_training=True).description.source == "starter:train"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("train", "validation", "test"), "test"),
        (("train", "validation"), "validation"),
        (("test",), "test"),
    ],
)
def test_a_hub_dataset_is_examined_on_test_then_validation(
    hub: Any, names: tuple[str, ...], found: str
) -> None:
    calls = hub(*names)
    assert examined("hub:org/name/part@abc") == f"hub:org/name/part@abc:{found}"
    assert calls == [("org/name", {"revision": "abc", "config_name": "part"})]


def test_a_hub_dataset_with_train_alone_is_never_examined_on_it_unasked(hub: Any) -> None:
    hub("train", "artificial")
    with pytest.raises(DataError, match="hub:org/name names no split to evaluate on") as caught:
        examined("hub:org/name")
    assert caught.value.expected == "one of hub:org/name:train, hub:org/name:artificial"
    assert examined("hub:org/name:train") == "hub:org/name:train"


def test_a_split_without_answers_is_not_meant(hub: Any) -> None:
    hub("train", "validation", "test")
    assert examined("hub:openlifescienceai/medmcqa") == "hub:openlifescienceai/medmcqa:validation"


def test_to_teach_with_the_train_split_is_meant_and_nobody_is_asked(hub: Any) -> None:
    calls = hub("test")
    assert taught("hub:org/name") == "hub:org/name:train"
    assert calls == []


def test_a_file_is_taken_whole_in_both_cases(tmp_path: Path) -> None:
    name = f"file:{tmp_path / 'a.csv'}"
    assert examined(name) == taught(name) == name


@pytest.mark.parametrize(
    ("evaluate", "found"),
    [
        (("starter:recall",), "evaluated"),
        (("starter:recall", "starter:transfer"), None),
    ],
)
def test_a_snapshot_is_examined_on_what_it_was_made_to_examine(
    tmp_path: Path, evaluate: tuple[str, ...], found: str | None
) -> None:
    data = DataConfig(evaluate=evaluate, train_size=60, validation_size=20)
    prepare_snapshot(data, 0, tmp_path, NoProgress())
    name = f"snapshot:{tmp_path}"
    if found is None:
        with pytest.raises(DataError, match="names no split to evaluate on") as caught:
            load_split(name)
        for split in ("train", "validation", "starter-recall", "starter-transfer"):
            assert f"{name}:{split}" in caught.value.expected
    else:
        assert load_split(name).description.source == f"{name}:{found}"
        assert len(load_split(name).questions) == 80
    assert load_split(name, for_training=True).description.source == f"{name}:train"


def test_an_experiment_trains_on_train_and_must_name_what_it_examines() -> None:
    train, recall = list_sources(DataConfig(train="starter", evaluate=("starter:recall",)))
    assert (str(train.ref), str(recall.ref)) == ("starter:train", "starter:recall")
    with pytest.raises(DataError, match="starter names no split to evaluate on"):
        list_sources(DataConfig(evaluate=("starter",)))
