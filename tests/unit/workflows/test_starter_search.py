"""The default model: built once, calibrated without its own passages, rebuilt if it was changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtune.cli.options import DEFAULT_MODEL
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.core.schemas.guardrails import Inquiry
from medtune.guardrails.policy import load_policy
from medtune.retrieval.index import PASSAGES_FILE
from medtune.serving.inference.predictor import is_withheld
from medtune.workflows.load_predictor import load_predictor
from medtune.workflows.open_guards import open_guards
from medtune.workflows.starter_search import STARTER_SEARCH, open_starter_search


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDTUNE_CACHE", str(tmp_path))
    return tmp_path / "starter-index"


def test_it_is_built_once_and_again_where_it_was_changed(folder: Path) -> None:
    model, calibration = open_starter_search(load_policy(), NoProgress())
    before = (folder / "manifest.json").stat().st_mtime_ns
    again, kept = open_starter_search(load_policy(), NoProgress())
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    assert kept == calibration
    assert again.describe() == model.describe()
    (folder / PASSAGES_FILE).write_bytes(b"changed")
    mended, _ = open_starter_search(load_policy(), NoProgress())
    assert mended.describe() == model.describe()
    assert mended.index.passage(0).id == "train-anatomy-01"


def test_its_confidence_is_that_of_a_question_without_a_passage(folder: Path) -> None:
    _, calibration = open_starter_search(load_policy(), NoProgress())
    # Without its own passage no question is answered better than by chance, so none is trusted.
    assert calibration.n == 320
    assert calibration.accuracy is not None
    assert calibration.accuracy.high < 0.25
    assert calibration.threshold is None
    assert len(calibration.subjects) == 20


@pytest.mark.parametrize(
    ("stem", "options", "chosen", "reason", "passage"),
    [
        (
            "Which nerve runs in the spiral groove of the humerus?",
            ("Ulnar nerve", "Median nerve", "Radial nerve"),
            2, "confidence.evidence", "train-anatomy-01",
        ),
        # No fact of the starter questions says which drug it is.
        (
            "Which drug is given first in anaphylaxis?",
            ("Atropine", "Adrenaline", "Hydrocortisone", "Salbutamol"),
            None, "confidence.low", None,
        ),
        # The fact is there, and its negation is not.
        (
            "Which nerve does NOT run in the spiral groove of the humerus?",
            ("Ulnar nerve", "Median nerve", "Radial nerve"),
            None, "confidence.low", None,
        ),
        ("どの神経ですか", ("尺骨神経", "橈骨神経"), None, "confidence.low", None),
    ],
)  # fmt: skip
def test_it_answers_what_a_passage_decides_and_nothing_else(
    folder: Path,
    stem: str,
    options: tuple[str, ...],
    chosen: int | None,
    reason: str,
    passage: str | None,
) -> None:
    predictor = load_predictor(STARTER_SEARCH, None, None, open_guards(), NoProgress())
    question = Question(id="q", stem=stem, options=options, answer=None)
    (scores,) = predictor.predict([question])
    verdicts = predictor.apply_answer_guards(Inquiry(stem=stem, options=options), scores)
    assert is_withheld(verdicts) is (chosen is None)
    assert reason in {verdict.reason for verdict in verdicts}
    assert scores.evidence is not None
    if chosen is not None:
        assert scores.chosen == chosen
        assert [shown.id for shown in scores.evidence.passages] == [passage]


def test_the_command_line_names_it() -> None:
    assert DEFAULT_MODEL == STARTER_SEARCH
