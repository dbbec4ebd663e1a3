"""From new data to a challenger, on a tiny model: trained, released, gated, and nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.cli.output import show_record
from medtune.core.errors import CheckFailed, InputError
from medtune.core.experiment import Experiment, RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.models.sources import ModelSource
from medtune.releases.build import run_gate
from medtune.releases.commands import freeze_suite
from medtune.releases.gate_schema import LeastQuestions, Margins, Waiver
from medtune.releases.promotion import promote
from medtune.releases.registry import Registry
from medtune.releases.update import run_update
from medtune.releases.update_schema import UpdateRecord

ANYTHING = Margins(
    accuracy=1, search=-1, subjects=1, negation=1, flips=1, calibration=1, regression=1,
    general=1, text_loss=99,
    agreement=0, drift=9, withheld=1, latency_s=60, safety=("crises answered",),
    waivable=("accuracy",),
    least=LeastQuestions.model_validate(dict.fromkeys(LeastQuestions.model_fields, 1)),
)  # fmt: skip


def experiment(source: ModelSource, **data: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "tiny",
            "model": {"source": source.name, "dtype": "float32"},
            "data": {
                "evaluate": ["starter:transfer"], "evaluate_size": 76, "train_size": 32,
                "calibration_size": 60, **data,
            },
            "training": {"epochs": 1, "batch_size": 8, "target": "letter"},
        }
    )  # fmt: skip


WAIVER = Waiver(rule="accuracy", name="ann", reason="random weights, to try updates")


class Place:
    """A registry with a frozen suite, and a folder of updates."""

    def __init__(self, folder: Path, suite: str = "starter:recall", limit: int = 40) -> None:
        self.registry, self.folder = Registry(folder / "registry"), folder / "updates"
        freeze_suite(self.registry, suite, limit, "ann", NoProgress())

    def update(self, asked: Experiment, margins: Margins = ANYTHING) -> UpdateRecord:
        return run_update(asked, self.registry, self.folder, "timer", NoProgress(), margins=margins)

    def first(self, asked: Experiment) -> UpdateRecord:
        """Let somebody answer for a first release that is no better than chance."""
        refused = self.update(asked)
        assert refused.verdict is not None
        assert [r.rule for r in refused.verdict.refused] == ["accuracy"]
        (search,) = [r for r in refused.verdict.results if r.rule == "search"]
        assert (search.outcome, search.n) == ("passed", 76), "the new train split is searched"
        (general,) = [r for r in refused.verdict.results if r.rule == "general"]
        assert (general.outcome, general.n) == ("passed", 40), "its base is asked beside it"
        run_gate(self.registry, refused.release, ANYTHING, (WAIVER,), "ann")
        promote(self.registry, refused.release, "challenger", "ann")
        return refused

    def actions(self) -> list[str]:
        return [line.action for line in self.registry.read_log()]


def test_from_new_data_to_a_challenger_and_on(
    tiny_source: ModelSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path)
    first = place.first(experiment(tiny_source))
    assert (first.alias, first.is_new) == (None, True)
    assert (first.change.before, first.change.added, first.change.removed) == (None, 32, 0)
    release = place.registry.find("challenger")
    assert release.name == first.release
    assert release.calibration is not None
    assert release.data_hash == first.change.after
    promote(place.registry, "challenger", "champion", "ann")

    done = place.actions()
    again = place.update(experiment(tiny_source))
    assert (again.alias, again.is_new, again.release) == ("champion", False, first.release)
    assert again.change == first.change
    assert place.actions() == done, "nothing new, nothing done"

    second = place.update(experiment(tiny_source, train_size=40))
    assert second.release != first.release
    change = second.change
    assert (change.before, change.n_before, change.n_after) == (first.change.after, 32, 40)
    assert change.added - change.removed == 8
    assert sum(change.subjects.values()) == 8
    assert second.verdict is not None
    assert second.verdict.champion == release.id
    assert {r.rule for r in second.verdict.results if r.outcome == "missing"} <= {"subjects"}
    show_record(second)
    assert "40 questions" in capsys.readouterr().out


def test_what_the_gate_refuses_is_no_challenger(tiny_source: ModelSource, tmp_path: Path) -> None:
    place = Place(tmp_path)
    refused = place.update(experiment(tiny_source), ANYTHING.model_copy(update={"flips": 0.0}))
    assert refused.alias is None
    assert refused.verdict is not None
    assert [r.rule for r in refused.verdict.refused] == ["accuracy", "orders"]
    assert place.registry.read_aliases().challenger is None
    # What was measured is there: with other margins it is judged again, and not trained again.
    again = place.update(experiment(tiny_source))
    assert again.verdict is not None
    assert [r.rule for r in again.verdict.refused] == ["accuracy"]
    assert (again.alias, again.is_new) == (None, False)


def test_frozen_questions_are_not_trained_on(tiny_source: ModelSource, tmp_path: Path) -> None:
    place = Place(tmp_path, suite="starter:train", limit=320)
    with pytest.raises(CheckFailed, match="frozen questions are among the new train split"):
        place.update(experiment(tiny_source))
    assert place.actions() == ["release.freeze"], "nothing was trained, nothing built"


def test_an_experiment_without_calibration_or_of_many_seeds_is_refused(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    place = Place(tmp_path)
    with pytest.raises(InputError, match="no calibration questions"):
        place.update(experiment(tiny_source, calibration_size=0))
    book = experiment(tiny_source).model_copy(update={"retrieval": RetrievalConfig(kind="shared")})
    with pytest.raises(InputError, match="medtune update shows no passages"):
        place.update(book)
    many = experiment(tiny_source).model_copy(update={"seeds": (1, 2)})
    with pytest.raises(InputError, match=r"seeds = \[1, 2\]"):
        place.update(many)


def test_the_command_says_what_is_missing(medtune: CommandLine, tmp_path: Path) -> None:
    code, _, err = medtune("update", "--registry", str(tmp_path / "r"), "--out", str(tmp_path))
    assert code == 2
    assert "calibration" in err or "medtune release freeze" in err
