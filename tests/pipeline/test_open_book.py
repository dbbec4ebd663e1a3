from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine
from tests.unit.retrieval.indexes import index_of, text_passage

from medtune.core.choice import choose_option
from medtune.core.experiment import DataConfig, RetrievalConfig
from medtune.core.intervals import wilson_interval
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.data.snapshot import prepare_snapshot
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.evaluation.score import score_options
from medtune.models.fake import FakeModel
from medtune.models.search_model import SearchModel
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import FolderIndex
from medtune.retrieval.option_features import PLAIN_FEATURES, search_options
from medtune.retrieval.scorer import fit_option_scorer
from medtune.workflows.leaks import LeakFinder
from medtune.workflows.search_reference import find_train_index, search_without_leaks

TRAIN, ASKED = "starter:train", "starter:recall"


def questions(source: str) -> list[Question]:
    return list(load_split(source, for_training=True).questions)


def predictions(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the train split, and of two questions that are evaluated."""
    folder = tmp_path_factory.mktemp("index") / "ix"
    leaking = [q.model_copy(update={"id": f"leak-{q.id}"}) for q in questions(ASKED)[:2]]
    index_of(folder, [*questions(TRAIN), *leaking])
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "ix")
    return Path("ix")


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the questions of every search for leaks."""
    asked: list[int] = []
    find = LeakFinder.find_nearest

    def watched(self: Any, question: Question) -> Any:
        asked.append(1)
        return find(self, question)

    monkeypatch.setattr(LeakFinder, "find_nearest", watched)
    return asked


# A search as a model


def by_hand(folder: Path) -> list[bool]:
    """Answer by the best passage of each option, without those that leak."""
    index = SearchModel.open(f"search:{folder}").index
    leaking = {320, 321}
    right = []
    for question in questions(ASKED):
        found = search_options(index, question.stem, question.options, excluded=leaking)
        scores = found[:, 0].tolist()
        right.append(choose_option(scores, question.stem, question.options) == question.answer)
    return right


def test_a_search_is_evaluated_without_the_passages_that_leak(
    medtune: CommandLine, index: Path, tmp_path: Path, searches: list[int]
) -> None:
    asked = ("evaluate", f"search:{index}", ASKED, "--out", "e")
    found = medtune.record(*asked)
    right = by_hand(index)
    assert found["counts"]["correct"] == sum(right)
    book = found["open_book"]
    assert (book["kind"], book["left_out"], book["passages"]) == ("search", 2, 320)
    assert (book["cut"], book["without"], book["words"], found["search"]) == (0, 0, None, None)
    lines = predictions(tmp_path / "e")
    assert [line["outcome"] == "correct" for line in lines] == right
    similar = sorted(lines, key=lambda line: (line.get("similarity", 0.0), line["id"]))
    rest = sum(line["outcome"] == "correct" for line in similar[:72])
    assert book["less_similar"] == wilson_interval(rest, 72).model_dump()
    # What leaks is left out of the similarity as well.
    assert max(line.get("similarity", 0.0) for line in lines) < 1
    # Found again, without a search.
    searches.clear()
    written = (tmp_path / "e" / "record.json").stat().st_mtime_ns
    assert medtune.record(*asked) == found
    assert (searches, (tmp_path / "e" / "record.json").stat().st_mtime_ns) == ([], written)


def test_every_method_answers_alike(medtune: CommandLine, index: Path) -> None:
    asked = ("evaluate", f"search:{index}", ASKED)
    ways: list[tuple[str, ...]] = [
        ("--method", "letter"),
        ("--method", "cloze"),
        ("--method", "generate", "--constrained"),
        ("--method", "letter", "--orders", "cyclic"),
    ]
    found = [medtune.record(*asked, *way) for way in ways]
    assert {record["counts"]["correct"] for record in found} == {sum(by_hand(index))}
    assert {record["open_book"]["left_out"] for record in found} == {2}
    free = medtune.record(*asked, "--method", "generate")
    assert free["counts"]["unparsed"] <= 2
    assert free["counts"]["correct"] <= sum(by_hand(index))


def test_a_search_calibrates_a_search(medtune: CommandLine, index: Path) -> None:
    search = f"search:{index}"
    medtune.record("evaluate", search, ASKED, "--out", "e")
    # Other passages leak other questions: it is the same model.
    medtune.record("evaluate", search, "starter:transfer", "--out", "calibration")
    found = medtune.record("analyze", "e", "--calibration", "calibration")
    assert found["selective"]["temperature"] > 0
    assert found["similarity"]["less_similar"] == found["evaluation"]["open_book"]["less_similar"]
    assert sum(part["accuracy"]["n"] for part in found["similarity"]["bins"]) == 80


def test_a_perturbed_search_still_leaves_leaks_out(medtune: CommandLine, index: Path) -> None:
    found = medtune.record("evaluate", f"search:{index}", ASKED, "--variant", "none-of-the-above")
    assert (found["open_book"], found["search"]) == (None, None)
    assert found["accuracy"]["value"] < 1


# A search as a baseline


def test_a_model_is_paired_with_the_search(
    medtune: CommandLine, index: Path, tmp_path: Path, searches: list[int]
) -> None:
    asked = ("evaluate", "fake:noisy", ASKED, "--out", "e")
    closed = medtune.record(*asked)
    assert (closed["search"], closed["open_book"]) == (None, None)
    # The answers stay valid: the search is added.
    found = medtune.record(*asked, "--search", index)
    assert found["inputs"] == closed["inputs"]
    searched = found["search"]
    right, answers = by_hand(index), predictions(tmp_path / "e")
    pairs = [(a["outcome"] == "correct", b) for a, b in zip(answers, right, strict=True)]
    assert searched["only_model"] == pairs.count((True, False))
    assert searched["only_search"] == pairs.count((False, True))
    assert searched["accuracy"] == wilson_interval(sum(right), 80).model_dump()
    assert searched["passages"] == 320
    assert found["open_book"] is None
    assert all("similarity" in line for line in answers)
    searches.clear()
    assert medtune.record(*asked, "--search", index) == found
    assert medtune.record(*asked) == found
    assert searches == []
    code, out, _ = medtune(*asked)
    assert code == 0
    said = " ".join(out.split())
    assert "! fake:noisy on starter:recall, letter: the model does not beat a text search" in said
    oracle = medtune("evaluate", "fake:oracle", ASKED, "--search", index)[1]
    assert "the model beats a text search in the training questions: 100.0 against" in " ".join(
        oracle.split()
    )


def test_another_index_or_another_scorer_is_searched_again(
    medtune: CommandLine, index: Path, tmp_path: Path, searches: list[int]
) -> None:
    asked = ("evaluate", "fake:noisy", ASKED, "--out", "e", "--search")
    first = medtune.record(*asked, index)["search"]
    index_of(tmp_path / "half", questions(TRAIN)[::2])
    searches.clear()
    other = medtune.record(*asked, "half")["search"]
    assert len(searches) == 80
    assert (other["passages"], other["index"] != first["index"]) == (160, True)
    model = SearchModel.open(f"search:{index}")
    some = questions("starter:transfer")
    features = [search_options(model.index, q.stem, q.options, PLAIN_FEATURES) for q in some]
    scorer = fit_option_scorer(
        features, [q.answer or 0 for q in some], [False] * 80, PLAIN_FEATURES, "starter:transfer"
    )
    FolderIndex.open(index).write_scorer(scorer)
    searches.clear()
    fitted = medtune.record(*asked, index)["search"]
    assert len(searches) == 80
    assert fitted["index"] == first["index"]
    assert fitted["fingerprint"] != first["fingerprint"]


# An index beside a snapshot


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    prepare_snapshot(DataConfig(), 17, folder / "data", NoProgress())
    train = load_split(f"snapshot:{folder / 'data'}:train", for_training=True).questions
    index_of(folder / "index", train)
    return folder


def test_the_index_of_a_snapshots_train_split_is_used_unnamed(
    medtune: CommandLine, run: Path
) -> None:
    data = f"snapshot:{run / 'data'}:starter-recall"
    found = medtune.record("evaluate", "fake:noisy", data)
    named = medtune.record("evaluate", "fake:noisy", data, "--search", run / "index", "--out", "n")
    assert found["search"] == named["search"]
    assert found["search"] is not None
    open_ = medtune.record("evaluate", "fake:noisy", data, "--retrieval", "shared")
    assert open_["open_book"]["index"] == found["search"]["index"]


def moved(run: Path, to: Path) -> Path:
    """Copy a run, with its index in the snapshot's folder."""
    shutil.copytree(run, to)
    shutil.move(to / "index", to / "data" / "index")
    return to


def other_order(run: Path, to: Path) -> Path:
    shutil.copytree(run / "data", to / "data")
    train = load_split(f"snapshot:{run / 'data'}:train", for_training=True).questions
    index_of(to / "index", list(train)[::-1])
    return to


def other_size(run: Path, to: Path) -> Path:
    shutil.copytree(run / "data", to / "data")
    index_of(to / "index", questions(TRAIN)[:50])
    return to


@pytest.mark.parametrize(
    ("make", "place"), [(moved, "data/index"), (other_order, None), (other_size, None)]
)
def test_only_the_train_splits_own_index_is_found(
    run: Path, tmp_path: Path, make: Callable[[Path, Path], Path], place: str | None
) -> None:
    folder = make(run, tmp_path / "run")
    found = find_train_index(f"snapshot:{folder / 'data'}:starter-recall", NoProgress())
    assert found == (folder / place if place is not None else None)


def test_train_itself_and_other_sources_have_none(run: Path) -> None:
    assert find_train_index(f"snapshot:{run / 'data'}:train", NoProgress()) is None
    assert find_train_index(ASKED, NoProgress()) is None
    assert find_train_index(f"snapshot:{run / 'data'}", NoProgress()) == run / "index"


# Passages in the prompt


@pytest.mark.parametrize("method", ["letter", "cloze"])
@pytest.mark.parametrize("kind", ["per-option", "shared"])
def test_an_open_book_is_recorded(
    medtune: CommandLine, index: Path, kind: str, method: str, searches: list[int]
) -> None:
    asked = ("evaluate", "fake:noisy", ASKED, "--search", index, "--method", method)
    how = ("--retrieval", kind, "--passages", 2, "--words", 12)
    found = medtune.record(*asked, *how)
    book = found["open_book"]
    assert (book["kind"], book["passages"], book["words"]) == (kind, 2, 12)
    assert (book["left_out"], book["without"]) == (2, 0)
    assert book["cut"] > 0
    assert book["less_similar"]["n"] == 72
    assert found["search"]["accuracy"]["n"] == 80
    closed = medtune.record(*asked)
    assert closed["inputs"] != found["inputs"]
    assert closed["prompt_hash"] != found["prompt_hash"]
    searches.clear()
    assert medtune.record(*asked, *how) == found
    assert searches == []
    _, out, _ = medtune(*asked, *how)
    said = " ".join(out.split())
    assert f"12 words for {'each option' if kind == 'per-option' else 'all options'}" in said
    assert "without the most similar tenth of the questions" in said
    assert medtune.record(*asked, "--retrieval", "none")["inputs"] == closed["inputs"]


def test_a_leaking_passage_is_never_read(
    medtune: CommandLine, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []
    score = FakeModel.score

    def watched(self: FakeModel, requests: Any) -> Any:
        prompts.extend(r.messages[-1].content for r in requests)
        return score(self, requests)

    monkeypatch.setattr(FakeModel, "score", watched)
    medtune.record(
        *("evaluate", "fake:noisy", ASKED, "--search", index, "--retrieval", "per-option"),
        *("--passages", 3, "--words", 200, "--options-only", 0),
    )
    assert len(prompts) == 4 * 80
    for question in questions(ASKED)[:2]:
        assert not any(f"Reference: {question.stem}" in prompt for prompt in prompts)


def test_counts_are_facts_of_the_questions_after_an_interruption(
    medtune: CommandLine, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_of(tmp_path / "ix", questions("starter:transfer"))
    asked = (
        *("evaluate", "fake:noisy", TRAIN, "--search", "ix", "--retrieval", "shared"),
        *("--words", "10", "--options-only", "0"),
    )
    whole = medtune.record(*asked, "--out", "whole")["open_book"]
    assert whole["cut"] > 256
    score, calls = FakeModel.score, []

    def interrupted(self: FakeModel, requests: Any) -> Any:
        calls.append(len(requests))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(self, requests)

    with monkeypatch.context() as patch:
        patch.setattr(FakeModel, "score", interrupted)
        assert medtune(*asked, "--out", "e")[0] == 130
    found = medtune.record(*asked, "--out", "e")
    assert found["resumed_at"] == 256
    assert found["open_book"] == whole


def test_a_question_that_finds_nothing_is_asked_without_a_passage(
    medtune: CommandLine, tmp_path: Path
) -> None:
    index_of(tmp_path / "ix", [text_passage("p", "Xylophone quartet")])
    asked = ("evaluate", "fake:noisy", ASKED, "--search", "ix")
    found = medtune.record(*asked, "--retrieval", "per-option")
    assert found["open_book"]["without"] == 80
    assert (found["open_book"]["cut"], found["open_book"]["left_out"]) == (0, 0)
    closed = medtune.record(*asked)
    assert closed["counts"] == found["counts"]
    assert closed["search"]["accuracy"]["n"] == 80


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (
            "fake:noisy",
            "--search ix --retrieval per-option --method generate",
            "--retrieval per-option with --method generate",
        ),
        ("search:ix", "--retrieval shared", "--retrieval shared with search:ix"),
        ("search:ix", "--search ix", "--search ix with search:ix"),
        ("fake:noisy", "--retrieval per-option", "--retrieval per-option without an index"),
        ("fake:noisy", "--search ix --passages 2", "--passages 2 without passages in the prompt"),
        (
            "fake:noisy",
            "--search ix --words 9 --retrieval none",
            "--words 9 without passages in the prompt",
        ),
        (
            "fake:noisy",
            "--search ix --retrieval shared --variant option-injection",
            "--retrieval shared with --variant option-injection",
        ),
        ("fake:noisy", "--search nowhere", "nowhere holds no passage index"),
        ("search:nowhere", "", "nowhere holds no passage index"),
    ],
)
def test_what_does_not_go_together_is_refused(
    medtune: CommandLine, index: Path, model: str, options: str, words: str
) -> None:
    code, out, err = medtune("evaluate", model, ASKED, *options.split(), "--json")
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert not Path("runs").exists()


def test_an_index_that_was_changed_is_refused_and_costs_no_result(
    medtune: CommandLine, index: Path, tmp_path: Path
) -> None:
    asked = ("evaluate", "fake:noisy", ASKED, "--out", "e", "--search", index)
    found = medtune.record(*asked)
    with (index / "passages.arrow").open("ab") as file:
        file.write(b" ")
    code, out, err = medtune(*asked, "--json")
    assert (code, out) == (2, "")
    assert "passages.arrow was changed" in err
    assert medtune.record("evaluate", "fake:noisy", ASKED, "--out", "e") == found


# The search for leaks


def test_the_search_answers_as_the_model_without_leaks(index: Path, medtune: CommandLine) -> None:
    asked = questions(ASKED)
    whole = SearchModel.open(f"search:{index}")
    found = search_without_leaks(whole, asked, NoProgress())
    assert found.excluded == {320, 321}
    assert (found.reference.left_out, found.reference.passages) == (2, 322)
    assert list(found.reference.right) == by_hand(index)
    assert found.reference.fingerprint == whole.describe().fingerprint
    # With the leaks, the two questions are given away.
    given = score_options(whole, PromptStyle(), "letter", asked[:2])
    assert [p.index(max(p)) for p, _ in given] == [q.answer for q in asked[:2]]


def test_the_terminal_shows_the_bins_beside_the_less_similar_questions(
    medtune: CommandLine, index: Path
) -> None:
    found = medtune.record("evaluate", f"search:{index}", ASKED, "--out", "e")
    code, out, _ = medtune("analyze", "e")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert sum("of the words shared" in line for line in lines) > 3
    assert any("by similarity to the nearest passage" in line for line in lines)
    rest = found["open_book"]["less_similar"]
    (last,) = (line for line in lines if line.startswith("without the most similar tenth"))
    assert last.startswith(f"without the most similar tenth 72 {100 * rest['value']:.1f} %")
    _, table, _ = medtune("evaluate", f"search:{index}", ASKED, "--out", "e")
    assert f"{100 * rest['value']:.1f} {100 * rest['low']:.1f}-" in " ".join(table.split())
    medtune("evaluate", "fake:noisy", ASKED, "--out", "closed")
    _, said, _ = medtune("compare", "closed", "e")
    assert "without the most similar tenth of the questions" in " ".join(said.split())
    assert "nearest passage" not in medtune("analyze", "closed")[1]


def test_a_reused_evaluation_is_not_counted_again(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = load_split(ASKED)
    search = SearchModel.open(f"search:{built}")
    found = search_without_leaks(search, split.questions, NoProgress())
    settings = RetrievalConfig(kind="per-option", words=10)
    exam = replace(
        Exam.for_likelihood(split.questions, split.description, PromptStyle(), "letter"),
        search=found.reference,
        evidence=EvidenceFinder(search.index, settings, found.excluded),
    )
    model = FakeModel("noisy", {})
    first, answers = evaluate_or_reuse(
        model, exam, "n", STRICT_PARSER, tmp_path / "e", NoProgress()
    )
    assert first.open_book is not None
    assert first.open_book.cut > 80
    assert all(p.similarity is not None for p in answers)
    monkeypatch.setattr(EvidenceFinder, "count", None)
    again, _ = evaluate_or_reuse(model, exam, "n", STRICT_PARSER, tmp_path / "e", NoProgress())
    assert again == first
    # More leaks: the passages differ, and are counted anew.
    monkeypatch.undo()
    more = replace(found.reference, left_out=3)
    other, _ = evaluate_or_reuse(
        model, replace(exam, search=more), "n", STRICT_PARSER, tmp_path / "e", NoProgress()
    )
    assert other.open_book == first.open_book.model_copy(update={"left_out": 3})
