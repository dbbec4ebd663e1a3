from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from medtune.core.errors import AdapterError
from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle, prompt_fingerprint
from medtune.models.adapters import lora
from medtune.models.local.local_model import LocalModel
from medtune.models.local.selected_logits import AnswerHead
from medtune.models.open_model import find_unloaded_model, open_model
from medtune.models.sources import ModelSource, resolve_model
from medtune.models.weights_card import CARD_FILE, TRAINED_ON_FILE, read_card

IDS = torch.tensor([[1, 500, 600, 700]])
ROWS = torch.arange(4)


@torch.inference_mode()
def logits(model: LocalModel) -> torch.Tensor:
    out: torch.Tensor = AnswerHead(model.network)(IDS[0], ROWS, [IDS.shape[1]])
    return out


def test_a_loaded_adapter_is_the_trained_one_and_peft_reads_it_too(
    tiny: LocalModel, tiny_source: ModelSource, adapter: Path
) -> None:
    trained = logits(tiny)  # the adapter is still inside
    plain = logits(LocalModel.load(tiny_source, "float32"))
    loaded = lora.load_adapter(LocalModel.load(tiny_source, "float32"), adapter, None)
    assert torch.allclose(logits(loaded), trained, atol=1e-5)
    assert not torch.allclose(plain, trained, atol=1e-2)

    base = AutoModelForCausalLM.from_pretrained(tiny_source.folder)
    with lora.suppress_peft_warning():
        other = PeftModel.from_pretrained(base, str(adapter))
    with torch.inference_mode():
        assert torch.allclose(other(IDS).logits[0], trained, atol=1e-4)


def test_the_card_says_what_it_was_trained_on(tiny_source: ModelSource, adapter: Path) -> None:
    card = read_card(adapter)
    model = LocalModel.load(tiny_source, "float32")
    assert card.base_fingerprint == tiny_source.fingerprint
    assert card.prompt_hash == prompt_fingerprint(PromptStyle(), model.render)
    assert card.target == "text"


def test_another_prompt_is_refused(tiny_source: ModelSource, adapter: Path) -> None:
    other = PromptStyle(system="You are a pirate.")
    with pytest.raises(AdapterError, match=r"trained with the prompt[\s\S]*leave the prompt out"):
        open_model(tiny_source.name, adapter=adapter, style=other, dtype="float32")
    open_model(tiny_source.name, adapter=adapter, style=PromptStyle(), dtype="float32")


def test_another_chat_template_is_refused(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    assert tiny_source.folder is not None
    model = LocalModel.load(tiny_source, "float32")
    template = model.encoder.tokenizer.chat_template
    model.encoder.tokenizer.chat_template = template.replace("<|im_start|>", "<|im_start|> ")
    changed = prompt_fingerprint(PromptStyle(), model.render)
    with pytest.raises(AdapterError, match="trained with the prompt"):
        lora.load_adapter(model, adapter, changed)


def test_another_base_is_refused(tiny_source: ModelSource, adapter: Path, tmp_path: Path) -> None:
    assert tiny_source.folder is not None
    shutil.copytree(tiny_source.folder, tmp_path / "other")
    settings = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 1e-3}))
    other = LocalModel.load(resolve_model(f"path:{tmp_path / 'other'}"), "float32")
    with pytest.raises(AdapterError, match=r"was trained on path:.*the base here is path:"):
        lora.load_adapter(other, adapter, None)


def test_an_adapter_of_another_trainer_is_loaded_into_the_base_that_is_named(
    tiny: LocalModel, tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(adapter, plain, ignore=lambda *_: {CARD_FILE, TRAINED_ON_FILE})
    opened = open_model(tiny_source.name, adapter=plain, style=PromptStyle(), dtype="float32")
    assert isinstance(opened, LocalModel)
    assert torch.allclose(logits(opened), logits(tiny), atol=1e-5)
    unloaded = find_unloaded_model(tiny_source.name, plain, "float32", NoProgress())
    assert unloaded is not None
    assert unloaded.describe() == opened.describe()
    assert opened.describe().adapter == read_card(adapter).weights_hash
    with pytest.raises(AdapterError, match="BASE --adapter DIR"):
        open_model(f"adapter:{plain}")


def test_an_adapter_of_another_trainer_that_does_not_fit_is_refused(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(adapter, plain, ignore=lambda *_: {CARD_FILE, TRAINED_ON_FILE})
    with pytest.raises(AdapterError, match=r"does not fit embedded:smollm2-135m"):
        open_model("embedded:smollm2-135m", adapter=plain)
    weights = plain / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(AdapterError, match="does not fit"):
        open_model(tiny_source.name, adapter=plain)


def test_changed_weights_are_refused(tiny_source: ModelSource, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(AdapterError, match="changed or cut short"):
        open_model(tiny_source.name, adapter=adapter, dtype="float32")


def test_initial_layers_depend_on_the_seed_alone(tiny_source: ModelSource) -> None:
    settings = Experiment().training.lora
    first = lora.LoraModel(LocalModel.load(tiny_source, "float32"), settings, seed=3).parameters
    torch.manual_seed(12345)
    again = lora.LoraModel(LocalModel.load(tiny_source, "float32"), settings, seed=3).parameters
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_notebooks_counts_of_trainable_weights(source: ModelSource) -> None:
    adapted = lora.LoraModel(LocalModel.load(source, "bfloat16"), Experiment().training.lora, 0)
    assert sum(p.numel() for p in adapted.parameters.values()) == 4_884_480
    assert adapted.total_parameters == 139_399_488
