"""The same work on a GPU as on the CPU: scores, answers, steps, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medtune.core.experiment import EvaluationConfig, Experiment
from medtune.core.predictions_io import Evaluation
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Method, Question, TrainingRecord
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.adapters import lora
from medtune.models.adapters.lora import LoraModel
from medtune.models.local import local_model
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource
from medtune.training.finetune import fine_tune

DATA = load_split("starter:train", size=48)


@pytest.fixture(scope="module")
def on_cpu(source: ModelSource) -> Iterator[LocalModel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_model, "choose_device", lambda: torch.device("cpu"))
        yield LocalModel.load(source, "float32")


def examined(
    model: LocalModel, questions: tuple[Question, ...], method: Method, **settings: Any
) -> Evaluation:
    config = EvaluationConfig(options_only=0, **settings)
    exam = Exam.from_config(
        config, method, questions, DATA.description, PromptStyle(), "text", questions
    )
    return evaluate_model(model, exam, "gpu", STRICT_PARSER, NoProgress())


@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_scores_in_fp32_are_those_of_the_cpu(
    source: ModelSource, on_cpu: LocalModel, starter: tuple[Question, ...], method: Method
) -> None:
    model = LocalModel.load(source, "float32")
    assert model.device.type == "cuda"
    _, ours = examined(model, starter[:64], method)
    _, theirs = examined(on_cpu, starter[:64], method)
    for a, b in zip(ours, theirs, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-3)


@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_bf16_gives_nearly_every_answer_of_fp32(
    source: ModelSource, on_cpu: LocalModel, starter: tuple[Question, ...], method: Method
) -> None:
    model = LocalModel.load(source)
    assert model.describe().dtype == "bfloat16"
    _, ours = examined(model, starter[:200], method)
    _, theirs = examined(on_cpu, starter[:200], method)
    same = sum(a.chosen == b.chosen for a, b in zip(ours, theirs, strict=True))
    assert same >= 0.93 * len(ours)


def test_free_answers_in_fp32_are_those_of_the_cpu(
    source: ModelSource, on_cpu: LocalModel, starter: tuple[Question, ...]
) -> None:
    _, ours = examined(
        LocalModel.load(source, "float32"), starter[:8], "generate", max_new_tokens=12
    )
    _, theirs = examined(on_cpu, starter[:8], "generate", max_new_tokens=12)
    # A tie between two tokens may fall to either side; eight answers hold no two of them.
    assert sum(a.text == b.text for a, b in zip(ours, theirs, strict=True)) >= 7


def tuned(model: LocalModel, folder: Path, **training: Any) -> TrainingRecord:
    settings = {"epochs": 2, "batch_size": 8, "save_every": 3, **training}
    config = Experiment.model_validate({"training": settings})
    adapted = LoraModel(model, config.training.lora, config.seed, config.training.recompute)
    return fine_tune(adapted, config, DATA.questions, DATA.description, folder, NoProgress())


def losses(record: TrainingRecord) -> list[float]:
    return [point.loss for point in record.losses]


def test_the_steps_are_those_of_the_cpu(tiny_source: ModelSource, tmp_path: Path) -> None:
    ours = tuned(LocalModel.load(tiny_source, "float32"), tmp_path / "gpu")
    assert (ours.base.device or "").startswith("cuda")
    assert ours.peak_memory_bytes < 4 << 30
    assert ours.provenance.gpu == torch.cuda.get_device_name()
    # Which device there is, accelerate finds out once: the CPU's run is a process of its own.
    script = (
        "import sys; from pathlib import Path\n"
        "from medtune.models.sources import resolve_model\n"
        "from tests.gpu.test_cuda import LocalModel, losses, tuned\n"
        "model = LocalModel.load(resolve_model(sys.argv[1]), 'float32')\n"
        "print(*losses(tuned(model, Path(sys.argv[2]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tiny_source.name, str(tmp_path / "cpu")],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = [float(word) for word in done.stdout.split()]
    assert losses(ours) == pytest.approx(theirs, abs=2e-3)


@pytest.mark.parametrize(
    "training",
    [{}, {"recompute": True}, {"token_budget": 512}, {"lora": {"dora": True}}],
    ids=["plain", "recompute", "small passes", "dora"],
)
def test_bf16_training_learns_and_its_adapter_loads(
    source: ModelSource, tmp_path: Path, training: dict[str, Any]
) -> None:
    record = tuned(LocalModel.load(source), tmp_path, **training)
    found = losses(record)
    assert sum(found[-3:]) < 0.7 * sum(found[:3])
    model = lora.load_adapter(LocalModel.load(source), tmp_path / "adapter", None)
    after, _ = examined(model, tuple(DATA.questions), "cloze")
    before, _ = examined(LocalModel.load(source), tuple(DATA.questions), "cloze")
    assert after.accuracy.value > before.accuracy.value


def test_a_base_of_four_bits_takes_less_memory_and_learns(
    source: ModelSource, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    torch.cuda.reset_peak_memory_stats()
    record = tuned(LocalModel.load(source, "nf4"), tmp_path)
    found = losses(record)
    assert sum(found[-3:]) < 0.7 * sum(found[:3])
    assert record.base.dtype == "nf4"


def test_a_killed_run_goes_on_to_nearly_the_same_losses(
    source: ModelSource, tmp_path: Path
) -> None:
    whole = tuned(LocalModel.load(source), tmp_path)
    (tmp_path / "training.json").unlink()
    again = tuned(LocalModel.load(source), tmp_path)
    assert again.resumed_from == 9
    # Atomic additions on a GPU come in any order: the same numbers, but for rounding.
    assert losses(again) == pytest.approx(losses(whole), rel=0.05)


def test_out_of_memory_halves_the_passes(source: ModelSource, tmp_path: Path) -> None:
    model = LocalModel.load(source)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    used = total - free
    try:
        torch.cuda.set_per_process_memory_fraction(min(1.0, (used + (2 << 30)) / total))
        record = tuned(model, tmp_path, batch_size=48, token_budget=1 << 20, epochs=1)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert record.steps == 1
