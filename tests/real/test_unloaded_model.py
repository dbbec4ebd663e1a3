"""What is said of a model before its weights are loaded is what is said of them then."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, MistralConfig, Qwen2Config

from medtune.core.errors import UnknownModelError
from medtune.core.prompt import PromptStyle, prompt_fingerprint
from medtune.models.export.write_scheme import export_scheme
from medtune.models.local.local_model import LocalModel
from medtune.models.sources import ModelSource, resolve_model
from medtune.models.unloaded_model import UnloadedModel
from medtune.models.weights_card import WeightsCard

SIZES = {
    "vocab_size": 49152,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def check_same(unloaded: UnloadedModel) -> None:
    loaded = unloaded.load()
    assert unloaded.describe() == loaded.describe()
    style = PromptStyle()
    expected = prompt_fingerprint(style, loaded.render)
    assert prompt_fingerprint(style, unloaded.render) == expected


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_the_embedded_model(source: ModelSource, dtype: str) -> None:
    check_same(UnloadedModel(source, dtype))


@pytest.mark.parametrize("kind", ["untied", "qwen2", "mistral", "sharded"])
def test_other_architectures(tiny_source: ModelSource, tmp_path: Path, kind: str) -> None:
    assert tiny_source.folder is not None
    for file in tiny_source.folder.glob("*token*.json"):
        shutil.copy(file, tmp_path)
    shutil.copy(tiny_source.folder / "chat_template.jinja", tmp_path)
    config = {
        "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True),
        "mistral": MistralConfig(**SIZES, tie_word_embeddings=False),
    }.get(kind, AutoConfig.from_pretrained(tiny_source.folder))
    config.tie_word_embeddings = kind not in ("untied", "mistral")
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config)
    network.save_pretrained(tmp_path, max_shard_size="1MB" if kind == "sharded" else "1GB")
    check_same(UnloadedModel(resolve_model(f"path:{tmp_path}"), "float32"))


def test_every_rank_describes_its_gpu_alike(
    tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalModel, "device", torch.device("cuda:1"))
    assert tiny.describe().device == "cuda"


def test_an_adapter(tiny_source: ModelSource, adapter: Path) -> None:
    unloaded = UnloadedModel(tiny_source, "float32", adapter=adapter, style=PromptStyle())
    assert unloaded.describe().adapter is not None
    check_same(unloaded)


def test_a_quantized_model(tiny_source: ModelSource, tmp_path: Path) -> None:
    model = LocalModel.load(tiny_source, "float32")
    card = WeightsCard(
        base=tiny_source.name,
        base_fingerprint=tiny_source.fingerprint,
        prompt_hash="0",
        style=PromptStyle(),
        target="text",
        data_hash=None,
        config_hash=None,
        weights_hash="",
        medtune="0",
        kind="model",
    )
    export_scheme(model, card, "int8", tmp_path / "int8", lambda _: None)
    check_same(UnloadedModel(resolve_model(f"path:{tmp_path / 'int8'}")))


def test_a_template_that_the_light_tokenizer_cannot_read_is_read_by_transformers(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    assert tiny_source.folder is not None
    folder = shutil.copytree(tiny_source.folder, tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text("{% generation %}{% endgeneration %}" + template.read_text())
    check_same(UnloadedModel(resolve_model(f"path:{folder}"), "float32"))


def test_damaged_weights_are_refused_in_one_sentence(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    assert tiny_source.folder is not None
    folder = shutil.copytree(tiny_source.folder, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"\xff" * 4096)
    broken = replace(tiny_source, folder=folder)
    with pytest.raises(UnknownModelError, match="cannot be loaded"):
        UnloadedModel(broken).describe()


def test_a_caller_keeps_the_progress_bars_of_transformers(tiny_source: ModelSource) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    try:
        logging.enable_progress_bar()
        UnloadedModel(tiny_source, "float32").load()
        assert logging.is_progress_bar_enabled()
    finally:
        if not before:
            logging.disable_progress_bar()
