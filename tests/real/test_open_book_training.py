"""Open-book training: passages of the train split before every question, leave-one-out."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medtune.commands import train
from medtune.commands.evaluate import evaluate
from medtune.core.errors import AdapterError, Interrupted, RetrievalError
from medtune.core.experiment import Experiment, RetrievalConfig
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import PromptStyle, prompt_fingerprint
from medtune.core.records import EvaluationRecord, TrainingRecord
from medtune.data.load import load_split
from medtune.data.snapshot import prepare_snapshot
from medtune.evaluation.exam import Exam
from medtune.evaluation.run_exam import evaluate_model
from medtune.evaluation.score import score_options
from medtune.models.open_model import open_model
from medtune.models.sources import ModelSource
from medtune.models.weights_card import read_card, resolve_prompt_defaults
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import FolderIndex
from medtune.workflows import finetune
from medtune.workflows.finetune import finetune_cached, resolve_trainable, tuned_model
from medtune.workflows.training_evidence import PASSAGES_FILE, open_evidence


class Said(NoProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log_message(self, text: str) -> None:
        self.lines.append(text)


def experiment(source: str, retrieval: dict[str, Any], **more: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "model": {"source": source, "dtype": "float32"},
            "data": {"train_size": 24, "validation_size": 4},
            "training": {"epochs": 2, "batch_size": 8, "save_every": 2, "learning_rate": 1e-2},
            "evaluation": {"methods": ["cloze", "letter"]},
            "retrieval": {"words": 20, **retrieval},
            **more,
        }
    )


def tune(config: Experiment, folder: Path, progress: Progress | None = None) -> TrainingRecord:
    snapshot = prepare_snapshot(config.data, config.seed, folder.parent / "data", NoProgress())
    source = resolve_trainable(config, NoProgress())
    evidence = open_evidence(config.retrieval, snapshot, folder / "index", NoProgress())
    said = progress or NoProgress()
    return finetune_cached(config, source, snapshot, folder, said, evidence)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("kind", ["per-option", "shared"])
def test_a_resumed_open_book_training_ends_in_the_same_bits(
    tiny_source: ModelSource, tmp_path: Path, kind: str
) -> None:
    config = experiment(tiny_source.name, {"kind": kind})
    whole = tune(config, tmp_path / "whole")

    class CtrlC(NoProgress):
        steps = 0

        def task(
            self, name: str, total: int | None, done: int = 0
        ) -> AbstractContextManager[CtrlC]:
            self.training = name == "train"
            return nullcontext(self)

        def advance(self, amount: int = 1, **figures: str) -> None:
            if self.training:
                self.steps += amount
                if self.steps == 3:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(0.1)

    with pytest.raises(Interrupted, match="after step 3 of 6"):
        tune(config, tmp_path / "cut", CtrlC())
    passages, said = tmp_path / "cut" / PASSAGES_FILE, Said()
    assert passages.read_bytes() == (tmp_path / "whole" / PASSAGES_FILE).read_bytes()
    record = tune(config, tmp_path / "cut", said)
    assert f"{passages}: still valid" in said.lines
    assert record.resumed_from == 3
    assert record.losses == whole.losses
    a, b = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_training_is_done_again_for_other_passages_only(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    config = experiment(tiny_source.name, {"kind": "per-option"})
    folder = tmp_path / "run"
    first = tune(config, folder)
    assert tune(config, folder) == first
    # The same index elsewhere is the same experiment.
    shutil.copytree(folder / "index", tmp_path / "moved")
    moved = experiment(tiny_source.name, {"kind": "per-option", "index": str(tmp_path / "moved")})
    assert tune(moved, folder) == first
    inputs = {first.inputs}
    for other in (
        {"kind": "per-option", "passages": 2},
        {"kind": "per-option", "words": 21},
        {"kind": "shared"},
        {"kind": "none"},
    ):
        inputs.add(tune(experiment(tiny_source.name, other), folder).inputs)
    # Some passages are kept from the prompts.
    snapshot = prepare_snapshot(config.data, config.seed, tmp_path / "data", NoProgress())
    evidence = open_evidence(config.retrieval, snapshot, folder / "index", NoProgress())
    assert evidence is not None
    fewer = EvidenceFinder(evidence.index, evidence.settings, frozenset([0, 1]))
    source = resolve_trainable(config, NoProgress())
    inputs.add(finetune_cached(config, source, snapshot, folder, NoProgress(), fewer).inputs)
    assert len(inputs) == 6


def test_an_adapter_names_its_passages_and_refuses_a_book_that_was_closed_unawares(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    config = experiment(tiny_source.name, {"kind": "per-option"})
    folder = tmp_path / "run"
    record = tune(config, folder)
    index = FolderIndex.open(folder / "index")
    card = read_card(folder / "adapter")
    assert card.retrieval == config.retrieval
    assert card.index_hash == index.manifest.hash
    assert card.prompt_hash == record.prompt_hash
    assert "per-option evidence, 1 passage of 20 words" in (
        (folder / "adapter" / "README.md").read_text()
    )
    name = f"adapter:{folder / 'adapter'}"
    asked = resolve_prompt_defaults(name)
    assert (asked.retrieval, asked.index_hash) == (card.retrieval, card.index_hash)

    def opened(retrieval: RetrievalConfig | None, style: PromptStyle | None = asked.style) -> Any:
        return open_model(name, style=style, dtype="float32", retrieval=retrieval)

    with pytest.raises(AdapterError, match="trained open book, with per-option evidence") as caught:
        opened(None)
    assert index.manifest.hash[:12] in caught.value.found
    assert "--retrieval none" in str(caught.value)
    # Passages that are not those of the training are refused as well.
    for other in (RetrievalConfig(kind="shared"), RetrievalConfig(kind="per-option", words=21)):
        with pytest.raises(AdapterError, match="trained open book"):
            opened(other)
    # On purpose it may be closed; the rest of the prompt is checked all the same.
    opened(RetrievalConfig(kind="none"))
    with pytest.raises(AdapterError, match="trained open book"):
        opened(RetrievalConfig(kind="none"), PromptStyle(system="Another."))
    model = opened(asked.retrieval)
    finder = EvidenceFinder(index, asked.retrieval)
    questions = load_split("starter:transfer", size=3).questions
    for method in config.evaluation.methods:
        for probabilities, mass in score_options(model, asked.style, method, questions, finder):
            assert sum(probabilities) == pytest.approx(1)
            assert mass is None


def test_an_evaluation_shows_the_passages_that_were_trained(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    config = experiment(tiny_source.name, {"kind": "per-option"})
    tune(config, tmp_path / "run")
    name, index = f"adapter:{tmp_path / 'run' / 'adapter'}", tmp_path / "run" / "index"

    def evaluated(folder: str, **options: Any) -> EvaluationRecord:
        return evaluate(
            name, "starter:transfer", out=tmp_path / folder, progress=NoProgress(),
            method="cloze", limit=4, dtype="float32", **options,
        ).record  # fmt: skip

    book = evaluated("open", search=index).open_book
    assert book is not None
    assert (book.kind, book.passages, book.words) == ("per-option", 1, 20)
    with pytest.raises(RetrievalError, match="without an index of passages"):
        evaluated("unsaid")
    closed = evaluated("closed", retrieval=RetrievalConfig(kind="none"))
    assert closed.open_book is None
    assert closed.prompt_hash != read_card(tmp_path / "run" / "adapter").prompt_hash


def test_an_adapter_of_a_closed_book_is_what_it_was(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    config = experiment(tiny_source.name, {"kind": "none"})
    record = tune(config, tmp_path / "run")
    assert not (tmp_path / "run" / PASSAGES_FILE).exists()
    card = read_card(tmp_path / "run" / "adapter")
    assert (card.retrieval, card.index_hash) == (None, None)
    name = f"adapter:{tmp_path / 'run' / 'adapter'}"
    model = open_model(name, style=card.style, dtype="float32")
    assert prompt_fingerprint(card.style, model.render) == record.prompt_hash
    assert not resolve_prompt_defaults(name).retrieval.is_open_book
    with pytest.raises(AdapterError, match="was trained with the prompt"):
        open_model(name, style=card.style, retrieval=RetrievalConfig(kind="shared"))


def test_a_whole_model_refuses_a_book_that_was_closed_unawares(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    training = {"method": "full", "learning_rate": 1e-4, "steps": 1, "batch_size": 4}
    config = experiment(tiny_source.name, {"kind": "shared"}, training=training)
    tune(config, tmp_path / "run")
    name = f"path:{tmp_path / 'run' / 'model'}"
    with pytest.raises(AdapterError, match="trained open book, with shared evidence"):
        open_model(name, style=config.prompt, dtype="float32")
    open_model(name, style=config.prompt, dtype="float32", retrieval=config.retrieval)
    open_model(name, style=config.prompt, dtype="float32", retrieval=RetrievalConfig(kind="none"))


def test_validation_reads_passages_without_leaks(
    tiny_source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exams: list[Exam] = []

    def watched(model: Any, exam: Exam, *rest: Any) -> Any:
        exams.append(exam)
        return evaluate_model(model, exam, *rest)

    monkeypatch.setattr(finetune, "evaluate_model", watched)
    config = experiment(tiny_source.name, {"kind": "per-option"})
    snapshot = prepare_snapshot(config.data, config.seed, tmp_path / "data", NoProgress())
    assert snapshot.validation is not None
    # An index that has the validation questions as well, as one of other data may.
    both = [*snapshot.train.questions, *snapshot.validation.questions]
    evidence = make_evidence(both, tmp_path / "both", config.retrieval)
    source = resolve_trainable(config, NoProgress())
    record = finetune_cached(config, source, snapshot, tmp_path / "run", NoProgress(), evidence)
    assert len(exams) == len(record.validations) == 2
    found = exams[0].evidence
    assert found is not None
    assert found.settings == config.retrieval
    assert found.excluded >= set(range(len(snapshot.train.questions), len(both)))


def make_evidence(questions: Sequence[Any], folder: Path, settings: RetrievalConfig) -> Any:
    from medtune.retrieval.index import build_index
    from medtune.retrieval.passages import passages_from_questions

    passages = passages_from_questions(questions, "starter:train", None)
    return EvidenceFinder(build_index(passages, [], folder, "english", NoProgress()), settings)


def test_several_seeds_read_one_index(tiny_source: ModelSource, tmp_path: Path) -> None:
    config = experiment(tiny_source.name, {"kind": "shared"}, seeds=[1, 2])
    train.finetune(experiment=config, out=tmp_path / "run", progress=NoProgress())
    assert (tmp_path / "run" / "index" / "manifest.json").is_file()
    found = [tmp_path / "run" / "seeds" / seed for seed in ("1", "2")]
    assert {path.name for path in found[0].iterdir()} == {
        "adapter", "checkpoints", "passages.arrow", "training.json"
    }  # fmt: skip
    cards = [read_card(folder / "adapter") for folder in found]
    assert cards[0].index_hash == cards[1].index_hash
    assert cards[0].prompt_hash == cards[1].prompt_hash


def test_an_index_that_does_not_exist_is_named_before_any_work(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    config = experiment(tiny_source.name, {"kind": "shared", "index": str(tmp_path / "nowhere")})
    with pytest.raises(RetrievalError, match="nowhere holds no passage index") as caught:
        train.finetune(experiment=config, out=tmp_path / "run", progress=NoProgress())
    assert "medtune index build" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_embedded_model_learns_to_read(source: ModelSource, tmp_path: Path) -> None:
    config = experiment(
        source.name,
        {"kind": "per-option"},
        data={"train_size": 32},
        training={"steps": 4, "batch_size": 8, "learning_rate": 2e-3, "warmup_steps": 1},
    )
    record = tune(config, tmp_path / "run")
    assert record.steps == 4
    assert record.losses[-1].loss < record.losses[0].loss
    assert "Reference: " in record.audit.sample
    tuned_model(config, source, tmp_path / "run").load()
