"""What is deployed answers as what was trained: merged, in integers, and by llama.cpp."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from tests.conftest import CommandLine
from tests.real.tiny_llama import write_tiny_llama
from tests.unit.models.export.test_smoothquant import SHAPE
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from medtune.core.errors import AdapterError, FolderError, ModelError
from medtune.core.prompt import PromptStyle, prompt_fingerprint
from medtune.core.protocols import Decoding, GenerateRequest, Message, ScoreRequest
from medtune.core.records import MAX_OPTIONS
from medtune.core.schemas.compression import ParityRecord, Scheme
from medtune.models.adapters import lora
from medtune.models.export.gguf import write_gguf
from medtune.models.export.write_scheme import export_scheme
from medtune.models.light.decoder import Decoder, supports_folder
from medtune.models.light.quantized_model import load_quantized, quantize_network, save_quantized
from medtune.models.local.local_model import LocalModel
from medtune.models.open_model import open_model
from medtune.models.sources import ModelSource, resolve_model
from medtune.models.weights_card import WeightsCard, read_card

STEMS = ("Which vitamin prevents scurvy?", "Blood group 12 of 345?", "Φ-waves, 50 µg — why?")
REQUESTS = [
    ScoreRequest(
        str(i), stem, ("a", "b", "c"), (Message("system", "Be brief."), Message("user", stem)),
        "", (" A", " B", " C"),
    )
    for i, stem in enumerate(STEMS * 3)
]  # fmt: skip


def packed(source: ModelSource, adapter: Path, scheme: Scheme, folder: Path) -> WeightsCard:
    model = lora.merge_adapter(LocalModel.load(source, "float32"), adapter)
    card = read_card(adapter).model_copy(update={"kind": "model", "made_from": "an adapter"})
    return export_scheme(model, card, scheme, folder, lambda some: some.score(REQUESTS))


def logs(model: object, requests: Sequence[ScoreRequest] = REQUESTS) -> torch.Tensor:
    """Score requests, `[request, option]`."""
    rows = model.score(requests)  # type: ignore[attr-defined]
    return torch.tensor([[score.logprob for score in row] for row in rows])


@pytest.fixture
def right(tiny_source: ModelSource, adapter: Path) -> torch.Tensor:
    return logs(lora.load_adapter(LocalModel.load(tiny_source, "float32"), adapter, None))


@pytest.mark.parametrize(
    ("scheme", "off", "file"),
    [
        ("merge", 0.05, "model.safetensors"),
        ("merge-fp16", 0.01, "model.safetensors"),
        ("int8", 0.1, "integers.safetensors"),
        ("int8-dynamic", 0.3, "integers.safetensors"),
    ],
)
def test_a_packed_folder_answers_as_the_adapter_does(
    tiny_source: ModelSource,
    adapter: Path,
    right: torch.Tensor,
    tmp_path: Path,
    scheme: Scheme,
    off: float,
    file: str,
) -> None:
    card = packed(tiny_source, adapter, scheme, tmp_path / scheme)
    assert (tmp_path / scheme / file).is_file()
    assert card == read_card(tmp_path / scheme)
    model = open_model(f"path:{tmp_path / scheme}", dtype="float32")
    found = logs(model)
    assert (found - right).abs().mean() < off
    # What was trained is in it: the base answers otherwise.
    base = logs(LocalModel.load(tiny_source, "float32"))
    assert (found - right).abs().mean() < 0.5 * (base - right).abs().mean()
    described = model.describe()
    assert described.parameters == card.parameters == 1_591_456
    assert described.dtype == ("float32" if "merge" in scheme else scheme)


def test_a_whole_question_scores_the_same_alone_and_in_company(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    packed(tiny_source, adapter, "int8", tmp_path / "int8")
    model = LocalModel.load(resolve_model(f"path:{tmp_path / 'int8'}"))
    alone = torch.tensor([[s.logprob for s in model.score([r])[0]] for r in REQUESTS])
    assert torch.allclose(logs(model), alone, atol=0.05)


def test_transformers_does_not_take_integers_for_weights(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    packed(tiny_source, adapter, "int8", tmp_path / "int8")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "int8")


def test_gguf_holds_the_same_weights_and_the_same_tokens(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")
    folder = tmp_path / "gguf"
    packed(tiny_source, adapter, "gguf-q8_0", folder)

    whole = lora.merge_adapter(
        LocalModel.load(tiny_source, "float32"), adapter
    ).network.state_dict()
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf")
    for name, weight in read.state_dict().items():
        assert (weight - whole[name]).abs().max() < 0.02 * whole[name].abs().max(), name

    # A random model's letters are among no server's likeliest tokens; texts are read as dictated.
    texts = [replace(r, continuations=(" vitamin C", " nought")) for r in REQUESTS[:3]]
    trained = lora.load_adapter(LocalModel.load(tiny_source, "float32"), adapter, None)
    model = open_model(f"path:{folder}")
    assert (logs(model, texts) - logs(trained, texts)).abs().max() < 0.5
    served = model._served  # type: ignore[union-attr]
    root = served.url.removesuffix("/v1")
    for stem in STEMS:
        text = model.render([Message("user", stem)])
        answer = served.server.post(f"{root}/tokenize", {"content": text, "parse_special": True})
        assert [answer["tokens"]] == model.encoder.encode_texts([text])  # type: ignore[union-attr]
        # Ollama and LM Studio let the file's own template write the prompt.
        assert served.render_prompt([Message("user", stem)]) == text
    assert model.describe().dtype == "gguf-q8_0"


@pytest.mark.parametrize(
    ("scheme", "error", "kinds"),
    [
        ("gguf-q4_k_m", 0.12, {"F32", "Q4_K", "Q6_K"}),
        ("gguf-q5_k_m", 0.06, {"F32", "Q5_K", "Q6_K"}),
        ("gguf-q6_k", 0.03, {"F32", "Q6_K"}),
    ],
)
def test_k_quants_are_read_by_transformers_and_run_by_llama_cpp(
    tmp_path: Path, scheme: Scheme, error: float, kinds: set[str]
) -> None:
    pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install xllamacpp")
    (tmp_path / "wide").mkdir()
    write_tiny_llama(tmp_path / "wide", hidden_size=256, intermediate_size=256, num_hidden_layers=4)
    model = LocalModel.load(resolve_model(f"path:{tmp_path / 'wide'}"), "float32")
    (tmp_path / "packed").mkdir()
    file = tmp_path / "packed" / "wide.gguf"
    write_gguf(model.network, model.encoder.tokenizer, file, scheme, "wide")
    assert {tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors} == kinds
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).state_dict()
    for name, weight in model.network.state_dict().items():
        assert (weight - read[name]).std() <= error * weight.std() + 1e-6, name
    texts = [replace(r, continuations=(" vitamin C", " nought")) for r in REQUESTS[:3]]
    ran = open_model(f"path:{file}")
    assert ran.describe().dtype == scheme
    assert (logs(ran, texts) - logs(model, texts)).abs().max() < 1.0


@pytest.mark.parametrize("scheme", ["int8", "gguf-q4_1"])
def test_a_file_that_was_cut_short_is_refused_before_it_is_read(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path, scheme: Scheme
) -> None:
    card = packed(tiny_source, adapter, scheme, tmp_path / "packed")
    file = tmp_path / "packed" / card.weights_file
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(AdapterError, match=r"has sha256[\s\S]*cut short"):
        open_model(f"path:{tmp_path / 'packed'}")


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("scheme", ["merge", "int8", "gguf-q8_0"])
def test_without_space_the_old_folder_stays(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path, scheme: Scheme
) -> None:
    before = packed(tiny_source, adapter, scheme, tmp_path / "packed")
    with no_file_above(1 << 20), pytest.raises(FolderError, match="cannot write"):
        packed(tiny_source, adapter, scheme, tmp_path / "packed")
    assert read_card(tmp_path / "packed") == before
    assert [p.name for p in tmp_path.iterdir() if "packed" in p.name] == ["packed"]


def test_an_architecture_without_a_name_in_gguf_is_refused(
    tiny_source: ModelSource, tmp_path: Path
) -> None:
    assert tiny_source.folder is not None
    model = LocalModel.load(tiny_source, "float32")
    model.network.config.model_type = "mamba"
    with pytest.raises(ModelError, match=r"mamba models[\s\S]*--scheme merge"):
        write_gguf(model.network, model.encoder.tokenizer, tmp_path / "x.gguf", "gguf-q8_0", "x")


def test_the_gate_writes_what_it_found_and_marks_what_is_unfit(
    medtune: CommandLine, tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    ask = (
        "compress",
        f"adapter:{adapter}",
        "starter:recall",
        "--scheme",
        "merge-fp16,int8-dynamic",
    )
    code, out, err = medtune(*ask, "--out", "packed")
    assert code == 1, err
    record = ParityRecord.model_validate_json(Path("packed/record.json").read_bytes())
    assert [row.name for row in record.rows] == ["merge-fp16", "int8-dynamic"]
    assert f"over budget: {', '.join(record.names_over_budget)}" in err
    # Eighty questions exclude no loss below 5.7 points, and it may lose one.
    assert "merge-fp16" in record.names_over_budget
    assert record.rows[0].agreement.value > 0.95
    assert record.rows[1].mean_drift > record.rows[0].mean_drift
    assert record.reference.model.adapter == read_card(adapter).weights_hash
    # Whatever this machine calls auto: the rounding of the original is not the packed one's fault.
    assert record.reference.model.dtype == "float32"
    assert "unfit" in Path("packed/parity.html").read_text()
    for row in record.rows:
        assert read_card(Path("packed") / row.name).fit is row.meets_budget
        assert row.name in out

    # A second call repeats nothing; another adapter does.
    written = Path("packed/int8-dynamic/integers.safetensors").stat().st_mtime_ns
    _, _, err = medtune(*ask, "--out", "packed")
    assert err.count("still valid") == 5  # two folders, three examinations
    assert Path("packed/int8-dynamic/integers.safetensors").stat().st_mtime_ns == written

    question = (
        "answer",
        "Which vitamin is deficient in scurvy?",
        "--option",
        "Vitamin A",
        "--option",
        "Vitamin C",
        "--model",
        "path:packed/merge-fp16",
    )
    code, _, err = medtune(*question)
    assert code == 1
    assert "marked unfit" in err
    reply = medtune.record(*question, "--unfit")["reply"]
    assert sum(reply["probabilities"]) == pytest.approx(1)
    assert (reply["status"], reply["letter"]) == ("deferred", None)  # it was never calibrated


def test_bench_measures_each_alone(
    medtune: CommandLine, tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    packed(tiny_source, adapter, "int8", tmp_path / "int8")
    found = medtune.record(
        "bench", f"adapter:{adapter}", f"path:{tmp_path / 'int8'}",
        "--dtype", "float32", "--limit", "24", "--out", "bench",
    )  # fmt: skip
    whole, eighth = found["rows"]
    assert [row["model"]["dtype"] for row in (whole, eighth)] == ["float32", "int8"]
    assert whole["agreement"]["value"] == 1
    for row in (whole, eighth):
        assert 0 < row["latency_p50_s"] <= row["latency_p95_s"] < 5
        assert row["peak_memory_bytes"] > 200_000_000
        assert row["accuracy"]["n"] == 24
    # This model is nearly all embeddings, which have two bytes for each weight.
    assert eighth["file_bytes"] < 0.6 * whole["file_bytes"]
    assert any(row["pareto"] for row in (whole, eighth))
    assert "questions/s" in Path("bench/bench.html").read_text()


def test_what_cannot_be_packed_is_told(
    medtune: CommandLine, tiny_source: ModelSource, adapter: Path, tmp_path: Path
) -> None:
    packed(tiny_source, adapter, "int8", tmp_path / "int8")
    for model, said in (
        ("fake:oracle", "has no weights to quantize"),
        (f"path:{tmp_path / 'int8'}", "is quantized as int8 already"),
    ):
        code, _, err = medtune("compress", model, "starter:recall", "--out", "x")
        assert (code, said in err) == (2, True), err
    code, _, err = medtune("compress", "fake:oracle", "starter:recall", "--scheme", "int9")
    assert code == 2
    assert "--scheme 'int9'" in err
    code, _, err = medtune(
        "train", "--set", f"model.source=path:{tmp_path / 'int8'}", "--set", "data.train_size=8"
    )
    assert code == 2
    assert "is quantized as int8 and cannot be trained" in err
    other = tmp_path / "other"
    assert tiny_source.folder is not None
    shutil.copytree(tiny_source.folder, other)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 1e-3}))
    code, _, err = medtune(
        "compress", f"path:{other}", "starter:recall", "--adapter", adapter, "--out", "x"
    )
    assert code == 2
    assert "the base model that the adapter was trained on" in err


@pytest.mark.parametrize(
    "options", [(), ("one",), ("same", "same"), ("a", " "), tuple("abcdefghijk"[: MAX_OPTIONS + 1])]
)
def test_a_question_that_is_none_is_told(medtune: CommandLine, options: tuple[str, ...]) -> None:
    arguments = [part for option in options for part in ("--option", option)]
    code, _, err = medtune("answer", "Which?", *arguments, "--model", "fake:oracle")
    assert code == 2
    assert "option" in err.lower()


def test_a_model_that_is_not_there_is_told(medtune: CommandLine) -> None:
    code, _, err = medtune("answer", "Which?", "--option", "a", "--option", "b", "--model", "x:y")
    assert code == 2
    assert "names no model" in err
    with pytest.raises(ModelError, match="adapter:nowhere is an adapter"):
        resolve_model("adapter:nowhere")


def test_the_light_decoder_is_transformers_own(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(tiny_source, adapter, "int8", tmp_path / "int8")
    source = resolve_model(f"path:{tmp_path / 'int8'}")
    light = LocalModel.load(source)
    assert isinstance(light.network, Decoder)
    monkeypatch.setattr("medtune.models.local.loader.supports_folder", lambda folder: False)
    heavy = LocalModel.load(source)
    assert not isinstance(heavy.network, Decoder)
    assert light.describe() == heavy.describe()
    monkeypatch.undo()
    unpacked = LocalModel.load(tiny_source, "float32", light=True)
    assert isinstance(unpacked.network, Decoder)
    same = LocalModel.load(tiny_source, "float32")
    assert not isinstance(same.network, Decoder)
    assert unpacked.describe() == same.describe()
    assert torch.allclose(logs(unpacked), logs(same), atol=1e-4)

    assert prompt_fingerprint(PromptStyle(), light.render) == prompt_fingerprint(
        PromptStyle(), heavy.render
    )
    for name in ("end", "stops", "pad"):
        assert getattr(light.encoder, name) == getattr(heavy.encoder, name)
    texts = [*STEMS, "<|im_start|>user\n  1 234 567\t", ""]
    assert light.encoder.encode_texts(texts) == heavy.encoder.encode_texts(texts)
    assert light.encoder.encode_answers(STEMS, ["Which"] * 3) == heavy.encoder.encode_answers(
        STEMS, ["Which"] * 3
    )
    # Letters, and texts that share their prompt and branch; both behind a kept beginning.
    for requests in (REQUESTS, [replace(r, continuations=(" a b c", " a d")) for r in REQUESTS]):
        assert torch.allclose(logs(light, requests), logs(heavy, requests), atol=1e-3)
    asked = [GenerateRequest("1", "", ("a", "b"), REQUESTS[0].messages)]
    assert light.generate(asked, Decoding(5)) == heavy.generate(asked, Decoding(5))


def made_of(kind: str) -> Any:
    """Make a random model whose biases and norms do something."""
    torch.manual_seed(0)
    shape = {**SHAPE, "hidden_size": 64, "head_dim": 16, "tie_word_embeddings": kind == "llama"}
    made: Any = (
        LlamaForCausalLM(LlamaConfig(**shape))
        if kind == "llama"
        else Qwen2ForCausalLM(Qwen2Config(**shape))
    )
    for name, parameter in made.named_parameters():
        if name.endswith(("bias", "norm.weight")):
            torch.nn.init.normal_(parameter, mean=1)
    return made.eval()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_the_light_decoder_reads_every_architecture_that_it_says(kind: str, tmp_path: Path) -> None:
    made = made_of(kind)
    made.save_pretrained(tmp_path)
    assert not supports_folder(tmp_path)
    (tmp_path / "tokenizer.json").touch()
    assert supports_folder(tmp_path)
    ids = torch.arange(24).view(2, 12) % 64
    plain = Decoder(tmp_path, "model.safetensors", None, torch.float32, lambda: made)
    assert plain.num_parameters() == made.num_parameters()
    with torch.inference_mode():
        states = plain.get_decoder()(ids).last_hidden_state
        found = plain.get_output_embeddings()(states)
        assert torch.allclose(found, made.eval()(ids).logits, atol=1e-4)
    quantize_network(made, "int8")
    save_quantized(made, tmp_path / "x.safetensors")
    light = Decoder(tmp_path, "x.safetensors", "int8", torch.float32, lambda: made)
    heavy = load_quantized(tmp_path, "x.safetensors", "int8", torch.float32).eval()
    with torch.inference_mode():
        right = heavy(ids).logits
        states = light.get_decoder()(ids).last_hidden_state
        assert torch.allclose(light.get_output_embeddings()(states), right, atol=0.03)
        assert torch.allclose(made.eval()(ids).logits, right, atol=0.03)


@pytest.mark.parametrize("scheme", ["int8", None])
def test_a_question_is_answered_without_transformers(
    tiny_source: ModelSource, adapter: Path, tmp_path: Path, scheme: Scheme | None
) -> None:
    name = tiny_source.name
    if scheme is not None:
        packed(tiny_source, adapter, scheme, tmp_path / scheme)
        name = f"path:{tmp_path / scheme}"
    script = (
        "import sys; from medtune.commands.answer import answer;"
        "from medtune.core.progress import NoProgress;"
        "stem, options = 'Which vitamin is deficient in scurvy?', ('Vitamin A', 'Vitamin C');"
        f"found = answer(stem, options, NoProgress(), model='{name}').reply;"
        "print(len(found.probabilities), 'transformers' in sys.modules, 'peft' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2", "False", "False"]
