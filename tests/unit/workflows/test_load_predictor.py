"""Which passages a predictor has: those of an option, of a search model, or of a reader's run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medtune.core.errors import RetrievalError
from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.models.open_model import open_model
from medtune.models.weights_card import PromptDefaults
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.schema import Passage, PassageSource
from medtune.serving.inference.predictor import Predictor
from medtune.workflows import load_predictor as module
from medtune.workflows.open_guards import open_guards


@pytest.fixture
def index(tmp_path: Path) -> FolderIndex:
    source = PassageSource(source="s", licence=None, passages=1)
    passage = Passage(id="a", text="Scurvy is a lack of vitamin C.", source="s")
    return build_index([passage], [source], tmp_path / "index", "english", NoProgress())


def load(name: str = "fake:constant", index: FolderIndex | None = None) -> Predictor:
    return module.load_predictor(name, None, "letter", open_guards(), NoProgress(), index=index)


def reader(run: Path, index_hash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model's card, in a run's folder, say that it reads passages."""
    book = RetrievalConfig(kind="shared")
    asked = PromptDefaults(PromptStyle(), "letter", "tuned", book, index_hash)
    monkeypatch.setattr(module, "resolve_prompt_defaults", lambda _: asked)
    monkeypatch.setattr(module, "find_card_folder", lambda _: run / "adapter")


def test_a_search_model_has_its_own_passages_unless_others_are_named(index: FolderIndex) -> None:
    found = load(f"search:{index.folder}")
    assert found.index is not None
    assert found.index.manifest == index.manifest
    assert found.open_book is None
    assert load().index is None
    assert load(index=index).index is index


def test_a_reader_gets_the_passages_of_its_training(
    index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader(index.folder.parent, index.manifest.hash, monkeypatch)
    opened: dict[str, Any] = {}
    monkeypatch.setattr(
        module, "open_model", lambda *name, **how: opened.update(how) or open_model(*name, **how)
    )
    found = load()
    assert opened["retrieval"].kind == "shared", "or weights trained open book refuse the prompt"
    assert found.index is not None
    assert found.open_book is not None
    assert found.open_book.index is found.index
    assert found.index.manifest == index.manifest


@pytest.mark.parametrize(
    ("run", "reason"), [("empty", "no index is beside it"), (".", "index is another index")]
)
def test_a_reader_without_its_index_is_refused(
    index: FolderIndex, run: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader(index.folder.parent / run, "0" * 64, monkeypatch)
    with pytest.raises(RetrievalError, match=reason):
        load()
    assert load(index=index).open_book is not None  # another one may be named
