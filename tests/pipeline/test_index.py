"""Indexes of passages from the command line: questions, texts, leaks, scorers."""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import CommandLine

from medtune.core.experiment import DataConfig
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.data.load import load_split
from medtune.data.snapshot import prepare_snapshot
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.retrieval.index import FolderIndex
from medtune.retrieval.option_features import ALL_FEATURES, search_options
from medtune.workflows import build_index as workflow
from medtune.workflows.leaks import LeakFinder, passage_question

# Every question has a paraphrase with other options, so that passages carry over.
FACTS = [
    (
        f"Which substance number {n} relieves sickness{n} in the {place}?",
        f"Sickness{n} of the {place} is best relieved by which of these remedies?",
        f"remedy{n}",
    )
    for n in range(24)
    for place in ("liver",)
]


def write_questions(path: Path, wording: int, names: str) -> None:
    """Write one wording of every fact as a file of questions."""
    rows = []
    for n, fact in enumerate(FACTS):
        wrong = [f"remedy{(n + k * (3 + wording)) % 24}" for k in range(1, 4)]
        options = [*wrong[: n % 4], fact[2], *wrong[n % 4 :]]
        rows.append(
            {
                "id": f"{names}-{n}",
                "question": fact[wording],
                **dict(zip(("opa", "opb", "opc", "opd"), options, strict=True)),
                "cop": n % 4,
                "exp": f"It is known that {fact[2]} cures sickness{n}.",
            }
        )
    path.write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    write_questions(tmp_path / "train.jsonl", 0, "t")
    write_questions(tmp_path / "other.jsonl", 1, "o")
    return tmp_path


def sources(record: dict[str, object]) -> list[dict[str, object]]:
    manifest = record["manifest"]
    assert isinstance(manifest, dict)
    found: list[dict[str, object]] = manifest["sources"]
    return found


# Questions


def test_an_index_of_the_starter_is_built_described_and_reused(medtune: CommandLine) -> None:
    code, out, err = medtune("index", "build", "starter:train", "--out", "ix")
    assert code == 0, err
    assert "starter:train  Apache-2.0       320" in out
    assert "index: 640/640" in err
    # No starter question states another's fact: there is no temperature above zero.
    assert "no scorer (what passages support is mostly wrong for" in err
    assert "not calibrated" in out
    before = (Path("ix") / "manifest.json").read_bytes()
    code, _, err = medtune("index", "build", "starter", "--out", "ix")
    assert code == 0
    assert "still valid" in err
    assert (Path("ix") / "manifest.json").read_bytes() == before
    code, out, _ = medtune("index", "info", "ix", "--query", "scurvy")
    assert code == 0
    assert "Answer: Ascorbic acid" in out
    assert "starter:train, Apache-2.0" in out
    code, out, _ = medtune("index", "info", "ix", "--query", "Skorbut")
    assert code == 0
    assert "no passage shares a word with the query" in out


def test_the_scorer_is_fitted_on_a_given_split(medtune: CommandLine, questions: Path) -> None:
    given = ("index", "build", "train.jsonl", "--out", "ix", "--calibration", "other.jsonl")
    record = medtune.record(*given, "--licence", "CC0-1.0")
    assert sources(record) == [
        {"source": "file:train.jsonl", "licence": "CC0-1.0", "passages": 24, "left_out": {}}
    ]
    scorer = record["scorer"]
    assert scorer["features"] == ["best"]
    assert scorer["weights"][0] > 0
    assert (scorer["source"], scorer["n"]) == ("file:other.jsonl", 24)
    assert scorer["index"] == record["manifest"]["hash"]
    assert record["written"] == {"index": "ix"}
    shown = medtune("index", "info", "ix")[1]
    assert "scorer: temperature " in shown
    assert "fitted on 24 questions of file:other.jsonl" in shown
    found = medtune.record("evaluate", "search:ix", "other.jsonl")
    assert found["accuracy"]["value"] == 1.0


def test_the_same_scorer_is_not_fitted_again_and_another_is(
    medtune: CommandLine, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("index", "build", "train.jsonl", "--out", "ix", "--calibration", "other.jsonl")
    first = medtune.record(*given)["scorer"]
    weighted = medtune.record(*given, "--weights")["scorer"]
    assert weighted["features"] == list(ALL_FEATURES)
    assert len(weighted["weights"]) == 2 * len(ALL_FEATURES)
    assert weighted["inputs"] != first["inputs"]

    def refit(*_: object) -> None:
        raise AssertionError("it is fitted again")

    monkeypatch.setattr(workflow, "fit_option_scorer", refit)
    assert medtune.record(*given, "--weights")["scorer"] == weighted
    with pytest.raises(AssertionError, match="fitted again"):
        workflow.fit_index_scorer(
            FolderIndex.open(Path("ix")), "other.jsonl", weights=False, progress=NoProgress()
        )


def test_a_scorer_of_the_indexs_own_questions_sees_none_of_them(
    questions: Path, monkeypatch: pytest.MonkeyPatch, medtune: CommandLine
) -> None:
    lines = (questions / "train.jsonl").read_text() + "\n" + (questions / "other.jsonl").read_text()
    twin = json.loads(lines.splitlines()[0]) | {"id": "twin"}
    (questions / "both.jsonl").write_text(f"{lines}\n{json.dumps(twin)}")
    seen: list[tuple[str, set[str]]] = []

    def spy(index: FolderIndex, stem: str, *others: object) -> object:
        seen.append((stem, {index.passage(row).id for row in others[-1]}))  # type: ignore[attr-defined]
        return search_options(index, stem, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(workflow, "search_options", spy)
    record = medtune.record("index", "build", "both.jsonl", "--out", "ix")
    assert len(seen) == 49
    by_id = {q.id: q for q in load_split("both.jsonl", for_training=True).questions}
    for stem, excluded in seen:
        own = {name for name, question in by_id.items() if question.stem == stem}
        assert own <= excluded  # itself, and its twin
    assert {"t-0", "twin"} in [excluded for _, excluded in seen]
    assert record["scorer"]["source"] == "the index itself, leave-one-out"
    assert record["scorer"]["accuracy"]["value"] > 0.9  # the other wording answers


def test_a_scorer_that_no_longer_fits_is_removed(medtune: CommandLine, questions: Path) -> None:
    given = ("index", "build", "train.jsonl", "--out", "ix")
    medtune.record(*given, "--calibration", "other.jsonl")
    wrong = [
        json.loads(line) | {"cop": (json.loads(line)["cop"] + 1) % 4}
        for line in (questions / "other.jsonl").read_text().splitlines()
    ]
    (questions / "wrong.jsonl").write_text("\n".join(map(json.dumps, wrong)))
    assert medtune.record(*given, "--calibration", "wrong.jsonl")["scorer"] is None
    assert not (questions / "ix" / "scorer.json").exists()


def test_a_snapshot_gives_its_train_split_and_its_calibration_split(
    medtune: CommandLine, tmp_path: Path
) -> None:
    data = DataConfig(validation_size=20, calibration_size=40)
    manifest = prepare_snapshot(data, 17, tmp_path / "run" / "data", NoProgress()).manifest
    train = manifest.train_split.description
    for name in ("snapshot:run/data", "snapshot:run/data:train", "run/data", "run"):
        record = medtune.record("index", "build", name, "--out", "ix")
        assert sources(record) == [
            {
                "source": train.source,
                "licence": "Apache-2.0",
                "passages": train.n,
                "left_out": {},
            }
        ]
    ids = {q.id for q in load_split("snapshot:run/data:train", for_training=True).questions}
    index = FolderIndex.open(tmp_path / "ix")
    assert {index.passage(row).id for row in range(train.n)} == ids
    content = workflow.read_index_content("run", NoProgress())
    assert content.calibration == "snapshot:run/data:calibration"


def test_what_is_evaluated_is_left_out_with_its_count(
    medtune: CommandLine, questions: Path
) -> None:
    rows = [json.loads(line) for line in (questions / "train.jsonl").read_text().splitlines()]
    near = rows[3] | {"id": "near", "question": rows[3]["question"].replace("Which", "What")}
    (questions / "exam.jsonl").write_text("\n".join(map(json.dumps, [rows[4], near])))
    given = ("index", "build", "train.jsonl", "--out", "ix", "--without", "exam.jsonl")
    record = medtune.record(*given, "--without", "other.jsonl:test")
    assert sources(record)[0]["passages"] == 22
    assert sources(record)[0]["left_out"] == {workflow.EVALUATED: 2}
    index = FolderIndex.open(questions / "ix")
    kept = {index.passage(row).id for row in range(22)}
    assert kept == {f"t-{n}" for n in range(24)} - {"t-3", "t-4"}
    assert [path.name for path in questions.iterdir() if path.name.startswith(".")] == []
    shown = medtune("index", "info", "ix")[1]
    assert f"left out of file:train.jsonl: 2 × {workflow.EVALUATED}" in shown


def test_an_index_of_what_is_evaluated_is_refused(medtune: CommandLine, questions: Path) -> None:
    given = ("index", "build", "train.jsonl", "--out", "ix", "--without", "train.jsonl")
    code, _, err = medtune(*given)
    assert code == 2
    assert "every passage leaks a question of train.jsonl" in err
    assert not (questions / "ix").exists()


def test_unlabelled_questions_are_counted(medtune: CommandLine, questions: Path) -> None:
    rows = [json.loads(line) for line in (questions / "train.jsonl").read_text().splitlines()]
    rows[0]["cop"] = -1
    rows[1]["opa"] = rows[1]["opb"]
    (questions / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (source,) = sources(medtune.record("index", "build", "train.jsonl", "--out", "ix"))
    assert source["passages"] == 22
    assert source["left_out"] == {"duplicate options": 1, "no label": 1}


def test_other_columns_and_a_limit(medtune: CommandLine, tmp_path: Path) -> None:
    # With --map, even a column of texts is that of a question.
    lines = [f"Which is number {n}?,one,two,{n % 2}" for n in range(6)]
    (tmp_path / "own.csv").write_text("\n".join(["text,p,q,z", *lines]))
    mapping = ("--map", "stem=text", "--map", "options=p,q", "--map", "answer=z")
    base = ("--map", "answer_base=0")
    record = medtune.record(
        "index", "build", "own.csv", "--out", "ix", *mapping, *base, "--limit", 4
    )
    assert sources(record)[0]["passages"] == 4
    assert FolderIndex.open(tmp_path / "ix").passage(1).answer == "two"


# Texts


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "sub").mkdir(parents=True)
    (folder / "shock.md").write_text(
        "# Shock\n\n## Anaphylaxis\n\nAdrenaline is given first. Then fluids are given.\n\n"
        "## Sepsis\n\nGive antibiotics early.\n"
    )
    (folder / "sub" / "vitamins.txt").write_text(
        "Scurvy is a lack of vitamin C.\n\n" + "Beriberi is a lack of thiamine. " * 10
    )
    rows = [
        {"id": "f1", "text": "Iron deficiency causes koilonychia.", "licence": "CC-BY-4.0"},
        {"id": "f2", "text": ""},
        {"id": "f3", "text": "word " * 60, "title": "Long"},
    ]
    (folder / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_folder_of_texts_is_cut_with_source_and_licence(
    medtune: CommandLine, notes: Path
) -> None:
    given = ("index", "build", "notes", "--out", "ix", "--words", 40, "--licence", "own")
    record = medtune.record(*given)
    assert {(s["licence"], s["passages"]) for s in sources(record)} == {
        ("own", 6),
        ("CC-BY-4.0", 1),
    }
    assert [s["left_out"] for s in sources(record)] == [{}, {"no text": 1}]
    assert record["scorer"] is None
    index = FolderIndex.open(Path("ix"))
    passages = {p.id: p for p in map(index.passage, range(index.manifest.passages))}
    assert list(passages) == [
        "f1",
        "f3#1",
        "f3#2",
        "shock.md#1",
        "shock.md#2",
        "sub/vitamins.txt#1",
        "sub/vitamins.txt#2",
    ]
    first = passages["shock.md#1"]
    assert first.source == "shock.md: Shock > Anaphylaxis"
    assert first.text.startswith("Shock > Anaphylaxis\nAdrenaline is given first.")
    assert passages["f1"].licence == "CC-BY-4.0"
    assert passages["f3#2"].source == "facts.jsonl: Long"
    assert all(len(p.text.split()) <= 40 for p in passages.values())
    code, out, err = medtune("index", "info", "ix", "--query", "What comes first in anaphylaxis?")
    assert code == 0, err
    assert "shock.md: Shock > Anaphylaxis, own" in out
    assert "no scorer was fitted" in out


def test_texts_get_a_scorer_from_given_questions(medtune: CommandLine, questions: Path) -> None:
    (questions / "facts.md").write_text(
        "\n\n".join(f"{answer} relieves sickness{n}." for n, (_, _, answer) in enumerate(FACTS))
    )
    given = ("index", "build", "facts.md", "--out", "ix", "--words", 5)
    assert medtune.record(*given)["scorer"] is None
    scorer = medtune.record(*given, "--calibration", "other.jsonl")["scorer"]
    assert scorer["weights"][0] > 0
    assert medtune.record("evaluate", "search:ix", "train.jsonl")["accuracy"]["value"] > 0.9
    assert medtune.record(*given)["scorer"] is None  # as it is asked for now


def test_a_text_that_quotes_an_evaluated_stem_is_left_out(
    medtune: CommandLine, notes: Path
) -> None:
    stem = "Which of these drugs is given first in severe anaphylaxis?"
    (notes / "quoted.md").write_text(f"Once I was asked: {stem.lower()} I did not know.")
    exam = {"question": stem, "opa": "Adrenaline", "opb": "x", "opc": "y", "opd": "z", "cop": 0}
    Path("exam.jsonl").write_text(
        json.dumps(exam | {"id": "e"})
        + "\n"
        + json.dumps(exam | {"id": "f", "cop": 1, "question": "Short stem given first?"})
    )
    record = medtune.record("index", "build", "notes", "--out", "ix", "--without", "exam.jsonl")
    assert [(s["licence"], s["left_out"]) for s in sources(record)] == [
        ("CC-BY-4.0", {workflow.EVALUATED: 0}),
        (None, {"no text": 1, workflow.EVALUATED: 1}),
    ]
    index = FolderIndex.open(Path("ix"))
    kept = [index.passage(row).source for row in range(index.manifest.passages)]
    assert "quoted.md" not in kept
    assert "shock.md: Shock > Anaphylaxis" in kept


# What cannot be used


@pytest.mark.parametrize(
    ("make", "given", "found"),
    [
        (lambda p: (p / "a.md").write_text("\n# Only a heading\n"), "a.md", "a.md has no text"),
        (lambda p: (p / "a.jsonl").write_text('{"text": ""}'), "a.jsonl", "a.jsonl has no text"),
        (lambda p: (p / "a.pdf").write_bytes(b"%PDF"), "a.pdf", "unknown format .pdf"),
        (lambda p: (p / "empty").mkdir(), "empty", "holds no data file"),
        (lambda p: None, "nowhere.jsonl", "nowhere.jsonl does not exist"),
        (
            lambda p: (p / "a.jsonl").write_text(
                '{"id": "x", "text": "a"}\n{"id": "x", "text": "b"}'
            ),
            "a.jsonl",
            "two passages have the id x",
        ),
        (lambda p: (p / "a.txt").write_text("... the of"), "a.txt", "no passage has a word"),
        (lambda p: None, "starter --stemmer klingon", "there is no stemmer 'klingon'"),
        (lambda p: None, "starter --limit 999", "320 usable questions, 999 were asked for"),
        (lambda p: None, "starter --calibration nowhere", "'nowhere' names no dataset"),
        (lambda p: None, "starter --without nowhere", "'nowhere' names no dataset"),
    ],
)
def test_input_that_cannot_be_used_is_told_and_nothing_is_written(
    medtune: CommandLine, tmp_path: Path, make: Callable[[Path], object], given: str, found: str
) -> None:
    make(tmp_path)
    there = sorted(tmp_path.iterdir())
    code, out, err = medtune("index", "build", *given.split(), "--out", "ix")
    assert (code, out) == (2, ""), err
    assert found in err
    if "--calibration" not in given:  # the index itself is whole by then
        assert sorted(tmp_path.iterdir()) == there


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--encoder", "path:x", "--postgres", "postgresql://x"), "--encoder or --postgres"),
        (("--postgres", "sqlite:///x.db"), "cannot be written to sqlite"),
        (("--postgres", "nonsense"), "cannot be parsed"),
        (("--encoder", "embedded:smollm2-135m"), "names no encoder"),
    ],
)
def test_a_database_or_encoder_that_cannot_be_used_is_refused(
    medtune: CommandLine, options: tuple[str, ...], message: str
) -> None:
    code, _, err = medtune("index", "build", "starter:train", "--out", "ix", *options)
    assert code == 2
    assert message in " ".join(err.split())
    assert not Path("ix").exists()


def test_a_folder_of_something_else_is_refused_before_anything_is_read(
    medtune: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    code, _, err = medtune("index", "build", "starter:train", "--out", "thesis")
    assert code == 2
    assert "thesis holds something that is no index: chapter.txt" in err
    assert "reading" not in err
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


@pytest.mark.parametrize("extra", [(), ("--without", "starter:recall")])
def test_a_folder_that_may_not_be_written(
    medtune: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: tuple[str, ...]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    code, _, err = medtune("index", "build", "starter", "--out", "ix", "--limit", 20, *extra)
    assert code == 2
    assert "cannot write ix: permission denied" in err.replace(f"{tmp_path}/", "")
    assert list(tmp_path.iterdir()) == []


def test_a_changed_index_is_neither_described_nor_searched(
    medtune: CommandLine, questions: Path
) -> None:
    medtune.record("index", "build", "train.jsonl", "--out", "ix")
    with (questions / "ix" / "passages.arrow").open("ab") as handle:
        handle.write(b" ")
    for command in ("index info ix", "evaluate search:ix other.jsonl"):
        code, _, err = medtune(*command.split())
        assert code == 2
        assert "passages.arrow was changed" in err


# The search as an answer model


@pytest.mark.parametrize("orders", ["given", "cyclic"])
def test_a_search_is_evaluated_like_any_model(
    medtune: CommandLine, questions: Path, orders: str
) -> None:
    medtune.record("index", "build", "train.jsonl", "--out", "ix")
    letter = medtune.record(
        "evaluate", "search:ix", "other.jsonl", "--orders", orders, "--out", "a"
    )
    cloze = medtune.record(
        *("evaluate", "search:ix", "other.jsonl", "--orders", orders, "--out", "b"),
        *("--method", "cloze"),
    )
    assert letter["accuracy"] == cloze["accuracy"]
    rows = [
        [
            json.loads(line)
            for line in (questions / name / "predictions.jsonl").read_text().splitlines()
        ]
        for name in ("a", "b")
    ]
    for one, other in zip(*rows, strict=True):
        assert one["chosen"] == other["chosen"]
        assert one["probabilities"] == pytest.approx(other["probabilities"])
        for answer in one.get("orders", ()):
            assert answer["chosen"] == one["chosen"]
            assert answer["probabilities"] == pytest.approx(one["probabilities"])


def test_its_words_are_read_by_the_strict_parser_as_its_choice(
    medtune: CommandLine, questions: Path
) -> None:
    medtune.record("index", "build", "train.jsonl", "--out", "ix")
    free = medtune.record(
        "evaluate", "search:ix", "other.jsonl", "--method", "generate", "--out", "free"
    )
    chosen = medtune.record("evaluate", "search:ix", "other.jsonl", "--out", "letter")
    assert free["counts"] == chosen["counts"]
    assert free["counts"]["unparsed"] == 0
    for line in (questions / "free" / "predictions.jsonl").read_text().splitlines():
        prediction = json.loads(line)
        read = STRICT_PARSER.read(prediction["text"], prediction["options"])
        assert read.chosen == prediction["chosen"]


def test_questions_of_an_index_are_those_it_was_built_from(
    medtune: CommandLine, questions: Path
) -> None:
    medtune.record("index", "build", "train.jsonl", "--out", "ix")
    index = FolderIndex.open(questions / "ix")
    kept = ("id", "stem", "options", "answer", "explanation")
    for row, question in enumerate(load_split("train.jsonl", for_training=True).questions):
        again = passage_question(index.passage(row))
        assert isinstance(again, Question)
        assert [getattr(again, name) for name in kept] == [getattr(question, name) for name in kept]
        assert row in LeakFinder(index).find_nearest(question).leaking
