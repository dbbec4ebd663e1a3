from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medtune.commands import notebook
from medtune.core.config import load_experiment
from medtune.core.errors import DataError, LabelError
from medtune.core.experiment import NotebookExperiment
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.data.sources.files import RawRow
from medtune.models.sources import ModelSource


def rows_of(questions: tuple[Question, ...]) -> list[RawRow]:
    return [
        {
            "id": q.id,
            "question": q.stem,
            **dict(zip(notebook.OPTION_COLUMNS, q.options, strict=True)),
            "cop": q.answer,
        }
        for q in questions
    ]


@pytest.fixture
def file(starter: tuple[Question, ...], tmp_path: Path) -> Path:
    path = tmp_path / "medmcqa.parquet"
    pq.write_table(pa.Table.from_pylist(rows_of(starter[:40])), path)
    return path


def small(file: Path, model: str, **changes: object) -> NotebookExperiment:
    settings = {"train_size": 8, "cutoff": 20, "evaluate_size": 3, "epochs": 1, "max_length": 96}
    return NotebookExperiment.model_validate(
        {"recipe": "notebook", "model": model, "data": f"file:{file}", **settings, **changes}
    )


def test_the_preset_is_the_notebook() -> None:
    preset = load_experiment(Path(__file__).parents[2] / "experiments" / "notebook.toml")
    assert preset == NotebookExperiment(recipe="notebook")
    assert (preset.train_size, preset.cutoff, preset.evaluate_size) == (500, 1000, 20)
    assert (preset.epochs, preset.seed, preset.max_length) == (3, 42, 512)


def test_the_recipe_runs_and_writes_the_notebooks_file(
    tiny_source: ModelSource, file: Path, tmp_path: Path
) -> None:
    record = notebook.run_notebook(
        small(file, tiny_source.name, max_new_tokens=8), tmp_path / "out", NoProgress()
    )
    assert record.steps == 2
    assert record.examples == 8
    assert (record.trainable_parameters, record.total_parameters) == (16_384, 1_607_840)
    assert record.counts.n == record.strict_counts.n == 3
    saved = json.loads((tmp_path / "out" / "evaluation_results.json").read_text())
    original = {
        "n_total", "accuracy", "exact_matches", "partial_matches", "incorrect", "total_time",
        "time_per_example", "selected_indices", "results",
    }  # fmt: skip
    assert saved.keys() == original
    assert saved["results"][0].keys() == {
        "id", "question", "opa", "opb", "opc", "opd", "cop", "ground_truth", "prediction",
        "correct", "match_type",
    }  # fmt: skip
    assert saved["n_total"] == 3
    assert (tmp_path / "out" / "adapter" / "adapter_config.json").is_file()


def test_the_training_text_is_chatml_and_the_evaluation_text_is_not() -> None:
    row: RawRow = dict(
        zip(notebook.OPTION_COLUMNS, ("HIV", "Rubella", "Mumps", "CMV"), strict=True)
    )
    row |= {"question": "Which virus is it?", "cop": 0}
    assert notebook.format_training_text(row) == (
        "<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n"
        "<|im_start|>user\nWhich virus is it?\nA. HIV\nB. Rubella\nC. Mumps\nD. CMV<|im_end|>\n"
        "<|im_start|>assistant\nThe answer is: HIV<|im_end|>"
    )
    assert "<|im_start|>" not in notebook.format_evaluation_prompt(row)
    assert notebook.format_training_text({**row, "question": "Too short"}) is None
    assert notebook.format_training_text({**row, "opa": "X"}) is None


def test_the_one_based_mirror_is_refused(
    source: ModelSource, starter: tuple[Question, ...], tmp_path: Path
) -> None:
    rows = [{**row, "cop": row["cop"] + 1} for row in rows_of(starter[:40])]
    path = tmp_path / "one.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(LabelError, match=r"cop is 4[\s\S]*0 to 3"):
        notebook.run_notebook(small(path, source.name), tmp_path / "out", NoProgress())


def test_too_few_rows_are_refused(source: ModelSource, file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 40 rows[\s\S]*cutoff 1000"):
        notebook.run_notebook(small(file, source.name, cutoff=1000), tmp_path / "out", NoProgress())
