"""The open-book study on fakes and an index of the starter set."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine
from tests.unit.retrieval.test_dense import PASSAGES, SOURCES, MeaningEncoder

from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.data.load import load_split
from medtune.models.open_model import open_model
from medtune.retrieval.dense import build_hybrid_index
from medtune.retrieval.index import build_index
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import PassageSource

STUDY = ("study", "open-book", "fake:noisy", "starter:recall", "--limit", 20, "--index", "index")
SMALL = (*STUDY, "--passages", "2", "--shares", "50,100", "--out", "o")


@pytest.fixture
def indexed(medtune: CommandLine, tmp_path: Path) -> CommandLine:
    """Index the train split and a fifth of the evaluated questions, which leak."""
    questions = [
        *load_split("starter:train", for_training=True).questions,
        *load_split("starter:recall").questions[:4],
    ]
    passages = passages_from_questions(questions, "starter:train", None)
    source = PassageSource(source="starter:train", licence=None, passages=len(passages))
    build_index(passages, [source], tmp_path / "index", "english", NoProgress())
    return medtune


def test_the_study_is_whole_resumable_and_leaves_leaks_out(
    indexed: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: dict[str, Any] = {}
    monkeypatch.setattr(
        "medtune.studies.open_book.study.open_model",
        lambda *name, **how: opened.update(how) or open_model(*name, **how),
    )
    record = indexed.record(*SMALL)
    # Closed on purpose, or weights that were trained open book refuse to be asked.
    assert opened["retrieval"] == RetrievalConfig()
    assert record["kind"] == "open-book"
    # The search in two shares; closed book; two kinds of prompt in two shares.
    settings = [point["setting"] for point in record["points"]]
    assert [(s["kind"], s["passages"], s["share"]) for s in settings] == [
        ("search", 0, 50),
        ("search", 0, 100),
        ("closed", 0, None),
        ("per-option", 2, 50),
        ("shared", 2, 50),
        ("per-option", 2, 100),
        ("shared", 2, 100),
    ]
    assert record["shares"]["100.0"] >= 4
    assert record["shares"]["50.0"] < record["shares"]["100.0"]
    search, closed, shared = record["points"][1], record["points"][2], record["points"][6]
    assert search["indexed"] == record["passages"] - record["shares"]["100.0"]
    assert search["over_closed"] is closed["over_closed"] is None
    # The fake reads no passage: behind shared ones it answers as by closed book.
    assert shared["over_closed"]["value"] == 0
    gap = shared["accuracy"]["value"] - search["accuracy"]["value"]
    assert shared["over_search"]["value"] == pytest.approx(gap)
    assert shared["less_similar"]["n"] == 18
    assert "The best of 4 open-book settings, fake:noisy with 2 passages" in record["verdict"]
    searched = json.loads(Path("o/cells/search-100-percent/record.json").read_bytes())
    read = json.loads(Path("o/cells/model1-shared-2-100-percent/record.json").read_bytes())
    assert read["search"]["fingerprint"] == searched["model"]["fingerprint"]
    page = unescape(Path("o/open-book.html").read_text(encoding="utf-8"))
    assert record["verdict"] in page
    assert page.count("<svg") == 1

    cells = {path: path.stat().st_mtime_ns for path in Path("o/cells").glob("*/cell.json")}
    assert len(cells) == 7
    torn = Path("o/cells/model1-closed/cell.json")
    torn.unlink()
    code, out, err = indexed(*SMALL)
    assert code == 0
    assert record["verdict"].split(":")[0][:60] in out
    assert "leaks" not in err  # the searches were kept as well
    after = {path: path.stat().st_mtime_ns for path in Path("o/cells").glob("*/cell.json")}
    assert {path for path in cells if after[path] != cells[path]} == {torn}


def test_shards_add_up_to_the_study_of_one(indexed: CommandLine) -> None:
    whole = indexed.record(*SMALL)
    first = indexed.record(*SMALL[:-1], "p", "--shard", "1/2")
    assert (first["kind"], first["cells"], first["done"]) == ("grid", 7, 4)
    last = indexed.record(*SMALL[:-1], "p", "--shard", "2/2")
    assert last["points"] == whole["points"]


def test_two_models_in_two_workers(indexed: CommandLine) -> None:
    record = indexed.record(
        *("study", "open-book", "fake:noisy", "fake:oracle", "starter:recall", "--limit", 12),
        *("--index", "index", "--passages", "1", "--shares", "100", "--workers", 2, "--out", "o"),
    )
    assert list(record["models"]) == ["fake:noisy", "fake:oracle"]
    best = record["points"][-1]
    assert best["setting"]["model"] == "fake:oracle"
    assert best["accuracy"]["value"] == 1.0
    assert best["over_search"]["value"] > 0
    assert "not detectably different from its closed book" in record["verdict"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--passages", "0,1"), "1 to 10 passages"),
        (("--passages", "1,1"), "each once"),
        (("--shares", "0"), "above 0 and at most 100"),
        (("--shares", "10,x"), "numbers, such as 10,100"),
        (("--method", "generate"), "letter or cloze"),
    ],
)
def test_settings_that_cannot_be_studied(
    indexed: CommandLine, more: tuple[str, ...], said: str
) -> None:
    code, _, err = indexed(*STUDY, *more)
    assert code == 2
    assert said in err


def test_an_index_that_is_none_is_refused(medtune: CommandLine) -> None:
    code, _, err = medtune(*STUDY)
    assert code == 2
    assert "index holds no passage index" in err


def test_a_share_of_an_index_with_vectors_is_refused(
    medtune: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, encoder = tmp_path / "index", MeaningEncoder()
    index = build_hybrid_index(PASSAGES, SOURCES, folder, "english", encoder, NoProgress())
    monkeypatch.setattr("medtune.models.search_model.open_index", lambda _: index)
    code, _, err = medtune(*STUDY, "--shares", "50", "--out", "o")
    assert code == 2
    assert "index has vectors" in err
