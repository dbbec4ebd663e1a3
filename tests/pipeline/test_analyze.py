from __future__ import annotations

import errno
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine

from medtune.core.schemas.analysis import AnalysisRecord


def evaluated(medtune: CommandLine, name: str, *arguments: object) -> Path:
    """Examine a fake: the model and the split come first."""
    medtune.record("evaluate", *arguments, "--out", name)
    return Path(name)


@pytest.fixture
def exams(medtune: CommandLine) -> tuple[Path, Path]:
    """Two splits without a common question, examined alike in every order."""
    common = ("--orders", "cyclic", "--options-only", 20)
    return (
        evaluated(medtune, "e", "fake:biased", "starter:transfer", *common),
        evaluated(medtune, "c", "fake:biased", "starter:recall", *common),
    )


def rows(path: Path, n: int, **changes: Any) -> str:
    made = [
        {
            "id": f"{path.stem}{number}",
            "question": f"Which is number {number} of {path.stem}?",
            **{column: f"{column} {number}" for column in ("opa", "opb", "opc", "opd")},
            "cop": number % 4,
        }
        | changes
        for number in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return f"file:{path}"


class Links(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [
            value
            for name, value in attrs
            if name in ("href", "src") and value and not value.startswith(("#", "data:"))
        ]


def test_an_analysis_is_written_beside_its_evaluation(
    medtune: CommandLine, exams: tuple[Path, Path]
) -> None:
    found = medtune.record("analyze", "e", "--calibration", "c")
    written = (exams[0] / "analysis.json").read_bytes()
    assert found.pop("written") == {"record": "e/analysis.json", "report": "e/analysis.html"}
    assert json.loads(written) == found
    record = AnalysisRecord.model_validate_json(written)
    assert record.folder == "e"
    assert record.evaluation.model_dump(mode="json") == json.loads(
        (exams[0] / "record.json").read_text()
    )
    assert record.selective is not None
    assert record.selective.calibrated_on == "starter:recall"
    assert (record.selective.calibrated_n, len(record.selective.sets)) == (80, 2)
    assert record.flips is not None
    assert record.flips.orders == 4
    assert record.evaluation.options_only is not None
    page = exams[0] / "analysis.html"
    links = Links(page).found
    assert {"record.json", "predictions.jsonl", "analysis.json"} <= {Path(x).name for x in links}
    for link in links:
        assert (page.parent / link).is_file(), link
    assert not any(link.startswith("http") for link in links)
    # What was analysed is as it was.
    again = medtune.record(
        "evaluate",
        "fake:biased",
        "starter:transfer",
        "--orders",
        "cyclic",
        "--options-only",
        20,
        "--out",
        "e",
    )
    del again["written"]
    assert again == json.loads((exams[0] / "record.json").read_text())


def test_a_second_analysis_takes_the_place_of_the_first(
    medtune: CommandLine, exams: tuple[Path, Path]
) -> None:
    medtune.record("analyze", "e", "--calibration", "c")
    found = medtune.record("analyze", "e")
    assert found["selective"]["temperature"] is None
    assert Path(found.pop("written")["record"]) == exams[0] / "analysis.json"
    assert json.loads((exams[0] / "analysis.json").read_text()) == found


def test_the_table_says_what_the_record_holds(
    medtune: CommandLine, exams: tuple[Path, Path]
) -> None:
    code, out, err = medtune("analyze", "e", "--calibration", "c")
    assert code == 0
    assert "report: e/analysis.html" in err
    assert "report" not in out
    for words in ("starter:transfer · letter · fake:biased", "temperature", "lac sets for 90 %"):
        assert words in out
    assert "no calibration questions" in medtune("analyze", "e")[1]


@pytest.mark.parametrize("place", [".", "../e", "e/../../e"])
def test_a_folder_has_its_own_name_wherever_one_stands(
    medtune: CommandLine,
    exams: tuple[Path, Path],
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(exams[0])
    (Path("e")).mkdir(exist_ok=True)
    assert medtune.record("analyze", place)["folder"] == "e"


def test_a_calibration_split_of_a_snapshot(medtune: CommandLine) -> None:
    assert medtune("prepare", "--set", "data.calibration_size=40", "--out", "s")[0] == 0
    evaluated(medtune, "e", "fake:noisy", "starter:transfer")
    evaluated(medtune, "c", "fake:noisy", "snapshot:s/data:calibration")
    found = medtune.record("analyze", "e", "--calibration", "c")["selective"]
    assert (found["calibrated_on"], found["calibrated_n"]) == ("snapshot:s/data:calibration", 40)


@pytest.mark.parametrize("method", ["letter", "cloze", "generate"])
@pytest.mark.parametrize("kind", ["oracle", "constant"])
def test_all_right_and_one_letter_alone(medtune: CommandLine, method: str, kind: str) -> None:
    evaluated(medtune, "e", f"fake:{kind}", "starter:transfer", "--method", method)
    found = medtune.record("analyze", "e")
    assert (found["calibration"] is None) == (method == "generate")
    assert (found["failures"] == []) == (kind == "oracle")
    constant = [line for line in found["warnings"] if "regardless of the question" in line]
    assert len(constant) == (kind == "constant" and method == "letter")
    assert Path("e/analysis.html").is_file()


def test_all_unparsed(medtune: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    from medtune.core.protocols import Generation
    from medtune.models.fake import FakeModel

    monkeypatch.setattr(
        FakeModel, "generate", lambda self, asked, how: [Generation("Hm.", 1, True) for _ in asked]
    )
    evaluated(medtune, "e", "fake:noisy", "starter:transfer", "--method", "generate")
    found = medtune.record("analyze", "e")
    assert found["accuracy_answered"] is None
    assert any("80 of 80 free answers name no option" in line for line in found["warnings"])


@pytest.mark.parametrize("method", ["letter", "generate"])
@pytest.mark.parametrize("kind", ["oracle", "constant"])
def test_a_single_question(medtune: CommandLine, tmp_path: Path, method: str, kind: str) -> None:
    one = rows(tmp_path / "one.jsonl", 1, cop=2)
    where = ("--map", "answer_base=0")
    evaluated(medtune, "e", f"fake:{kind}", one, "--method", method, *where)
    assert medtune("analyze", "e")[0] == 0
    found = medtune.record("analyze", "e")
    assert found["evaluation"]["counts"]["n"] == 1
    assert found["slices"] == []


def test_questions_with_an_empty_subject(medtune: CommandLine, tmp_path: Path) -> None:
    data = rows(tmp_path / "own.jsonl", 12, subject_name="")
    other = rows(tmp_path / "other.jsonl", 12)
    evaluated(medtune, "e", "fake:noisy", data)
    evaluated(medtune, "c", "fake:noisy", other)
    found = medtune.record("analyze", "e", "--calibration", "c")
    subjects = found["selective"]["sets"][0]["subjects"]
    assert [share["n"] for share, _ in subjects.values()] == [12]


@pytest.mark.parametrize(("n", "sets"), [(8, 0), (9, 2)])
def test_few_calibration_questions_cost_the_sets_alone(
    medtune: CommandLine, exams: tuple[Path, Path], n: int, sets: int
) -> None:
    evaluated(medtune, "few", "fake:biased", "starter:recall", "--orders", "cyclic", "--limit", n)
    found = medtune.record("analyze", "e", "--calibration", "few")
    assert len(found["selective"]["sets"]) == sets
    few = [line for line in found["warnings"] if "calibration questions are too few" in line]
    assert len(few) == (0 if sets else 1)
    if few:
        # The page carries the warning; quotes and signs may be escaped there.
        page = re.sub(r"\s+", " ", Path("e/analysis.html").read_text())
        assert f"{n} calibration questions are too few for prediction sets" in page


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("fake:noisy", "starter:recall", "--orders", "cyclic"), "model"),
        (("fake:biased", "starter:recall", "--orders", "cyclic", "--method", "cloze"), "method"),
        (("fake:biased", "starter:recall"), "orders"),
        (("fake:biased", "starter:recall", "--variant", "options-only"), "orders"),
        (
            (
                *("fake:biased", "starter:recall", "--orders", "cyclic"),
                *("--shots", 2, "--shots-from", "starter:train"),
            ),
            "worked examples",
        ),
    ],
)
def test_a_calibration_of_another_exam_is_refused(
    medtune: CommandLine, exams: tuple[Path, Path], arguments: tuple[object, ...], what: str
) -> None:
    evaluated(medtune, "other", *arguments)
    code, out, err = medtune("analyze", "e", "--calibration", "other", "--json")
    assert (code, out) == (2, "")
    assert f"error: the calibration differs from the evaluation in its {what}" in err
    assert "expected: the same model, evaluated in the same way" in err
    assert "to do: evaluate the same model on the calibration split" in err
    assert not (exams[0] / "analysis.json").exists()


def test_calibrating_on_what_is_reported_is_refused(
    medtune: CommandLine, exams: tuple[Path, Path]
) -> None:
    code, out, err = medtune("analyze", "e", "--calibration", "e")
    assert (code, out) == (2, "")
    assert "80 calibration questions are among the evaluated ones" in err
    assert "snapshot:FOLDER:calibration" in err


def test_free_answers_with_a_calibration_are_refused(medtune: CommandLine) -> None:
    for name, split in (("e", "transfer"), ("c", "recall")):
        evaluated(medtune, name, "fake:noisy", f"starter:{split}", "--method", "generate")
    code, out, err = medtune("analyze", "e", "--calibration", "c", "--json")
    assert (code, out) == (2, "")
    assert "free answers have no probabilities to calibrate" in err
    assert "to do: analyse it without a calibration" in err
    assert medtune("analyze", "e")[0] == 0


@pytest.mark.parametrize("which", ["e", "c"])
@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda text: text[:-30], "line 80 is no prediction"),
        (lambda text: "".join(text.splitlines(keepends=True)[:-1]), "has 79 lines"),
        (lambda text: "", "is empty"),
    ],
)
def test_truncated_predictions_are_refused(
    medtune: CommandLine, exams: tuple[Path, Path], which: str, cut: Any, message: str
) -> None:
    path = Path(which) / "predictions.jsonl"
    path.write_text(cut(path.read_text()))
    code, out, err = medtune("analyze", "e", "--calibration", "c", "--json")
    assert (code, out) == (2, "")
    assert message in err
    assert "evaluate again" in err
    assert not Path("e/analysis.html").exists()


@pytest.mark.parametrize("arguments", [("none",), ("e", "--calibration", "none")])
def test_what_is_no_evaluation_is_refused(
    medtune: CommandLine, exams: tuple[Path, Path], arguments: tuple[str, ...]
) -> None:
    code, out, err = medtune("analyze", *arguments)
    assert (code, out) == (2, "")
    assert "error: none holds no evaluation" in err
    assert "expected: predictions.jsonl and record.json" in err
    assert not Path("none").exists()


def test_a_folder_that_cannot_be_written(
    medtune: CommandLine, exams: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr("medtune.core.run_folder.tempfile.NamedTemporaryFile", read_only)
    code, out, err = medtune("analyze", "e", "--json")
    assert (code, out) == (2, "")
    assert "cannot write e/analysis.json: the file system is read-only" in err
    assert sorted(path.name for path in exams[0].iterdir()) == [
        ".lock",
        "predictions.jsonl",
        "record.json",
    ]


def test_a_folder_in_use_is_refused(medtune: CommandLine, exams: tuple[Path, Path]) -> None:
    from medtune.core.run_folder import lock_folder

    with lock_folder(exams[0]):
        code, out, err = medtune("analyze", "e")
    assert (code, out) == (2, "")
    assert "in use by another run" in err
