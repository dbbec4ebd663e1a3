from __future__ import annotations

from pathlib import Path

import pytest

from medtune.core.errors import FolderError
from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.core.records import Question, SplitDescription
from medtune.retrieval.evidence import EvidenceFinder, Passages
from medtune.retrieval.index import build_index
from medtune.retrieval.schema import Passage
from medtune.training.passages import (
    TrainingPassages,
    hash_training_passages,
    write_training_passages,
)

DATA = SplitDescription(source="a.csv", n=2, excluded={}, hash="d" * 64)
ASKED = Question(id="q1", stem="Which?", options=("red", "blue", "green"), answer=1)
OTHER = Question(id="q2", stem="Who?", options=("he", "she"), answer=0)
FOUND: dict[Question, Passages] = {
    ASKED: (("of red", "and more"), (), ("of green",)),
    OTHER: (("of him",), ("of her",)),
}


@pytest.fixture
def evidence(tmp_path: Path) -> EvidenceFinder:
    passages = [Passage(id="1", text="red is a colour", source="a.txt")]
    index = build_index(passages, [], tmp_path / "index", "none", NoProgress())
    return EvidenceFinder(index, RetrievalConfig(kind="per-option", passages=2))


@pytest.fixture
def path(tmp_path: Path, evidence: EvidenceFinder) -> Path:
    inputs = hash_training_passages(evidence, DATA)
    write_training_passages(tmp_path / "passages.arrow", inputs, FOUND.items())
    return tmp_path / "passages.arrow"


def test_passages_are_read_as_they_were_written(path: Path, evidence: EvidenceFinder) -> None:
    found = TrainingPassages.read(path, evidence, DATA)
    assert found is not None
    assert found.index_hash == evidence.index.manifest.hash
    assert {question: found.find(question) for question in FOUND} == FOUND


def test_an_option_keeps_its_passages_wherever_it_is_shown(
    path: Path, evidence: EvidenceFinder
) -> None:
    found = TrainingPassages.read(path, evidence, DATA)
    assert found is not None
    shown = ASKED.permute_options((2, 0, 1))
    assert found.find(shown) == (("of green",), ("of red", "and more"), ())


def test_passages_of_other_inputs_are_not_read(path: Path, evidence: EvidenceFinder) -> None:
    others = [
        (evidence, DATA.model_copy(update={"hash": "e" * 64})),
        (EvidenceFinder(evidence.index, RetrievalConfig(kind="shared", passages=2)), DATA),
        (EvidenceFinder(evidence.index, evidence.settings, frozenset([0])), DATA),
    ]
    for finder, data in others:
        assert TrainingPassages.read(path, finder, data) is None
    # The folder of the index is no input.
    moved = evidence.settings.model_copy(update={"index": "elsewhere"})
    assert TrainingPassages.read(path, EvidenceFinder(evidence.index, moved), DATA) is not None


@pytest.mark.parametrize("content", [None, b"", b"no table"])
def test_a_missing_or_damaged_file_is_written_again(
    path: Path, evidence: EvidenceFinder, content: bytes | None
) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert TrainingPassages.read(path, evidence, DATA) is None


def test_a_file_that_was_cut_short_is_written_again(path: Path, evidence: EvidenceFinder) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert TrainingPassages.read(path, evidence, DATA) is None


def test_a_search_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> object:
        yield ASKED, FOUND[ASKED]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_training_passages(tmp_path / "passages.arrow", "", interrupted())  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderError, match="file"):
        write_training_passages(tmp_path / "file" / "passages.arrow", "", FOUND.items())
