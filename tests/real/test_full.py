"""Full fine-tuning, and LoRA on a base of 4 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import CommandLine

from medtune.commands.run import run
from medtune.core.errors import AdapterError, ModelError
from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.records import RunRecord
from medtune.data.load import load_split
from medtune.models.adapters import lora
from medtune.models.adapters.full import FullFineTuned
from medtune.models.adapters.lora import LoraModel
from medtune.models.local import nf4 as four_bits
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve_model
from medtune.models.weights_card import read_card, resolve_prompt_defaults
from medtune.training.finetune import fine_tune

DATA = load_split("starter:train", size=24)


def experiment(**training: Any) -> Experiment:
    settings = {"epochs": 2, "batch_size": 8, "save_every": 2, **training}
    if settings.get("method") == "full":
        settings.setdefault("learning_rate", 3e-3)
    return Experiment.model_validate({"training": settings})


def fully(model: LocalModel, folder: Path, config: Experiment) -> dict[str, torch.Tensor]:
    fine_tune(FullFineTuned(model), config, DATA.questions, DATA.description, folder, NoProgress())
    return load_file(folder / "model" / "model.safetensors")


def test_one_step_is_the_step_of_plain_pytorch(tiny_source: ModelSource, tmp_path: Path) -> None:
    config = experiment(
        method="full", epochs=1, batch_size=24, warmup_steps=0, permute_options=False
    )
    found = fully(LocalModel.load(tiny_source, "float32"), tmp_path, config)

    model = LocalModel.load(tiny_source, "float32")
    style = config.prompt
    total, parts = 0, []
    for question in DATA.questions:
        answer = style.render_target(question, "text")
        example = model.encoder.encode_example(style.build_messages(question, "text"), answer)
        ids = torch.tensor([example.tokens])
        labels = ids.clone()
        labels[0, : example.prompt] = -100
        count = len(example.tokens) - example.prompt
        parts.append(model.network(input_ids=ids, labels=labels).loss * count)
        total += count
    optimizer = torch.optim.AdamW(model.network.parameters(), lr=3e-3, weight_decay=0.0)
    (sum(parts) / total).backward()
    torch.nn.utils.clip_grad_norm_(model.network.parameters(), 1.0)
    optimizer.step()
    for name, weight in model.network.named_parameters():
        # Where a gradient is near zero, Adam's first step has the sign of a rounding error.
        assert weight.grad is not None
        clear = weight.grad.abs() > 1e-5
        assert clear.any(), name
        assert torch.allclose(found[name][clear], weight[clear], atol=1e-5), name


def test_half_of_what_was_learned_lies_half_way(tiny_source: ModelSource, tmp_path: Path) -> None:
    base = LocalModel.load(tiny_source, "float32").network.state_dict()
    whole = fully(
        LocalModel.load(tiny_source, "float32"), tmp_path / "whole", experiment(method="full")
    )
    half = fully(
        LocalModel.load(tiny_source, "float32"),
        tmp_path / "half",
        experiment(method="full", interpolate=0.5),
    )
    for name, weight in half.items():
        assert torch.allclose(weight, (base[name] + whole[name]) / 2, atol=1e-6), name
        assert not torch.equal(weight, base[name]), name


def test_the_job_with_all_weights_gives_a_model_that_is_named_by_its_folder(
    tiny_source: ModelSource, tmp_path: Path, medtune: CommandLine
) -> None:
    config = Experiment.model_validate(
        {
            "model": {"source": tiny_source.name, "dtype": "float32"},
            "data": {"train_size": 24, "evaluate": ["starter:recall"], "evaluate_size": 16},
            "training": {"method": "full", "learning_rate": 3e-3, "epochs": 2, "recompute": True},
            "evaluation": {"methods": ["cloze"], "options_only": 0},
            "prompt": {"system": "Answer."},
        }
    )
    record = run(config, tmp_path / "out", NoProgress())
    training, (base, tuned) = record.trainings[0], record.evaluations
    assert training.method == "full"
    assert training.trainable_parameters == training.total_parameters == base.model.parameters
    folder = tmp_path / "out" / "model"
    card = read_card(folder)
    assert (card.kind, card.weights_hash) == ("model", training.weights_hash)
    assert (tuned.model.source, tuned.model.adapter) == (f"path:{folder}", None)
    assert not (tmp_path / "out" / "adapter").exists()
    assert RunRecord.model_validate_json((tmp_path / "out" / "record.json").read_bytes()) == record

    # Asked as it was trained, without a word about the prompt.
    style = PromptStyle(system="Answer.")
    assert resolve_prompt_defaults(f"path:{folder}", None, None, None, None).style == style
    again = medtune.record(
        *("evaluate", f"path:{folder}", "starter:recall", "--limit", 16, "--dtype", "float32"),
        *("--out", "again", "--method", "cloze"),
    )
    assert again["prompt_hash"] == tuned.prompt_hash
    with pytest.raises(AdapterError, match="is a whole model, not an adapter"):
        lora.load_adapter(LocalModel.load(tiny_source, "float32"), folder, None)

    # Nothing is trained twice, and a model that is gone is trained again.
    said = run(config, tmp_path / "out", NoProgress())
    assert said.trainings[0] == training
    code, _, err = medtune("evaluate", f"path:{folder}", "starter:recall", "--adapter", folder)
    assert code != 0
    assert "is a whole model" in err


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"training": {"method": "full"}}, "needs a learning_rate of its own"),
        (
            {"training": {"method": "full", "learning_rate": 1e-4, "lora": {"rank": 8}}},
            "has no lora settings",
        ),
        (
            {"model": {"dtype": "nf4"}, "training": {"method": "full", "learning_rate": 1e-4}},
            "cannot train weights of 4 bits",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Experiment.model_validate(settings)


def test_a_base_of_four_bits_learns_before_and_after_an_examination(
    source: ModelSource, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    whole = LocalModel.load(source, "bfloat16").describe()
    model = LocalModel.load(source, "nf4")
    assert (model.describe().dtype, model.describe().parameters) == ("nf4", whole.parameters)
    size = sum(p.numel() * p.element_size() for p in model.network.parameters())
    # The vocabulary, a fifth of the weights, keeps the precision that is computed in.
    assert size < 0.5 * model.network.dtype.itemsize * whole.parameters

    config = experiment(epochs=4, learning_rate=2e-3)
    record = fine_tune(
        LoraModel(model, config.training.lora, config.seed),
        config,
        DATA.questions,
        DATA.description,
        tmp_path,
        NoProgress(),
    )
    losses = [point.loss for point in record.losses]
    assert losses[-1] < 0.6 * losses[0]
    assert record.base.dtype == "nf4"
    # An examination on the way leaves the layers trainable.
    tuned = lora.load_adapter(LocalModel.load(source, "nf4"), tmp_path / "adapter", None)
    tuned.network.train()
    tokens = torch.arange(100, 140)[None]
    with torch.inference_mode():
        tuned.network.eval()(tokens)
    tuned.network.train().requires_grad_(False)
    embedded = tuned.network.get_input_embeddings()(tokens).requires_grad_()
    tuned.network(inputs_embeds=embedded).logits.float().mean().backward()
    assert embedded.grad is not None
    assert embedded.grad.abs().sum() > 0


def test_four_bits_without_bitsandbytes_say_what_to_install(
    tiny_source: ModelSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(four_bits, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="needs bitsandbytes, which is not installed"):
        LocalModel.load(resolve_model(tiny_source.name), "nf4")


def test_all_weights_are_refused_before_they_are_loaded_where_memory_is_short(
    medtune: CommandLine,
    tiny_source: ModelSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 1.6 million weights: 6 MB in fp32, 26 MB with gradients and moments.
    monkeypatch.setattr("medtune.models.memory.available_memory", lambda _="cpu": 15_000_000)
    settings = [f"model.source={tiny_source.name}", "data.train_size=8", "training.epochs=1"]
    settings += ["training.method=full", "training.learning_rate=1e-3"]
    command = ["train", *(part for each in settings for part in ("--set", each)), "--out"]
    code, _, err = medtune(*command, tmp_path / "full")
    assert code == 2
    assert "full fine-tuning" in err
    assert 'training.method = "lora"' in err
    assert not (tmp_path / "full" / "training.json").exists()
    code, _, err = medtune(*command, tmp_path / "lora", "--set", "training.method=lora")
    assert code == 0, err


def test_parity_is_asked_of_a_model_in_another_dtype(
    medtune: CommandLine, tiny_source: ModelSource
) -> None:
    pytest.importorskip("bitsandbytes")
    name = tiny_source.name
    ask = ("parity", name, name, "--limit", 24, "--agreement", 0, "--loss", 1, "--drift", 9)
    (same,) = medtune.record(*ask, "--out", "same")["rows"]
    assert (same["name"], same["mean_drift"]) == (name, 0)
    (rounded,) = medtune.record(*ask, "--dtype", "nf4", "--out", "rounded")["rows"]
    assert rounded["name"] == f"{name}, nf4"
    assert rounded["mean_drift"] > 0
    code, _, err = medtune(*ask, "--dtype", "int3")
    assert code == 2
    assert "nf4" in err
