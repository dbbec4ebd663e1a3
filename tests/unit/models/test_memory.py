"""A model that does not fit is refused before any of its weights is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from medtune.core.errors import ModelError
from medtune.core.experiment import DtypeName
from medtune.core.schemas.compression import SCHEMES
from medtune.models import memory
from medtune.models.local import loader
from medtune.models.memory import (
    BYTES_PER_WEIGHT,
    FULL_TRAINING,
    GIB,
    available_memory,
    check_memory,
    count_parameters,
)
from medtune.models.remote import llama_cpp
from medtune.models.sources import ModelSource

BILLION = 1_000_000_000


def leave(monkeypatch: pytest.MonkeyPatch, gib: float) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda _="cpu": int(gib * GIB))


def refusal(precision: str, size: float | None = None) -> str:
    with pytest.raises(ModelError) as refused:
        check_memory("hub:a/b", 3 * BILLION, precision, "cpu", size)
    return str(refused.value)


def test_every_scheme_has_a_size_of_its_weights() -> None:
    merged = {"merge", "merge-fp16"}  # plain weights, of a dtype of their own
    assert set(SCHEMES) - merged <= set(BYTES_PER_WEIGHT)
    assert set(get_args(DtypeName)) - {"auto"} <= set(BYTES_PER_WEIGHT)
    assert BYTES_PER_WEIGHT["int8"] < BYTES_PER_WEIGHT["float32"]


def test_the_refusal_names_what_fits_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    leave(monkeypatch, 6)  # float32 takes 11.2 GiB, bfloat16 5.6, int8 3.4
    text = refusal("float32")
    assert "hub:a/b takes 11.2 GiB for its 3,000 million weights (float32)" in text
    assert "6.0 GiB of memory are free" in text
    for name in ("bfloat16 (5.6 GiB)", "nf4 (1.7 GiB)", "int8 (3.4 GiB)", "gguf-q4_k_m (1.7 GiB)"):
        assert name in text
    leave(monkeypatch, 3)
    text = refusal("bfloat16")
    assert "nf4 (1.7 GiB)" in text
    assert "gguf-q4_k_m" in text
    assert "dtype bfloat16" not in text
    assert "int8" not in text
    leave(monkeypatch, 0.5)
    text = refusal("nf4")
    assert "compress" not in text
    assert "a smaller model; or a model on a server, remote:URL" in text


def test_what_is_larger_is_not_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    leave(monkeypatch, 1.9)
    text = refusal("int8", 2 * GIB)  # of a file whose size is known
    assert "takes 2.0 GiB" in text
    assert "bfloat16" not in text


def test_all_weights_are_not_trained_where_a_few_could_be(monkeypatch: pytest.MonkeyPatch) -> None:
    leave(monkeypatch, 20)
    text = refusal(FULL_TRAINING)
    assert "44.7 GiB" in text
    assert 'training.method = "lora"' in text
    assert "nf4" not in text


def test_what_fits_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    leave(monkeypatch, 6)
    check_memory("hub:a/b", 3 * BILLION, "bfloat16", "cpu")


def test_no_weight_of_a_folder_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(*_: Any) -> Any:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(loader, "_load_with_transformers", load)
    header = {
        "lm_head.weight": {"dtype": "BF16", "shape": [50_000, 4096], "data_offsets": [0, 1]},
        "embed": {"dtype": "BF16", "shape": [50_000, 4096], "data_offsets": [1, 2]},
        "__metadata__": {"format": "pt"},
    }
    text = json.dumps(header).encode()
    (tmp_path / "config.json").write_text(json.dumps({"tie_word_embeddings": True}))
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    source = ModelSource("path:large", "path", tmp_path, "0")
    assert count_parameters(tmp_path, tmp_path.glob("*.safetensors")) == 50_000 * 4096
    leave(monkeypatch, 0.2)
    with pytest.raises(ModelError, match=r"takes 0\.8 GiB for its 205 million weights"):
        loader.load_network(source, "float32", "auto", light=False)
    leave(monkeypatch, 1)
    with pytest.raises(AssertionError, match="it was loaded"):
        loader.load_network(source, "float32", "auto", light=False)


def test_a_gguf_file_is_not_given_to_llama_cpp(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def start(_: Path) -> Any:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(llama_cpp, "_start_server", start)
    file = tmp_path / "m.gguf"
    file.write_bytes(b"0" * 1000)
    monkeypatch.setattr(memory, "available_memory", lambda _="cpu": 999)
    described = llama_cpp._describe("path:m.gguf", "0", 1600, "gguf-q4_k_m")
    encoder: Any = None
    with pytest.raises(ModelError, match=r"path:m\.gguf takes 0\.0 GiB"):
        llama_cpp.LlamaCpp(file, encoder, described)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("3000000", 3_000_000 - 2_000_000 + 1_500_000), ("max", None), ("1000", 0)],
)
def test_the_limit_of_a_container_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, expected: int | None
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    whole = available_memory()
    assert whole > 5_000_000
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    stat = "anon 500000\nactive_file 1000000\ninactive_file 500000\n"
    (tmp_path / "memory.stat").write_text(stat)
    found = available_memory()
    if expected is None:
        assert found == pytest.approx(whole, rel=0.2)
    else:
        assert found == expected
