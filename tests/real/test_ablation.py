"""The notebook's ladder on the tiny model."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import pytest
from tests.conftest import CommandLine

from medtune.cli.output import show_record
from medtune.commands.notebook import format_evaluation_prompt
from medtune.core.errors import DataError
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import Evaluation, read_evaluation
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle, TextForm
from medtune.core.records import Outcome, Question
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource
from medtune.studies.ablation.analysis import rescore_by_substring
from medtune.studies.ablation.llama3_template import Llama3Headers
from medtune.studies.ablation.schema import RUNGS, AblationRecord, list_ablation_trainings
from medtune.studies.ablation.study import (
    FOREIGN_SYSTEM,
    AblationStudy,
    matches_like_notebook,
)
from medtune.studies.grid_schema import GridState, WorkerCounts
from medtune.studies.runner import run_study

HANDS = WorkerCounts()


def experiment(source: ModelSource) -> Experiment:
    return Experiment.model_validate(
        {
            "model": {"source": source.name, "dtype": "float32"},
            "data": {"train_size": 32, "evaluate": ["starter:recall"], "evaluate_size": 12},
            "training": {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2},
            "evaluation": {"max_new_tokens": 6},
        }
    )


def run(
    source: ModelSource, folder: Path, hands: WorkerCounts = HANDS, few: int = 16
) -> AblationRecord | GridState:
    return run_study(AblationStudy, folder, hands, NoProgress(), experiment(source), few)


@pytest.fixture(scope="module")
def studied(
    tiny_source: ModelSource, tmp_path_factory: pytest.TempPathFactory
) -> tuple[AblationRecord, Path]:
    folder = tmp_path_factory.mktemp("ablation")
    record = run(tiny_source, folder)
    assert isinstance(record, AblationRecord)
    return record, folder


def test_every_rung_differs_from_the_one_before_in_what_it_says(
    studied: tuple[AblationRecord, Path],
) -> None:
    record, _ = studied
    assert [one.rung for one in record.rungs] == list(RUNGS)
    by = record.trainings
    assert {name: t.data.n for name, t in by.items()} == dict.fromkeys(by, 16) | {"data": 32}
    notebook = by["notebook"].audit
    assert (notebook.ends_supervised, by["ending"].audit.ends_supervised) == (0, 16)
    assert notebook.prompt_supervised > 0
    assert by["ending"].audit.supervised == notebook.supervised + 16
    assert by["ending"].audit.prompt_supervised == notebook.prompt_supervised
    assert by["answer"].audit.prompt_supervised == 0
    assert [t.target for t in by.values()] == ["text"] * 3 + ["letter"] * 3
    assert len({t.inputs for t in by.values()}) == 6
    # The same step budget per question, the same rate and rank: nothing else was touched.
    assert {t.trainable_parameters for t in by.values()} == {by["data"].trainable_parameters}
    assert {t.losses[0].learning_rate for t in by.values()} == {by["data"].losses[0].learning_rate}


def test_the_first_rungs_read_the_same_answers_in_two_ways(
    studied: tuple[AblationRecord, Path],
) -> None:
    record, folder = studied
    first, second, third, *_ = record.rungs
    answers = read_evaluation(folder / "cells" / "notebook" / "foreign")
    assert first.evaluation.counts == second.evaluation.counts == answers[0].counts
    assert first.accuracy == rescore_by_substring(answers, matches_like_notebook)[0].accuracy
    assert second.accuracy == answers[0].accuracy
    assert first.evaluation.prompt_hash != third.evaluation.prompt_hash
    assert (first.likelihood, second.likelihood) == (None, None)
    assert third.likelihood is not None
    assert first.gain is None
    assert all(one.gain is not None for one in record.rungs[1:])


def test_nothing_is_done_twice_and_what_is_lost_is_done_again(
    studied: tuple[AblationRecord, Path], tiny_source: ModelSource
) -> None:
    record, folder = studied
    again = run(tiny_source, folder)
    assert isinstance(again, AblationRecord)
    assert again.rungs == record.rungs
    assert again.cell_s == record.cell_s
    (folder / "cells" / "letter" / "cell.json").unlink()
    state = run(tiny_source, folder, WorkerCounts(shard=1, shards=7))
    assert isinstance(state, GridState)
    assert state.left == ("letter",)
    whole = run(tiny_source, folder, WorkerCounts(shard=5, shards=7))
    assert isinstance(whole, AblationRecord)
    assert whole.trainings == record.trainings  # its training was still valid


def test_page_and_table_tell_the_story(
    studied: tuple[AblationRecord, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    record, folder = studied
    page = unescape((folder / AblationStudy.page).read_text(encoding="utf-8"))
    assert record.verdict in page
    for rung in RUNGS:
        assert f'<th scope="row">{rung.name}</th>' in page
    show_record(record)
    out = capsys.readouterr().out
    assert " ".join(record.verdict.split()) in " ".join(out.split())
    assert "base model" in out


def test_too_few_questions_for_a_last_rung_are_refused(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="32 training questions, 32 of which"):
        run(tiny_source, tmp_path, few=32)


def test_the_command_climbs_with_two_workers(
    tiny_source: ModelSource, medtune: CommandLine, tmp_path: Path
) -> None:
    path = tmp_path / "e.toml"
    path.write_text(
        f'[model]\nsource = "{tiny_source.name}"\ndtype = "float32"\n[data]\ntrain_size = 12\n'
        'evaluate = ["starter:recall"]\nevaluate_size = 6\n[training]\nepochs = 1\n'
        "[evaluation]\nmax_new_tokens = 2\n"
    )
    record = medtune.record("study", "ablation", path, "--few", 8, "--workers", 2, "--out", "a")
    assert [one["rung"]["name"] for one in record["rungs"]] == [rung.name for rung in RUNGS]
    assert (Path("a") / AblationStudy.page).is_file()


def test_the_foreign_prompt_is_the_notebooks(tiny: LocalModel) -> None:
    question = Question(id="q", stem="Which vitamin?", options=("A1", "B2", "C3", "D4"), answer=2)
    style = PromptStyle(system=FOREIGN_SYSTEM, text=TextForm(list_options=True))
    foreign = tiny.with_encoder(Llama3Headers(tiny.encoder.tokenizer))
    row = {"question": question.stem, "opa": "A1", "opb": "B2", "opc": "C3", "opd": "D4", "cop": 2}
    assert foreign.render(style.build_messages(question, "text")) == format_evaluation_prompt(row)
    assert foreign.describe() == tiny.describe()


def test_an_answer_that_contains_the_truth_counts_for_the_notebook_alone(
    studied: tuple[AblationRecord, Path],
) -> None:
    record, predictions = read_evaluation(studied[1] / "cells" / "base" / "free")
    first = predictions[0]
    both = " and ".join(first.options)
    said = first.model_copy(update={"text": both, "outcome": Outcome.UNPARSED, "chosen": None})
    assert STRICT_PARSER.read(both, first.options).chosen is None
    _, (counted, *_) = rescore_by_substring(
        Evaluation(record, [said, *predictions[1:]]), matches_like_notebook
    )
    assert counted.outcome is Outcome.CORRECT


def test_the_ladder_keeps_the_experiments_own_settings(tiny_source: ModelSource) -> None:
    own = experiment(tiny_source)
    for one in list_ablation_trainings(own).values():
        assert one.training.learning_rate == 1e-2
        assert one.data == own.data
        json.dumps(one.model_dump(mode="json"))
