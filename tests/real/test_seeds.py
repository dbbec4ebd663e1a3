"""One experiment, trained from several seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from medtune.cli.output import show_record
from medtune.commands.run import run
from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress
from medtune.core.records import RunRecord
from medtune.models.sources import ModelSource

DRAWN = {"train_size": 24, "evaluate_size": 20, "evaluate": ["starter:recall"]}


def experiment(source: ModelSource, **changes: object) -> Experiment:
    settings = {
        "model": {"source": source.name, "dtype": "float32"},
        "data": DRAWN,
        "training": {"epochs": 1, "learning_rate": 1e-2},
        "evaluation": {"methods": ["cloze", "letter"], "options_only": 0},
        **changes,
    }
    return Experiment.model_validate(settings)


def test_every_seed_is_trained_on_the_same_data_and_compared_with_one_base(
    tiny_source: ModelSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(experiment(tiny_source, seeds=[1, 2]), tmp_path, NoProgress())
    assert [training.seed for training in record.trainings] == [1, 2]
    assert len({training.data.hash for training in record.trainings}) == 1
    assert len({training.weights_hash for training in record.trainings}) == 2
    groups = record.evaluations_by_exam()
    labels = ("base", "tuned, seed 1", "tuned, seed 2")
    assert [tuple(e.label for e in group) for group in groups] == [labels] * 2
    assert [(s.split, s.method) for s in record.spreads] == [
        (group[0].data.source, group[0].method) for group in groups
    ]
    for spread, group in zip(record.spreads, groups, strict=True):
        assert spread.base == group[0].accuracy
        assert spread.accuracies == tuple(e.accuracy.value for e in group[1:])
    assert [c.b for c in record.comparisons[::2]] == list(labels[1:])
    for seed in (1, 2):
        folder = tmp_path / "seeds" / str(seed)
        assert (folder / "adapter" / "medtune.json").is_file()
        assert (folder / "eval" / "tuned-starter-recall-cloze" / "record.json").is_file()
        assert (folder / "compare" / "starter-recall-cloze" / "report.html").is_file()
        assert (folder / "forgetting" / "tuned-text.json").is_file()
    assert record.forgotten is not None
    assert [one.answers[0].b for one in record.forgotten] == list(labels[1:])
    assert len({one.text_loss.loss_b for one in record.forgotten}) == 2
    assert len({one.text_loss.loss_a for one in record.forgotten}) == 1
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Over seeds" in page
    assert record.spreads[0].verdict in page
    for seed in (1, 2):
        assert f'href="seeds/{seed}/compare/starter-recall-letter/report.html"' in page
    assert RunRecord.model_validate_json((tmp_path / "record.json").read_bytes()) == record
    show_record(record)
    out = " ".join(capsys.readouterr().out.split())
    assert " ".join(record.spreads[0].verdict.split()) in out

    # A seed more costs that seed; a seed of the list gives what it gives alone.
    more = run(experiment(tiny_source, seeds=[1, 2, 17]), tmp_path, NoProgress())
    assert more.trainings[:2] == record.trainings
    alone = run(experiment(tiny_source), tmp_path / "alone", NoProgress())
    assert alone.trainings[0].inputs == more.trainings[2].inputs
    assert alone.spreads == ()
    weights = "adapter/adapter_model.safetensors"
    ours, theirs = (
        load_file(place / weights) for place in (tmp_path / "seeds" / "17", tmp_path / "alone")
    )
    assert all(weight.equal(theirs[name]) for name, weight in ours.items())


@pytest.mark.parametrize("seeds", [[1], [1, 1], [3, 4, 3]])
def test_seeds_that_show_no_spread_are_refused(seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="two or more, no two alike"):
        Experiment.model_validate({"seeds": seeds})
