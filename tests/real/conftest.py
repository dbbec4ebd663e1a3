"""Fixtures on real weights: the embedded model, and a tiny random one that shares its tokenizer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.real.tiny_llama import write_tiny_llama

from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.models.adapters import lora
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve_model
from medtune.training.finetune import fine_tune


@pytest.fixture(scope="session")
def source() -> ModelSource:
    return resolve_model("embedded:smollm2-135m")


@pytest.fixture(scope="session")
def model(source: ModelSource) -> LocalModel:
    """The embedded model in fp32; tests must leave it as it is."""
    return LocalModel.load(source, dtype="float32")


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> ModelSource:
    """A random two-layer Llama with the embedded model's tokenizer: training tests in seconds."""
    folder = tmp_path_factory.mktemp("tiny")
    # Large enough weights for two layers to be steered by LoRA.
    write_tiny_llama(folder, hidden_size=32, num_hidden_layers=2, initializer_range=0.2)
    return resolve_model(f"path:{folder}")


@pytest.fixture
def tiny(tiny_source: ModelSource) -> LocalModel:
    """A fresh copy for every test: training changes it."""
    return LocalModel.load(tiny_source, dtype="float32")


@pytest.fixture
def adapter(tiny: LocalModel, tmp_path: Path) -> Path:
    """An adapter trained for a few large steps, so that it changes something."""
    split = load_split("starter:train", size=16)
    config = Experiment.model_validate(
        {"training": {"epochs": 2, "batch_size": 4, "learning_rate": 5e-2}}
    )
    adapted = lora.LoraModel(tiny, config.training.lora, seed=0)
    fine_tune(adapted, config, split.questions, split.description, tmp_path / "run", NoProgress())
    return tmp_path / "run" / "adapter"


@pytest.fixture(scope="session")
def starter() -> tuple[Question, ...]:
    return tuple(load_split("starter:train").questions)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real MedMCQA files; they are not part of the project."""
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("MEDTUNE_TEST_DATA", default))
    if not (folder / "medmcqa_validation.parquet").is_file():
        pytest.skip(f"real MedMCQA files are not in {folder}; set MEDTUNE_TEST_DATA")
    return folder
