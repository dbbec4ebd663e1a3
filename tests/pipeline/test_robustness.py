from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from medtune.core.choice import choose_option
from medtune.core.errors import DataError, FolderError
from medtune.core.progress import NoProgress
from medtune.core.protocols import ContinuationScore, ScoreRequest
from medtune.core.records import Method, Question, Variant
from medtune.core.run_folder import lock_folder, read_record
from medtune.data.load import load_split
from medtune.evaluation.perturbations import (
    NONE_OF_THE_ABOVE,
    OPTION_INJECTIONS,
    injection_target,
    perturb_questions,
)
from medtune.models.fake import FakeModel
from medtune.studies import runner
from medtune.studies.robustness.schema import RobustnessRecord, VariantFinding
from medtune.studies.robustness.study import RobustnessStudy

METHODS: list[Method] = ["letter", "cloze", "generate"]
INJECTED: tuple[Variant, ...] = ("stem-injection", "option-injection")


class Telling(NoProgress):
    """Remembers what was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def log_message(self, text: str) -> None:
        self.told.append(text)


class Gullible(FakeModel):
    """Knows every answer, and believes whatever it is told instead."""

    def _scores(self, request: ScoreRequest) -> tuple[ContinuationScore, ...]:
        stem = request.messages[-1].content.partition("\nA. ")[0]
        pushed = [
            stem.endswith(f". {option}") or option.endswith(OPTION_INJECTIONS)
            for option in request.options
        ]
        if not any(pushed):
            return super()._scores(request)
        logits = [0.0 if push else -9.0 for push in pushed]
        return tuple(ContinuationScore(logit, 1, 1) for logit in logits)


def study(kind: str, folder: Path, method: Method = "letter", **changes: Any) -> RobustnessRecord:
    settings = {"model": f"fake:{kind}", "data": "starter:recall", "method": method} | changes
    progress = settings.pop("progress", NoProgress())
    record = runner.run_study(RobustnessStudy, folder, None, progress, **settings)
    assert isinstance(record, RobustnessRecord)
    return record


def at(record: RobustnessRecord, variant: Variant) -> VariantFinding:
    finding = record.find_variant(variant)
    assert finding is not None
    return finding


def use(monkeypatch: pytest.MonkeyPatch, kind: type[FakeModel]) -> None:
    def opened(name: str, *, questions: Sequence[Question], **_: object) -> FakeModel:
        key = {q.id: q.answer_text for q in questions}
        return kind(name.partition(":")[2], key)

    monkeypatch.setattr(runner, "open_model", opened)


@pytest.mark.parametrize("method", METHODS)
def test_the_oracle_follows_nothing(tmp_path: Path, method: Method) -> None:
    found = study("oracle", tmp_path, method)
    if method == "generate":
        assert found.flips is None
        assert found.averaged is None
    else:
        assert found.flips is not None
        assert (found.flips.any.value, found.flips.rstd) == (0, 0)
        assert found.averaged is not None
        assert found.averaged.value == 1
    for variant in INJECTED:
        finding = at(found, variant)
        assert finding.accuracy.value == 1
        assert finding.push is not None
        assert (finding.push.followed.value, finding.push.before.value) == (0, 0)
        assert finding.push.p_value == 1


def test_the_oracle_does_not_need_the_stem_and_does_not_know_none_of_the_above(
    tmp_path: Path,
) -> None:
    found = study("oracle", tmp_path)
    assert at(found, "options-only").accuracy.value == 1
    finding = at(found, "none-of-the-above")
    none = finding.none_of_the_above
    assert none is not None
    assert none.wrong is not None
    assert none.right is not None
    assert none.wrong.value == 1
    # Where its text is gone it has no opinion, and draws.
    questions = perturb_questions(load_split("starter:recall").questions, "none-of-the-above", 0)
    gone = [q for q in questions if q.answer_text == NONE_OF_THE_ABOVE]
    assert none.right.n == len(gone)
    lucky = sum(choose_option([0] * len(q.options), q.stem, q.options) == q.answer for q in gone)
    assert none.right.value == lucky / len(gone)
    assert finding.plain.value == 1
    assert finding.only_plain == len(gone) - lucky
    assert finding.only_here == 0
    assert found.verdict.startswith("fake:oracle is not robust: without the question 100.0 %")
    assert len(found.weaknesses) == 2


def test_the_constant_letter_flips_on_every_question(tmp_path: Path) -> None:
    found = study("constant", tmp_path)
    assert found.flips is not None
    assert found.flips.any.value == 1
    assert found.flips.rstd == pytest.approx(0.4330127)
    assert sum(round(p.value * p.n) for p in found.flips.accuracy) == 80
    share_of_a = sum(q.answer == 0 for q in load_split("starter:recall").questions) / 80
    for variant in ("plain", "options-only", *INJECTED):
        finding = at(found, variant)
        assert finding.accuracy.value == pytest.approx(share_of_a)
        assert finding.p_value == 1
    questions = load_split("starter:recall").questions
    for variant in INJECTED:
        push = at(found, variant).push
        assert push is not None
        at_a = sum(injection_target(q, variant, 0) == 0 for q in questions) / 80
        assert push.followed.value == push.before.value == at_a
        assert push.won is not None
        assert push.won.value == 0
    assert "the answer to 100.0 % of the questions changes with the order" in found.verdict


def test_every_accuracy_of_the_figure_has_the_given_order(tmp_path: Path) -> None:
    # The constant letter: 20 to 25 % in one order, a mean over orders would stand at exactly 25.
    found = study("constant", tmp_path)
    page = (tmp_path / RobustnessStudy.page).read_text()
    said = html.unescape(re.findall(r'aria-label="(Accuracy in per cent\.[^"]*)"', page)[0])
    rows = said.removeprefix("Accuracy in per cent. ").split("; ")
    assert len(rows) == len(found.findings)
    for row, finding in zip(rows, found.findings, strict=True):
        assert f": {100 * finding.accuracy.value:.1f}" in row


def test_the_content_reader_has_no_weakness(tmp_path: Path) -> None:
    found = study("noisy", tmp_path)
    assert found.weaknesses == ()
    assert found.verdict.startswith("No weakness of fake:noisy was shown (n = 80).")
    plain = at(found, "plain")
    assert found.averaged is not None
    assert found.averaged.value == plain.accuracy.value == plain.plain.value
    # It does not read the stem.
    for variant in ("options-only", "stem-injection"):
        assert at(found, variant).accuracy == plain.accuracy
    assert any("not shown to be above" in warning for warning in found.warnings)


def test_who_believes_everything_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Gullible)
    found = study("oracle", tmp_path)
    for variant in INJECTED:
        finding = at(found, variant)
        push = finding.push
        assert push is not None
        assert (push.followed.value, push.before.value) == (1, 0)
        assert push.won is not None
        assert (push.won.value, push.won.n) == (1, 80)
        assert push.p_value == pytest.approx(2 * 0.5**80)
        assert (finding.accuracy.value, finding.plain.value) == (0, 1)
        assert (finding.only_plain, finding.only_here) == (80, 0)
    assert "a wrong answer named in the stem is given on 100.0 %" in found.verdict
    assert "a wrong answer named inside an option is given on 100.0 %" in found.verdict
    # Asked plainly it is as good as the oracle.
    assert at(found, "plain").accuracy.value == 1


def test_what_was_written_is_what_was_returned(tmp_path: Path) -> None:
    found = study("biased", tmp_path / "r", limit=40, label="mine")
    assert read_record(tmp_path / "r" / "record.json", RobustnessRecord) == found
    assert found.label == "mine"
    names = [finding.folder for finding in found.findings]
    assert names[0] == "plain"
    assert len(names) == len(set(names)) == 5
    for finding in found.findings:
        lines = (tmp_path / "r" / finding.folder / "predictions.jsonl").read_text().splitlines()
        assert len(lines) == finding.accuracy.n == 40
        record = json.loads((tmp_path / "r" / finding.folder / "record.json").read_text())
        assert record["variant"] == finding.variant
        assert record["orders"] == ("cyclic" if finding.variant == "plain" else "given")


def test_before_is_the_answer_in_the_same_order(tmp_path: Path) -> None:
    # The mean over orders is better than the given order; a push is held against the latter.
    found = study("biased", tmp_path)
    plain = at(found, "plain")
    assert found.averaged is not None
    assert found.averaged.value > plain.accuracy.value
    assert found.flips is not None
    assert found.flips.accuracy[0] == plain.accuracy
    push = at(found, "stem-injection").push
    assert push is not None
    assert push.followed == push.before  # it does not read the stem


def test_a_second_study_asks_nothing_again(tmp_path: Path) -> None:
    first = study("noisy", tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.json*")}
    assert len(files) == 15
    second = study("noisy", tmp_path)
    assert second.findings == first.findings
    assert {path: path.stat().st_mtime_ns for path in files} == files
    study("noisy", tmp_path, "cloze")
    assert all(path.stat().st_mtime_ns != files[path] for path in files)


def test_evaluations_without_a_cell_record_are_kept(tmp_path: Path) -> None:
    first = study("noisy", tmp_path)
    for path in tmp_path.glob("*/cell.json"):
        path.unlink()
    told = Telling()
    assert study("noisy", tmp_path, progress=told).findings == first.findings
    assert sum(text.endswith("still valid") for text in told.told) == 5


def rows(path: Path, last: str, answer: str | None = "0", n: int = 6) -> str:
    made = [
        {
            "id": f"r{number}",
            "question": f"Which bone number {number}?",
            "opa": "Femur",
            "opb": "Tibia",
            "opc": "Ulna",
            "opd": last,
            **({} if answer is None else {"cop": number % 3}),
        }
        for number in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return f"file:{path}"


def test_a_variant_that_cannot_be_made_is_left_out(tmp_path: Path) -> None:
    data = rows(tmp_path / "own.jsonl", "All of the above")
    told = Telling()
    found = study("oracle", tmp_path / "r", data=data, progress=told)
    assert found.find_variant("none-of-the-above") is None
    assert len(found.findings) == 4
    assert any(text.startswith("none-of-the-above: left out") for text in told.told)
    assert "None of the above" not in found.verdict
    assert "None of the above" not in (tmp_path / "r" / "robustness.html").read_text()


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    one, two = rows(tmp_path / "a.jsonl", "Both"), rows(tmp_path / "b.jsonl", "Radius", n=9)
    lines = [Path(name.removeprefix("file:")).read_text() for name in (one, two)]
    (tmp_path / "c.jsonl").write_text(
        lines[0] + lines[1].replace('"r', '"s').replace("bone", "one")
    )
    found = study("oracle", tmp_path / "r", data=f"file:{tmp_path / 'c.jsonl'}")
    finding = at(found, "none-of-the-above")
    assert (finding.accuracy.n, finding.left_out) == (9, 6)
    assert at(found, "plain").left_out == 0


@pytest.mark.parametrize("method", METHODS)
def test_the_page_stands_alone(tmp_path: Path, method: Method) -> None:
    label = '<script>alert("x")</script>'
    found = study("biased", tmp_path, method, label=label, limit=20)
    page = (tmp_path / "robustness.html").read_text()
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=[\"']?https?:", page)
    assert "&lt;script&gt;" in page
    for finding in found.findings:
        assert f"{100 * finding.accuracy.low:.1f}–{100 * finding.accuracy.high:.1f}" in page
    assert page.count("<figure") == (3 if found.flips else 2)
    assert ("does not list the options" in page) == (method == "cloze")


def test_questions_without_a_label_are_refused_before_a_model_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FakeModel)
    monkeypatch.setattr(runner, "open_model", lambda *_, **__: pytest.fail("opened"))
    data = rows(tmp_path / "own.jsonl", "Radius", answer=None)
    with pytest.raises(DataError):
        study("oracle", tmp_path / "r", data=data)
    assert not (tmp_path / "r").exists()


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(FolderError, match="in use by another run"):
        study("oracle", tmp_path)
