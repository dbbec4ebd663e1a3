from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import LoggerType
from safetensors.torch import load_file
from torch import nn
from transformers import AutoTokenizer, DataCollatorForLanguageModeling

from medtune.core.errors import (
    CheckFailed,
    ConfigError,
    DataError,
    EmptySplitError,
    FolderError,
    Interrupted,
    ModelError,
)
from medtune.core.experiment import Experiment, LoraSettings
from medtune.core.intervals import wilson_interval
from medtune.core.progress import NoProgress
from medtune.core.prompt import form_for_target
from medtune.core.protocols import Example
from medtune.core.records import Question, TrainingRecord
from medtune.data.load import load_split
from medtune.models.adapters import lora
from medtune.models.adapters.lora import LoraModel
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource
from medtune.models.weights_card import read_card
from medtune.training import trackers
from medtune.training.collate import collate
from medtune.training.finetune import fine_tune
from medtune.training.finished import find_finished_training, hash_training_inputs
from medtune.training.trackers import check_trackers
from medtune.training.trainable import Validation

DATA = load_split("starter:train", size=24)


def experiment(**training: object) -> Experiment:
    settings = {"epochs": 2, "batch_size": 8, "save_every": 2, "learning_rate": 1e-2, **training}
    return Experiment.model_validate({"training": settings})


def tuned(
    model: LocalModel,
    folder: Path,
    config: Experiment | None = None,
    questions: Sequence[Question] = DATA.questions,
) -> TrainingRecord:
    config = config or experiment()
    adapted = LoraModel(model, config.training.lora, config.seed, config.training.recompute)
    return fine_tune(adapted, config, questions, DATA.description, folder, NoProgress())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*/*model.safetensors")  # of an adapter, or of a whole model
    return load_file(file)


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_loss_falls_and_the_record_adds_up(tiny: LocalModel, tmp_path: Path) -> None:
    record = tuned(tiny, tmp_path, experiment(epochs=6))
    losses = [point.loss for point in record.losses]
    assert record.steps == len(losses) == 18
    assert record.examples == 24 * 6
    assert losses[0] > 10.8  # ln(49152): an untrained model knows nothing
    assert losses[-1] < 0.8 * losses[0]
    assert record.audit.prompt_supervised == 0
    assert record.audit.ends_supervised == record.audit.examples == 24
    assert 1 < record.padding_efficiency < 2  # what examples share is computed once
    assert record.tokens == 6 * record.audit.tokens
    assert find_finished_training(tmp_path, "adapter", record.inputs) == record
    assert find_finished_training(tmp_path, "adapter", "other inputs") is None


def test_the_same_seed_gives_the_same_bits_and_another_does_not(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        config = experiment().model_copy(update={"seed": seed})
        tuned(LocalModel.load(tiny_source, "float32"), tmp_path / name, config)
    assert same_bits(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same_bits(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_one_step_is_the_step_of_plain_pytorch(tiny_source: ModelSource, tmp_path: Path) -> None:
    config = experiment(epochs=1, batch_size=24, warmup_steps=0, permute_options=False)
    tuned(LocalModel.load(tiny_source, "float32"), tmp_path, config)

    # The same by hand: padded labels, the model's own loss, torch's AdamW.
    adapted = LoraModel(LocalModel.load(tiny_source, "float32"), config.training.lora, config.seed)
    examples = encoded(adapted, DATA.questions)
    width = max(len(e.tokens) for e in examples)
    ids = torch.zeros(len(examples), width, dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, e in enumerate(examples):
        ids[row, : len(e.tokens)] = torch.tensor(e.tokens)
        labels[row, e.prompt : len(e.tokens)] = torch.tensor(e.tokens[e.prompt :])
    network = adapted.head.get_submodule("network")
    logits = network(ids).logits[:, :-1]
    loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
    torch.autograd.backward(loss)
    parameters = adapted.parameters
    nn.utils.clip_grad_norm_(list(parameters.values()), config.training.clip_norm)
    torch.optim.AdamW(
        list(parameters.values()), lr=config.training.learning_rate, weight_decay=0.0
    ).step()

    saved = weights(tmp_path)
    for name, parameter in parameters.items():
        stored = saved[name.replace(".default", "")]
        assert torch.allclose(stored, parameter, atol=2e-5), name


def losses_of(adapted: LoraModel, examples: Sequence[Example]) -> torch.Tensor:
    """Return every example's loss, `[example]`, all read in one packed batch."""
    batch = collate(examples, torch.device("cpu"))
    logits = adapted.head(batch.tokens, batch.wanted, batch.lengths, batch.prefix)
    each = nn.functional.cross_entropy(logits.float(), batch.targets, reduction="none")
    answers = [len(e.tokens) - e.prompt for e in examples]
    return torch.stack([part.sum() for part in torch.split(each, answers)])


def encoded(adapted: LoraModel, questions: Sequence[Question]) -> list[Example]:
    style = Experiment().prompt
    return [
        adapted.encode(style.build_messages(q, "text"), style.render_answer(q, q.answer, "text"))
        for q in questions
        if q.answer is not None
    ]


def gradients(adapted: LoraModel, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    torch.autograd.backward(losses_of(adapted, examples).sum())
    found = {name: p.grad for name, p in adapted.parameters.items() if p.grad is not None}
    for parameter in adapted.parameters.values():
        parameter.grad = None
    return found


@pytest.fixture
def adapted(tiny: LocalModel) -> LoraModel:
    """Layers that already do something: peft's start at zero."""
    made = LoraModel(tiny, Experiment().training.lora, 0)
    torch.manual_seed(0)
    for parameter in made.parameters.values():
        nn.init.normal_(parameter, std=0.05)
    return made


def test_packed_and_padded_examples_have_the_same_losses_and_gradients(adapted: LoraModel) -> None:
    examples = encoded(adapted, DATA.questions)
    assert adapted.packs
    packed, packed_gradients = losses_of(adapted, examples), gradients(adapted, examples)
    adapted.head.packs = False  # type: ignore[assignment]
    alone = torch.cat([losses_of(adapted, [example]) for example in examples])
    padded, padded_gradients = losses_of(adapted, examples), gradients(adapted, examples)
    assert torch.allclose(packed, alone, atol=1e-5)
    assert torch.allclose(padded, alone, atol=1e-5)
    assert packed_gradients.keys() == padded_gradients.keys()
    for name, found in packed_gradients.items():
        assert torch.allclose(found, padded_gradients[name], atol=1e-5), name


def test_lora_products_are_pefts_own_layers(adapted: LoraModel) -> None:
    from peft.tuners.lora import Linear

    examples = encoded(adapted, DATA.questions[:4])
    ours, our_gradients = losses_of(adapted, examples), gradients(adapted, examples)
    layers = [m for m in adapted.head.modules() if type(m) is Linear]
    assert len(layers) == 7 * 2
    for layer in layers:
        del layer.forward
    assert torch.allclose(ours, losses_of(adapted, examples), atol=1e-5)
    for name, theirs in gradients(adapted, examples).items():
        assert torch.allclose(our_gradients[name], theirs, atol=1e-5), name


@pytest.mark.parametrize(
    "training",
    [
        {"target": "letter"},
        {"target": "letter", "objective": "choice"},
        {"objective": "choice", "label_smoothing": 0.1, "answer_share": 0.2},
        {"target": "letter+text"},
        {"target": "text+explanation", "max_tokens": 90},
        {"objective": "all"},
        {"weigh_by": "subject"},
        {"recompute": True},
        {"lora": {"rslora": True}},
        {"lora": {"dora": True}},
        {"lora": {"dropout": 0.1}},
        {"lora": {"targets": ["all-linear"]}},
    ],
    ids=lambda training: "-".join(f"{key}={value}" for key, value in training.items()),
)
def test_every_way_to_train_learns(
    tiny_source: ModelSource, tmp_path: Path, training: dict[str, Any]
) -> None:
    config = experiment(epochs=6, **training)
    record = tuned(LocalModel.load(tiny_source, "float32"), tmp_path, config)
    losses = [point.loss for point in record.losses]
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    assert record.target == config.training.target
    assert record.objective == config.training.objective
    # What was saved is what peft reads, and what an examination asks of it.
    loaded = lora.load_adapter(LocalModel.load(tiny_source, "float32"), tmp_path / "adapter", None)
    assert read_card(tmp_path / "adapter").target == form_for_target(config.training.target)
    assert loaded.describe().adapter == record.weights_hash


def watched(folder: Path, model: LocalModel, rights: list[int], **training: Any) -> TrainingRecord:
    """Train while a made-up examination says how many of ten questions are right."""
    config = Experiment.model_validate(
        {"data": {"validation_size": 10}, "training": {"batch_size": 8, "epochs": 4, **training}}
    )
    told = iter(rights)
    watch = Validation(DATA.description, lambda: wilson_interval(next(told), 10))
    adapted = LoraModel(model, config.training.lora, config.seed)
    return fine_tune(adapted, config, DATA.questions, DATA.description, folder, NoProgress(), watch)


def test_the_best_of_a_run_is_what_a_run_that_ended_there_gives(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    def model() -> LocalModel:
        return LocalModel.load(tiny_source, "float32")

    steady = {"schedule": "constant", "save_every": 99}  # else the rate knows the last step
    best = watched(tmp_path / "best", model(), [2, 5, 4, 5], keep="best", **steady)
    short = watched(tmp_path / "short", model(), [2, 5], epochs=2, **steady)
    assert (best.kept_step, best.steps) == (6, 12)
    assert [point.step for point in best.validations] == [3, 6, 9, 12]
    assert [point.accuracy.value for point in best.validations] == [0.2, 0.5, 0.4, 0.5]
    assert short.kept_step is None
    assert same_bits(weights(tmp_path / "best"), weights(tmp_path / "short"))


def test_a_run_that_gets_no_better_stops_early(tiny: LocalModel, tmp_path: Path) -> None:
    record = watched(tmp_path, tiny, [3, 2, 1], patience=1, validate_every=2)
    assert record.steps == 4
    assert len(record.losses) == 4
    assert record.examples == 4 * 8


def test_interpolation_saves_a_share_of_the_update(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    for share in (1.0, 0.25):
        model = LocalModel.load(tiny_source, "float32")
        tuned(model, tmp_path / str(share), experiment(interpolate=share))
    whole, quarter = weights(tmp_path / "1.0"), weights(tmp_path / "0.25")
    for name, weight in whole.items():
        wanted = 0.25 * weight if "lora_B" in name else weight
        assert torch.equal(quarter[name], wanted)


def test_recomputed_activations_change_nothing_but_memory(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    for recompute in (False, True):
        model = LocalModel.load(tiny_source, "float32")
        tuned(model, tmp_path / str(recompute), experiment(recompute=recompute))
    assert same_bits(weights(tmp_path / "False"), weights(tmp_path / "True"))


def test_rank_stabilized_layers_are_scaled_by_the_root_of_the_rank(tiny: LocalModel) -> None:
    from peft.tuners.lora import Linear

    adapted = LoraModel(tiny, LoraSettings(rank=16, alpha=32, rslora=True), 0)
    scales = {m.scaling["default"] for m in adapted.head.modules() if isinstance(m, Linear)}
    assert scales == {8.0}


@pytest.mark.parametrize("objective", ["answer", "choice"])
def test_cutting_a_step_into_smaller_batches_changes_nothing(
    tiny_source: ModelSource, tmp_path: Path, objective: str
) -> None:
    losses = []
    for budget in (100, 4096):
        record = tuned(
            LocalModel.load(tiny_source, "float32"),
            tmp_path / str(budget),
            experiment(token_budget=budget, objective=objective),
        )
        losses.append([point.loss for point in record.losses])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_bfloat16_training_keeps_fp32_masters(tiny_source: ModelSource, tmp_path: Path) -> None:
    record = tuned(LocalModel.load(tiny_source, "bfloat16"), tmp_path)
    assert record.base.dtype == "bfloat16"
    saved = weights(tmp_path)
    assert all(tensor.dtype == torch.float32 for tensor in saved.values())
    # Masters hold what bf16 cannot: rounding them changes them.
    assert any(not torch.equal(t, t.bfloat16().float()) for t in saved.values())


def test_ctrl_c_writes_a_checkpoint_and_the_resumed_run_ends_in_the_same_bits(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    tuned(LocalModel.load(tiny_source, "float32"), tmp_path / "whole")

    class CtrlC(NoProgress):
        steps = 0

        def advance(self, amount: int = 1, **figures: str) -> None:
            CtrlC.steps += amount
            time.sleep(0.5)
            if CtrlC.steps == 3:
                os.kill(os.getpid(), signal.SIGINT)

    config = experiment()
    adapted = LoraModel(LocalModel.load(tiny_source, "float32"), config.training.lora, config.seed)
    cut = tmp_path / "cut"
    with pytest.raises(Interrupted, match="after step 3 of 6"):
        fine_tune(adapted, config, DATA.questions, DATA.description, cut, CtrlC())
    assert not (cut / "adapter").exists()
    record = tuned(LocalModel.load(tiny_source, "float32"), cut)
    assert record.resumed_from == 3
    assert record.duration_s >= 1.0  # of the first attempt up to its checkpoint, too
    assert len(record.losses) == 6
    assert same_bits(weights(tmp_path / "whole"), weights(cut))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_kill_9_and_resume_ends_in_the_same_bits(
    tiny_source: ModelSource, tmp_path: Path, method: str
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'name = "kill"\n[model]\nsource = "{tiny_source.name}"\ndtype = "float32"\n'
        "[data]\ntrain_size = 64\nvalidation_size = 8\n"
        "[training]\nepochs = 4\nbatch_size = 4\nsave_every = 3\n"
        f'method = "{method}"\nlearning_rate = 1e-3\nobjective = "choice"\nanswer_share = 0.2\n'
        'keep = "best"\naverage = 0.9\nvalidate_every = 5\n'
        + ("[training.lora]\ndropout = 0.1\n" if method == "lora" else "")
    )
    command = [sys.executable, "-m", "medtune", "train", str(config), "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], env=environment, check=True)
    cut = tmp_path / "cut"
    process = subprocess.Popen([*command, str(cut)], env=environment)
    while len(list((cut / "checkpoints").glob("step-*.pt"))) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not list(cut.glob("*/*.safetensors"))
    subprocess.run([*command, str(cut)], env=environment, check=True)
    record = TrainingRecord.model_validate_json((cut / "training.json").read_bytes())
    assert record.resumed_from is not None
    assert same_bits(weights(tmp_path / "whole"), weights(cut))


class Scarce(nn.Module):
    """A head on a machine without memory for more than so many positions."""

    def __init__(self, inner: nn.Module, most: int) -> None:
        super().__init__()
        self.inner = inner
        self.most = most

    def forward(self, tokens: torch.Tensor, *others: Any) -> Any:
        if len(tokens) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return self.inner(tokens, *others)


class Said(NoProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log_message(self, text: str) -> None:
        self.lines.append(text)


def scarce(model: LocalModel, folder: Path, most: int, said: Said) -> TrainingRecord:
    config = experiment(token_budget=800, batch_size=24)
    adapted = LoraModel(model, config.training.lora, config.seed)
    adapted.head = Scarce(adapted.head, most)
    return fine_tune(adapted, config, DATA.questions, DATA.description, folder, said)


def test_out_of_memory_halves_the_passes_once_and_says_so(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    said = Said()
    scarce(LocalModel.load(tiny_source, "float32"), tmp_path / "scarce", 450, said)
    assert [line for line in said.lines if "memory" in line] == [
        "out of memory with 800 positions in a pass: going on with 400"
    ]
    config = experiment(token_budget=800, batch_size=24)
    tuned(LocalModel.load(tiny_source, "float32"), tmp_path / "enough", config)
    enough = weights(tmp_path / "enough")
    for name, weight in weights(tmp_path / "scarce").items():
        assert torch.allclose(weight, enough[name], atol=1e-3), name


def test_out_of_memory_again_ends_the_run_with_what_to_do(tiny: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="out of memory with 400 positions") as caught:
        scarce(tiny, tmp_path, 100, Said())
    assert "training.token_budget" in caught.value.fix


def test_a_checkpoint_that_was_damaged_is_passed_over(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    tuned(LocalModel.load(tiny_source, "float32"), tmp_path)
    whole = weights(tmp_path)
    *_, newest = sorted((tmp_path / "checkpoints").glob("step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    record = tuned(LocalModel.load(tiny_source, "float32"), tmp_path)
    assert record.resumed_from == 2
    assert same_bits(whole, weights(tmp_path))


def test_a_full_disk_ends_the_run_and_leaves_the_last_good_checkpoint(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    class FillsUp(NoProgress):
        steps = 0

        def advance(self, amount: int = 1, **figures: str) -> None:
            FillsUp.steps += amount
            if FillsUp.steps == 3:  # a file may grow to 50 kB from here on
                resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))

    config, model = experiment(), LocalModel.load(tiny_source, "float32")
    adapted = LoraModel(model, config.training.lora, config.seed)
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    try:
        with pytest.raises(FolderError, match="the file is larger than is allowed"):
            fine_tune(adapted, config, DATA.questions, DATA.description, cut, FillsUp())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name[:11] for path in (cut / "checkpoints").iterdir()] == ["step-000002"]
    record = tuned(LocalModel.load(tiny_source, "float32"), cut)
    assert record.resumed_from == 2
    tuned(LocalModel.load(tiny_source, "float32"), whole)
    assert same_bits(weights(whole), weights(cut))


def test_a_checkpoint_of_another_configuration_is_not_gone_on_from(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    tuned(LocalModel.load(tiny_source, "float32"), tmp_path)
    kept = set((tmp_path / "checkpoints").iterdir())
    other = experiment(objective="choice")
    said = Said()
    adapted = LoraModel(LocalModel.load(tiny_source, "float32"), other.training.lora, other.seed)
    record = fine_tune(adapted, other, DATA.questions, DATA.description, tmp_path, said)
    assert record.resumed_from is None
    assert any("such as another objective; training begins anew" in line for line in said.lines)
    assert kept < set((tmp_path / "checkpoints").iterdir())
    fresh = tuned(LocalModel.load(tiny_source, "float32"), tmp_path / "fresh", other)
    assert fresh.losses == record.losses
    assert same_bits(weights(tmp_path), weights(tmp_path / "fresh"))


def test_a_loss_that_is_no_number_stops_the_run(tiny: LocalModel, tmp_path: Path) -> None:
    with torch.no_grad():
        tiny.network.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(CheckFailed, match="loss of step 1 is nan"):
        tuned(tiny, tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_examples_over_the_limit_are_left_out_and_counted(tiny: LocalModel, tmp_path: Path) -> None:
    said: list[str] = []

    class Listener(NoProgress):
        def log_message(self, text: str) -> None:
            said.append(text)

    config = experiment(max_tokens=50, epochs=1)
    adapted = LoraModel(tiny, config.training.lora, config.seed)
    record = fine_tune(adapted, config, DATA.questions, DATA.description, tmp_path, Listener())
    assert record.audit.examples < 24
    assert any(f"{24 - record.audit.examples} of 24 examples exceed 50" in text for text in said)


def test_no_example_under_the_limit_is_an_error(tiny: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(EmptySplitError, match="exceed 5 tokens"):
        tuned(tiny, tmp_path, experiment(max_tokens=5))


def test_questions_without_labels_cannot_be_trained(tiny: LocalModel, tmp_path: Path) -> None:
    bare = tuple(q.model_copy(update={"answer": None}) for q in DATA.questions)
    with pytest.raises(DataError, match="24 training questions have no label"):
        tuned(tiny, tmp_path, questions=bare)


def test_a_target_module_that_does_not_exist_is_named_with_its_neighbours(
    tiny: LocalModel,
) -> None:
    config = experiment(lora={"targets": ["q_pro", "v_proj"]})
    with pytest.raises(ConfigError, match=r"no module 'q_pro'; did you mean q_proj"):
        LoraModel(tiny, config.training.lora, 0)


def test_the_notebooks_collator_never_supervises_an_ending(source: ModelSource) -> None:
    # Why the audit exists: pad = eos, and the collator masks every pad.
    tokenizer: Any = AutoTokenizer.from_pretrained(source.folder)
    tokenizer.pad_token = tokenizer.eos_token
    text = "<|im_start|>assistant\nThe answer is: HIV<|im_end|>"
    encoded = tokenizer(text, padding="max_length", max_length=16)
    collator = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm=False)
    labels = collator([encoded])["labels"][0].tolist()
    assert tokenizer.eos_token_id in encoded["input_ids"]
    assert tokenizer.eos_token_id not in labels


def test_training_works_outside_the_main_thread(tiny: LocalModel, tmp_path: Path) -> None:
    # No signal handler can be set there; Ctrl-C belongs to the main thread.
    done: list[TrainingRecord] = []
    worker = threading.Thread(target=lambda: done.append(tuned(tiny, tmp_path)))
    worker.start()
    worker.join()
    assert done[0].steps == 6


def test_the_adapter_folder_is_pefts(tiny: LocalModel, tmp_path: Path) -> None:
    tuned(tiny, tmp_path)
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["peft_type"] == "LORA"
    assert (settings["r"], settings["lora_alpha"]) == (16, 32)


def test_a_tracker_that_cannot_start_is_an_error_of_the_experiment(
    tiny: LocalModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.tracking import TensorBoardTracker

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no server at http://nowhere\nand a long story")

    monkeypatch.setattr(TensorBoardTracker, "start", refuse)
    config = experiment().model_copy(update={"track": ("tensorboard",)})
    adapted = LoraModel(tiny, config.training.lora, config.seed)
    with pytest.raises(ConfigError, match=r"(?m)tensorboard cannot start: no server at \S+$"):
        fine_tune(adapted, config, DATA.questions, DATA.description, tmp_path, NoProgress())
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tracking").touch()
    with pytest.raises(FolderError, match="tracking"):
        fine_tune(adapted, config, DATA.questions, DATA.description, tmp_path / "a", NoProgress())


def test_a_tracker_is_told_losses_and_validations(tiny: LocalModel, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = experiment().model_copy(update={"track": ("tensorboard",)})
    adapted = LoraModel(tiny, config.training.lora, config.seed)
    watch = Validation(DATA.description, lambda: wilson_interval(3, 8))
    record = fine_tune(
        adapted, config, DATA.questions, DATA.description, tmp_path, NoProgress(), watch
    )
    told = EventAccumulator(str(tmp_path / "tracking" / config.name)).Reload()
    losses = [(event.step, event.value) for event in told.Scalars("loss")]
    wanted = [(point.step, pytest.approx(point.loss, rel=1e-6)) for point in record.losses]
    assert losses == wanted
    assert [event.step for event in told.Scalars("validation_accuracy")] == [3, 6]
    assert find_finished_training(tmp_path, "adapter", record.inputs) == record
    untracked, data = experiment(), DATA.description
    inputs = hash_training_inputs(untracked, record.base, record.prompt_hash, data, watch.data)
    assert inputs == record.inputs  # what is told does not determine an adapter
    assert config.training == untracked.training


def test_a_tracker_that_is_not_installed_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = [LoggerType.TENSORBOARD]  # whatever this machine has
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: installed)
    with pytest.raises(ConfigError, match=r"track: wandb is not installed \(pip install wandb\)"):
        check_trackers(("tensorboard", "wandb"))
