"""What lies in an adapter's folder beside its weights, and what is known of it elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig
from tests.conftest import CommandLine

from medtune.commands.run import run
from medtune.core.experiment import Experiment, LoraSettings
from medtune.core.progress import NoProgress
from medtune.data.load import load_split, read_manifest
from medtune.models.adapters import lora
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource
from medtune.models.weights_card import CARD_FILE, TRAINED_ON_FILE, read_card
from medtune.workflows.training_overlap import count_training_overlap

TRAINED = 24


@pytest.fixture(scope="module")
def ran(tiny_source: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a tiny model."""
    folder = tmp_path_factory.mktemp("ran")
    settings = {
        "model": {"source": tiny_source.name, "dtype": "float32"},
        "data": {"train_size": TRAINED, "evaluate": ["starter:recall"], "evaluate_size": 8},
        "training": {"epochs": 1, "batch_size": 8},
        "evaluation": {"methods": ["letter"], "options_only": 0},
    }
    record = run(Experiment.model_validate(settings), folder, NoProgress())
    base, tuned = record.evaluations
    assert (base.trained_on, tuned.trained_on) == (None, 0)
    return folder


@pytest.fixture
def moved(ran: Path, tmp_path: Path) -> Path:
    """The adapter alone, somewhere else."""
    shutil.copytree(ran / "adapter", tmp_path / "elsewhere")
    return tmp_path / "elsewhere"


def own_file(path: Path) -> str:
    """Write the train questions as anybody's own file: other ids, another order of the options."""
    rows = []
    for number, question in enumerate(load_split("starter:train").questions):
        asked = question.permute_options((3, 1, 0, 2))
        options = dict(zip(("opa", "opb", "opc", "opd"), asked.options, strict=True))
        stem = asked.stem.upper()
        rows.append({"id": f"own-{number}", "question": stem, **options, "cop": asked.answer})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"file:{path}"


def test_questions_it_was_trained_on_are_counted_and_said_whatever_the_source(
    medtune: CommandLine, moved: Path, tmp_path: Path
) -> None:
    fast = ("--options-only", 0, "--dtype", "float32")
    for data, count in (
        ("starter:train", TRAINED),
        (own_file(tmp_path / "own.jsonl"), TRAINED),
        ("starter:recall", 0),
    ):
        found = medtune.record("evaluate", f"adapter:{moved}", data, *fast)
        assert found["trained_on"] == count, data
        code, out, _ = medtune("evaluate", f"adapter:{moved}", data, *fast)
        told = f"the model was trained on {TRAINED} of these 320 questions" in " ".join(out.split())
        assert (code, told) == (0, count > 0)
        folder = Path(found["written"]["record"]).parent
        medtune.record("analyze", folder)
        page = (folder / "analysis.html").read_text()
        assert (f"was trained on {TRAINED} of these 320 questions" in page) == (count > 0)


def test_of_a_base_model_it_is_unknown(tiny_source: ModelSource) -> None:
    questions = load_split("starter:recall", size=3).questions
    assert count_training_overlap(tiny_source.name, questions) is None
    assert count_training_overlap("fake:oracle", questions) is None


def test_an_older_adapter_is_read_by_its_runs_snapshot_or_unknown(
    ran: Path, tmp_path: Path
) -> None:
    old = tmp_path / "run"
    for name in ("adapter", "data"):
        shutil.copytree(ran / name, old / name)
    path = old / "adapter" / CARD_FILE
    fields = json.loads(path.read_text())
    for name in ("trained_on", "data_source", "data_n"):
        del fields[name]
    path.write_text(json.dumps(fields))
    (old / "adapter" / TRAINED_ON_FILE).unlink()
    questions = load_split("starter:train").questions
    assert count_training_overlap(f"adapter:{old / 'adapter'}", questions) == TRAINED
    # Another snapshot in that place says nothing of it.
    shutil.copytree(old / "adapter", tmp_path / "alone" / "adapter")
    assert count_training_overlap(f"adapter:{tmp_path / 'alone' / 'adapter'}", questions) is None
    path.write_text(json.dumps({**fields, "data_hash": "0" * 64}))
    assert count_training_overlap(f"adapter:{old / 'adapter'}", questions) is None


@pytest.mark.parametrize("fault", ["missing", "changed"])
def test_hashes_that_were_tampered_with_are_an_error(
    medtune: CommandLine, moved: Path, fault: str
) -> None:
    path = moved / TRAINED_ON_FILE
    path.write_text("") if fault == "changed" else path.unlink()
    code, out, err = medtune("evaluate", f"adapter:{moved}", "starter:recall", "--limit", 2)
    assert (code, out) == (2, "")
    assert f"{path.name} {'is missing' if fault == 'missing' else 'was changed'}" in err
    assert "to do: " in err


def test_the_hashes_are_those_of_the_snapshot(ran: Path) -> None:
    card = read_card(ran / "adapter")
    train = read_manifest(ran / "data").train_split.description
    assert (card.data_source, card.data_n, card.data_hash) == (train.source, TRAINED, train.hash)
    assert len((ran / "adapter" / TRAINED_ON_FILE).read_text().split()) == TRAINED


def test_a_packed_model_takes_them_along(medtune: CommandLine, moved: Path) -> None:
    medtune(
        *("compress", f"adapter:{moved}", "starter:recall", "--limit", 4),
        *("--scheme", "int8", "--out", "packed"),
    )
    name = "path:packed/int8"
    assert count_training_overlap(name, load_split("starter:train").questions) == TRAINED
    assert count_training_overlap(name, load_split("starter:recall").questions) == 0


def test_the_folder_names_no_place_of_this_machine(ran: Path, tiny_source: ModelSource) -> None:
    adapter = ran / "adapter"
    assert tiny_source.folder is not None
    config = PeftConfig.from_pretrained(str(adapter))
    assert config.base_model_name_or_path == tiny_source.folder.name
    text = (adapter / "README.md").read_text()
    assert str(tiny_source.folder.parent) not in text
    assert "[More Information Needed]" not in text
    assert f"on {TRAINED} multiple-choice questions of `starter:train`" in text
    assert "Not medical advice" in text
    assert len(text.splitlines()) < 50


def test_an_adapter_of_the_embedded_model_names_the_hub(
    source: ModelSource, tmp_path: Path
) -> None:
    model = LocalModel.load(source, "bfloat16")
    adapted = lora.LoraModel(model, LoraSettings(rank=1), seed=0)
    weights = {name: p.detach().to(torch.float32) for name, p in adapted.parameters.items()}
    card: dict[str, Any] = {
        "base": source.name, "base_fingerprint": source.fingerprint, "prompt_hash": "0",
        "style": {}, "target": "letter", "data_hash": "1" * 64, "data_source": "file:x.csv",
        "data_n": 2, "config_hash": None, "medtune": "0",
    }  # fmt: skip
    written = adapted.save(weights, tmp_path / "adapter", card, ("a" * 16, "b" * 16))
    config = PeftConfig.from_pretrained(str(tmp_path / "adapter"))
    assert isinstance(config, LoraConfig)
    assert config.base_model_name_or_path == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert config.revision is None
    assert read_card(tmp_path / "adapter") == written
    for file in ("README.md", "adapter_config.json", CARD_FILE):
        assert str(source.folder) not in (tmp_path / "adapter" / file).read_text()
    text = (tmp_path / "adapter" / "README.md").read_text()
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in text
    assert "rounded to Q4_1" in text
    assert 'from_pretrained("HuggingFaceTB/SmolLM2-135M-Instruct")' in text


def test_a_hub_base_is_named_with_its_commit(tmp_path: Path, tiny_source: ModelSource) -> None:
    model = LocalModel.load(tiny_source, "float32")
    hub = ModelSource("hub:org/model@main", "hub", tiny_source.folder, "a" * 40)
    model.source = hub
    adapted = lora.LoraModel(model, LoraSettings(rank=1), seed=0)
    weights = {name: p.detach() for name, p in adapted.parameters.items()}
    card: dict[str, Any] = {
        "base": hub.name, "base_fingerprint": hub.fingerprint, "prompt_hash": "0", "style": {},
        "target": "text", "data_hash": "1" * 64, "config_hash": None, "medtune": "0",
    }  # fmt: skip
    adapted.save(weights, tmp_path / "adapter", card)
    config = PeftConfig.from_pretrained(str(tmp_path / "adapter"))
    assert (config.base_model_name_or_path, config.revision) == ("org/model", "a" * 40)
    assert "base_model: org/model" in (tmp_path / "adapter" / "README.md").read_text()
