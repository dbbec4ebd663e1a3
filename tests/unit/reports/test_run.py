from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from medtune.analysis.compare import compare_evaluations
from medtune.cli.output import show_record
from medtune.core.formatting import format_interval, format_percent
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.prompt import PromptStyle
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    ForgettingRecord,
    LossPoint,
    MaskAudit,
    Method,
    Outcome,
    Prediction,
    Proportion,
    Question,
    RunRecord,
    SearchBaseline,
    SplitDescription,
    TextLossComparison,
    TrainingRecord,
)
from medtune.core.schemas.dataset import SnapshotManifest
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import ExamResult, make_evaluation_record
from medtune.models.fake import FakeModel
from medtune.reports.run import SHOWN_ERRORS, collect_run_caveats, list_error_tables, write_report
from medtune.reports.templating import format_prediction

EVIL = '<script>alert("x")</script> <img src=https://evil.example/x.png> {{ 7 * 7 }} & co'


def questions(n: int = 30) -> list[Question]:
    return [
        Question(
            id=f"q{number}",
            stem=f"Stem number {number}?",
            options=(f"Right {number}", f"Wrong {number}", "Neither", "Both"),
            answer=0,
            subject="Anatomy",
        )
        for number in range(n)
    ]


def evaluation(
    label: str,
    asked: Sequence[Question],
    right: int,
    method: Method = "cloze",
    source: str = "starter:recall",
    **changes: Any,
) -> Evaluation:
    predictions = [
        Prediction(
            stem=question.stem,
            id=question.id,
            subject=question.subject,
            options=question.options,
            answer=0,
            chosen=0 if number < right else 1,
            outcome=Outcome.CORRECT if number < right else Outcome.WRONG,
            probabilities=(0.75, 0.25, 0.0, 0.0) if number < right else (0.25, 0.75, 0.0, 0.0),
        )
        for number, question in enumerate(asked)
    ]
    exam = Exam(
        questions=asked,
        data=SplitDescription(source=source, n=len(asked), excluded={}, hash="h"),
        style=PromptStyle(),
        method=method,
        normalization="byte",
    )
    record = make_evaluation_record(
        FakeModel("noisy", {}), exam, label, STRICT_PARSER, predictions, ExamResult(1.0)
    )
    return Evaluation(record.model_copy(update=changes), predictions)


def run_record(before: Sequence[Evaluation], after: Sequence[Evaluation]) -> RunRecord:
    base = before[0][0]
    training = TrainingRecord(
        inputs="i",
        base=base.model,
        data=SplitDescription(source="starter:train", n=320, excluded={}, hash="d" * 64),
        prompt_hash="p" * 64,
        seed=17,
        target="text",
        audit=MaskAudit(
            examples=320,
            tokens=20000,
            supervised=3000,
            prompt_supervised=0,
            ends_supervised=320,
            pad_token=0,
            end_token=2,
            sample=f"user {EVIL}\nassistant ⟦ Aspirin ⟧",
        ),
        steps=20,
        epochs=1,
        examples=320,
        tokens=20000,
        padding_efficiency=0.93,
        trainable_parameters=4884480,
        total_parameters=139399488,
        losses=tuple(LossPoint(step=s, loss=2 / s, learning_rate=1e-3) for s in range(1, 21)),
        resumed_from=None,
        duration_s=10.0,
        examples_per_s=32.0,
        tokens_per_s=2000.0,
        peak_memory_bytes=1 << 30,
        weights_hash="a" * 64,
        provenance=collect_provenance(),
    )
    return RunRecord(
        name="quickstart",
        config_hash="c" * 64,
        trainings=(training,),
        evaluations=tuple(record for record, _ in [*before, *after]),
        comparisons=tuple(compare_evaluations(a, b) for a, b in zip(before, after, strict=True)),
        duration_s=60.0,
        peak_memory_bytes=2 << 30,
        provenance=collect_provenance(),
    )


def page(
    tmp_path: Path,
    before: Sequence[Evaluation],
    after: Sequence[Evaluation],
    manifest: SnapshotManifest,
) -> str:
    return page_of(tmp_path, run_record(before, after), [*before, *after], manifest)


def page_of(
    tmp_path: Path,
    record: RunRecord,
    evaluations: Sequence[Evaluation],
    manifest: SnapshotManifest,
) -> str:
    path = tmp_path / "report.html"
    write_report(path, record, evaluations, manifest)
    return path.read_text(encoding="utf-8")


ASKED = questions()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, manifest: SnapshotManifest) -> str:
    """The page of a run that went well."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "report.html").write_text("the former page")
    before, after = evaluation("base", ASKED, 5), evaluation("tuned", ASKED, 25)
    text = page(folder, [before], [after], manifest)
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    return text


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.data: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.data.append(data)


def test_the_page_is_self_contained(plain: str) -> None:
    text = plain
    tags = Tags()
    tags.feed(text)
    assert text.startswith("<!doctype html>")
    assert text.count("<html") == text.count("</html>") == 1
    names = {name for name, _ in tags.found}
    assert not names & {"script", "iframe", "object", "embed", "link", "img"}
    for name, attributes in tags.found:
        for key, value in attributes.items():
            if key.split(":")[-1] in {"src", "href", "action", "data", "srcset"}:
                assert (value or "").startswith("#"), (name, key, value)
            assert not key.startswith("on")
    assert not re.search(r"url\((?!['\"]?#)", text)
    assert "@import" not in text


def test_the_page_has_the_methods_of_its_run(plain: str) -> None:
    section = plain.partition('<section id="methods">')[2].partition("</section>")[0]
    assert "on 320 questions of starter:train" in section
    assert "were removed from the training data" in section
    assert "McNemar Q." in section


def test_the_page_shows_what_it_must(plain: str) -> None:
    before, after = evaluation("base", ASKED, 5), evaluation("tuned", ASKED, 25)
    text = plain
    assert "the former page" not in text
    assert "tuned is better than base by 66.7 points" in text
    # 5 / 30 and 25 / 30, with n and an interval, chance and the majority letter
    assert "16.7" in text
    assert "5 / 30" in text
    assert format_interval(before[0].accuracy) in text
    assert format_interval(after[0].accuracy) in text
    assert "100.0 (A)" in text
    assert "Not medical advice" in text
    assert text.count("<svg") == 3 + 2  # those of the data, too
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def search(only_model: int, only_search: int, p_value: float) -> SearchBaseline:
    return SearchBaseline(
        index="i",
        passages=320,
        accuracy=wilson_interval(22, 30),
        only_model=only_model,
        only_search=only_search,
        p_value=p_value,
    )


@pytest.mark.parametrize(
    ("found", "words", "caveat"),
    [
        (search(1, 12, 0.0034), "the model does not beat a text search", True),
        (search(5, 2, 0.4531), "the model is not shown to beat a text search", True),
        (search(12, 1, 0.0034), "the model beats a text search", False),
    ],
)
def test_the_search_baseline_stands_beside_the_others(
    tmp_path: Path, manifest: SnapshotManifest, found: SearchBaseline, words: str, caveat: bool
) -> None:
    before, after = (
        evaluation(label, ASKED, right, search=found)
        for label, right in (("base", 5), ("tuned", 25))
    )
    text = page(tmp_path, [before], [after], manifest)
    assert 'search\u00a0%</th><th scope="col" class="n">95\u00a0%' in text.lower()
    assert "73.3" in text
    assert format_interval(found.accuracy) in text
    assert "text search 73.3" in text, "the figure's description"
    assert "◇ text search" in text
    # Below the verdict, above the figure, in words.
    top = text.split("<figure")[0]
    (shown,) = [line for line in top.splitlines() if words in line]
    assert ("⚠" in shown) == caveat
    # Better than the base either way: only a search that is beaten leaves it the colour of a gain.
    assert ('<p class="verdict none">' in top) == caveat
    assert "tuned on starter:recall, cloze:" in shown


def test_without_a_search_none_is_named(plain: str) -> None:
    assert "text search" not in plain
    assert "search\u00a0%" not in plain.lower()


def test_user_text_is_escaped(tmp_path: Path, manifest: SnapshotManifest) -> None:
    evil = [
        q.model_copy(
            update={"stem": EVIL, "subject": EVIL, "options": (EVIL, "<b>x</b>", "c", "d")}
        )
        for q in ASKED
    ]
    before, after = evaluation("base", evil, 0), evaluation("tuned", evil, 3)
    path = tmp_path / "report.html"
    write_report(path, run_record([before], [after]), [before, after], manifest)
    text = path.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert not {"script", "img", "b"} & {name for name, _ in tags.found}
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text  # text is not a template
    assert text.count("<html") == 1


def test_at_most_twenty_errors_are_shown(tmp_path: Path, manifest: SnapshotManifest) -> None:
    asked = questions(30)
    before, after = evaluation("base", asked, 10), evaluation("tuned", asked, 5)
    (table,) = list_error_tables(run_record([before], [after]), [before, after])
    assert table.total == 25
    assert len(table.rows) == SHOWN_ERRORS == 20
    assert [row.question.id for row in table.rows] == [f"q{n}" for n in range(5, 25)]
    assert [row.base.outcome is Outcome.CORRECT for row in table.rows] == [True] * 5 + [False] * 15
    assert format_prediction(table.rows[0].question) == "B. Wrong 5 (75 %)"
    assert format_prediction(table.rows[0].base) == "A. Right 5 (75 %)"
    text = page(tmp_path, [before], [after], manifest)
    assert "20 of 25 questions" in text
    assert len(re.findall(r'<td class="text">Stem number \d+\?<br>', text)) == 20


def test_errors_are_those_of_the_primary_method() -> None:
    cloze = [evaluation("base", ASKED, 5), evaluation("tuned", ASKED, 25)]
    letter = [evaluation(label, ASKED, 9, "letter") for label in ("base", "tuned")]
    record = run_record([cloze[0], letter[0]], [cloze[1], letter[1]])
    evaluations = [cloze[0], letter[0], cloze[1], letter[1]]
    (table,) = list_error_tables(record, evaluations)
    assert (table.method, table.total) == ("cloze", 5)
    assert [(a.label, b.label, a.method) for a, b in record.evaluations_by_exam()] == [
        ("base", "tuned", "cloze"),
        ("base", "tuned", "letter"),
    ]


def test_an_unparsed_answer_is_shown_with_its_text(
    tmp_path: Path, manifest: SnapshotManifest
) -> None:
    before = evaluation("base", ASKED, 5, "generate")
    record, predictions = evaluation("tuned", ASKED, 30, "generate")
    changes = {"chosen": None, "outcome": Outcome.UNPARSED, "probabilities": None, "text": "<i>eh"}
    changed = [*predictions[:3], predictions[3].model_copy(update=changes), *predictions[4:]]
    text = page(tmp_path, [before], [Evaluation(record, changed)], manifest)
    assert "(unparsed) &lt;i&gt;eh" in text


def test_a_good_run_needs_no_notes(plain: str) -> None:
    before, after = evaluation("base", ASKED, 5), evaluation("tuned", ASKED, 25)
    assert collect_run_caveats(run_record([before], [after])) == []
    assert 'class="notes"' not in plain


def test_notes_are_on_the_page(tmp_path: Path, manifest: SnapshotManifest) -> None:
    changes: dict[str, Any] = {"mean_mass": 0.01, "letters_chosen": {"<C>": 30}}
    pair = [evaluation(label, ASKED, 30, "letter", **changes) for label in ("base", "tuned")]
    text = page(tmp_path, pair[:1], pair[1:], manifest)
    assert 'class="notes"' in text
    assert "only 1.0 % of the probability" in text
    assert "the model chose &lt;C&gt; on 30 of 30" in text
    assert "<p>None.</p>" in text  # and no error


@pytest.mark.parametrize(("mass", "noted"), [(0.49, True), (0.5, False), (None, False)])
def test_low_letter_mass_is_noted(mass: float | None, noted: bool) -> None:
    even = {"A": 15, "B": 15}
    pair = [
        evaluation(label, ASKED, 15, "letter", mean_mass=mass, letters_chosen=even)
        for label in ("base", "tuned")
    ]
    found = collect_run_caveats(run_record(pair[:1], pair[1:]))
    assert len(found) == (2 if noted else 0)
    if noted:
        assert found[0].startswith("base on starter:recall, letter: only 49.0 %")


@pytest.mark.parametrize(("top", "noted"), [(24, True), (23, False), (30, True)])
def test_a_constant_letter_is_noted(top: int, noted: bool) -> None:
    # 80 % of 30 questions are 24
    skewed = evaluation("tuned", ASKED, 15, "letter", letters_chosen={"C": top, "B": 30 - top})
    even = evaluation("base", ASKED, 15, "letter", letters_chosen={"A": 15, "B": 15})
    found = collect_run_caveats(run_record([even], [skewed]))
    assert [f"the model chose C on {top} of 30 questions" in note for note in found] == [
        True
    ] * noted


def test_a_constant_letter_is_no_fault_of_the_cloze_form() -> None:
    pair = [evaluation(label, ASKED, 30, letters_chosen={"A": 30}) for label in ("base", "tuned")]
    assert collect_run_caveats(run_record(pair[:1], pair[1:])) == []


@pytest.mark.parametrize(("answered", "noted"), [(26, True), (27, False)])
def test_unparsed_answers_are_noted(answered: int, noted: bool) -> None:
    # 26 / 30 = 0.867 answer, 27 / 30 = 0.9 do
    rate = Proportion(value=answered / 30, low=0.0, high=1.0, n=30)
    fine = evaluation("base", ASKED, 15, "generate")
    poor = evaluation("tuned", ASKED, 15, "generate", answer_rate=rate)
    found = collect_run_caveats(run_record([fine], [poor]))
    assert len(found) == noted
    assert all(note.startswith("tuned on starter:recall, generate: ") for note in found)


def test_numbers_are_written_with_one_decimal() -> None:
    assert format_percent(0.12345) == "12.3"
    assert format_interval(Proportion(value=0.3, low=0.14551, high=0.519, n=20)) == "14.6–51.9"


def forgetting() -> ForgettingRecord:
    asked = [
        evaluation(label, ASKED, right, source="starter:general")
        for label, right in (("base", 25), ("tuned", 5))
    ]
    text_loss = TextLossComparison(
        n=40,
        loss_a=0.912,
        loss_b=1.034,
        difference=0.122,
        difference_low=0.101,
        difference_high=0.143,
        p_value=1e-9,
    )
    answers = (compare_evaluations(*asked),)
    return ForgettingRecord(answers=answers, chance=0.25, trained_on=2, text_loss=text_loss)


def test_what_was_forgotten_is_on_the_page(
    tmp_path: Path, plain: str, manifest: SnapshotManifest
) -> None:
    before, after = evaluation("base", ASKED, 5), evaluation("tuned", ASKED, 25)
    record = run_record([before], [after]).model_copy(update={"forgotten": (forgetting(),)})
    text = page_of(tmp_path, record, [before, after], manifest)
    assert "<h2>What was forgotten</h2>" in text
    for words in (
        "tuned has forgotten something: general questions 83.3 to 16.7 % by cloze",
        "0.912 to 1.034 bits per byte (+0.122",
        "+0.101 to +0.143",
        "2 of the general questions were trained on.",
    ):
        assert words in text
    assert "What was forgotten" not in plain, "nothing is said where nothing was measured"


def test_what_was_forgotten_is_one_line_in_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, after = evaluation("base", ASKED, 5), evaluation("tuned", ASKED, 25)
    record = run_record([before], [after]).model_copy(update={"forgotten": (forgetting(),)})
    show_record(record)
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("tuned has forgotten something") == 1


def test_a_run_that_was_recorded_before_still_opens() -> None:
    record = run_record([evaluation("base", ASKED, 5)], [evaluation("tuned", ASKED, 25)])
    former = record.model_dump(mode="json")
    del former["forgotten"]
    assert RunRecord.model_validate(former) == record
    measured = record.model_copy(update={"forgotten": (forgetting(),)})
    assert RunRecord.model_validate_json(measured.model_dump_json()) == measured
