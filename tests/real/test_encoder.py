"""The sentence encoder, with a small network of random weights in transformers' format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medtune.core.errors import UnknownModelError
from medtune.core.progress import NoProgress
from medtune.models.encoder import MAX_TOKENS, SentenceEncoder
from medtune.models.open_index import open_index
from medtune.retrieval.dense import HybridIndex, build_hybrid_index
from medtune.retrieval.schema import Passage, PassageSource

WORDS = ["heart", "attack", "broken", "bone", "treat", "with", "rest"]
TEXTS = ["heart attack", "broken bone treat with rest", "rest", "heart bone attack"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(str(vocabulary)).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=12,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> SentenceEncoder:
    return SentenceEncoder.load(f"path:{folder}", dtype="float32")


def test_vector_is_the_normalised_mean_of_the_hidden_states(
    encoder: SentenceEncoder, folder: Path
) -> None:
    from transformers import AutoModel, AutoTokenizer

    network = AutoModel.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(TEXTS[1], return_tensors="pt")
    with torch.inference_mode():
        mean = network(**inputs).last_hidden_state[0].mean(0).numpy()
    found = encoder.encode(TEXTS, NoProgress())
    assert found.shape == (len(TEXTS), encoder.settings.dimensions)
    assert found[1] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-3)


def test_vector_does_not_depend_on_its_batch(encoder: SentenceEncoder) -> None:
    together = encoder.encode(TEXTS, NoProgress())
    alone = np.concatenate([encoder.encode([text], NoProgress()) for text in TEXTS])
    assert together == pytest.approx(alone, abs=1e-3)


def test_long_text_is_cut(encoder: SentenceEncoder) -> None:
    long = " ".join(["bone"] * MAX_TOKENS)
    vectors = encoder.encode([long, f"{long} heart attack"], NoProgress())
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-3)


def test_index_is_opened_with_the_encoder_that_it_names(folder: Path, tmp_path: Path) -> None:
    passages = [Passage(id=text, text=text, source="t") for text in TEXTS]
    sources = [PassageSource(source="t", licence=None, passages=len(TEXTS))]
    encoder = SentenceEncoder.load(f"path:{folder}")
    build_hybrid_index(passages, sources, tmp_path / "index", "english", encoder, NoProgress())
    index = open_index(tmp_path / "index")
    assert isinstance(index, HybridIndex)
    (hits,) = index.search_vectors([TEXTS[1]], 2)
    assert hits[0].place == 1
    assert hits[0].score == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", ["embedded:smollm2-135m", "path:nowhere", "path:"])
def test_name_that_is_no_encoder(name: str) -> None:
    with pytest.raises(UnknownModelError):
        SentenceEncoder.load(name)


def test_folder_without_weights(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(UnknownModelError, match="cannot be loaded"):
        SentenceEncoder.load(f"path:{tmp_path}")
