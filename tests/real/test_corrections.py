from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.serving.store_cases import put

from medtune.commands import notebook
from medtune.commands.monitor import export_corrections
from medtune.commands.train import finetune
from medtune.core.errors import DataError
from medtune.core.experiment import Experiment, NotebookExperiment
from medtune.core.progress import NoProgress
from medtune.data.load import load_split, read_manifest
from medtune.models.sources import ModelSource
from medtune.serving.schemas import Decision
from medtune.serving.storage.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = Store.open(f"sqlite:///{tmp_path / 'medtune.db'}")
    for q in load_split("starter:train", size=8).questions:
        put(store, q.id, stem=q.stem, options=q.options, subject=q.subject)
        store.reviews.claim("ann", 600, q.id)
        store.reviews.decide(q.id, "ann", Decision(kind="edit", chosen=q.answer))
    store.close()
    export_corrections(tmp_path, None, tmp_path / "c", NoProgress())
    return tmp_path / "c"


def test_a_model_is_trained_on_corrections(
    tiny_source: ModelSource, folder: Path, tmp_path: Path
) -> None:
    experiment = Experiment.model_validate(
        {
            "model": {"source": tiny_source.name, "dtype": "float32"},
            "data": {"train": f"snapshot:{folder}", "evaluate_size": 8},
            "training": {"epochs": 1, "batch_size": 4},
        }
    )
    (record,) = finetune(experiment=experiment, out=tmp_path / "run", progress=NoProgress()).records
    assert (record.examples, record.steps) == (8, 2)
    assert record.data.source == f"snapshot:{folder}:train"
    assert read_manifest(tmp_path / "run" / "data").train_split.purpose == "training"
    assert (tmp_path / "run" / "adapter" / "medtune.json").is_file()


def test_the_notebook_refuses_them_too(
    tiny_source: ModelSource, folder: Path, tmp_path: Path
) -> None:
    """It trains and examines on one file, whichever form that has."""
    rows = [
        {"id": q.id, "question": q.stem, "cop": q.answer}
        | dict(zip(notebook.OPTION_COLUMNS, q.options, strict=True))
        for q in load_split(f"snapshot:{folder}", for_training=True).questions
    ]
    file = tmp_path / "copied.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    experiment = NotebookExperiment(
        recipe="notebook",
        model=tiny_source.name,
        data=f"file:{file}",
        cutoff=4,
        evaluate_size=2,
    )
    with pytest.raises(DataError, match="for training only"):
        notebook.run_notebook(experiment, tmp_path / "run", NoProgress())
