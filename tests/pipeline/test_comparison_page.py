from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic import BaseModel
from tests.unit.analysis.synthetic import SUBJECTS, evaluation, free, near_passages, predictions

from medtune.analysis.analyze import analyze_evaluation, majority_note
from medtune.analysis.compare import compare_evaluations
from medtune.analysis.open_book import search_note
from medtune.analysis.paired_slices import DiscordantQuestion, compare_slices, find_changed_answers
from medtune.core.formatting import format_interval, format_percent
from medtune.core.intervals import wilson_interval
from medtune.core.records import (
    ComparisonRecord,
    Method,
    OpenBook,
    Prediction,
    SearchBaseline,
)
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlice
from medtune.reports import comparison as comparison_page
from medtune.reports.comparison import AnalysisFigures, write_analysis, write_comparison

EVIL = '<script>alert("x")</script> <img src=https://evil.example/x.png> {{ 7 * 7 }} & co'
VOID = {"meta", "br", "img", "link", "input", "hr", "wbr", "col"}
SCRIPT = Path(comparison_page.__file__).parent / "templates" / "sort.js"
N = 420
SEARCH = SearchBaseline(
    index="i" * 64,
    passages=320,
    accuracy=wilson_interval(170, N),
    only_model=120,
    only_search=31,
    p_value=1e-5,
)
BOOK = OpenBook(
    kind="per-option",
    index="i" * 64,
    passages=2,
    words=60,
    cut=41,
    without=3,
    left_out=17,
    less_similar=wilson_interval(200, 378),
)


class Page(HTMLParser):
    """A page taken apart; a tag that is closed out of turn is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[str]] = {}
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._open: list[str] = []
        self._row: list[str] | None = None
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self._row = self.rows.setdefault(dict(attrs).get("id") or f"row {len(self.rows)}", [])
        if tag in ("td", "th") and self._row is not None:
            self._row.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "tr":
            self._row = None

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts.append(data)
        elif self._open and self._open[-1] != "style":
            self.text.append(data)
            if self._row:
                self._row[-1] += data

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.tags if "id" in attributes]

    def links(self) -> list[str]:
        return [attributes["href"] or "" for tag, attributes in self.tags if tag == "a"]

    def said(self) -> str:
        return " ".join(" ".join(self.text).split())

    def row(self, name: str) -> list[str]:
        return [" ".join(cell.split()) for cell in self.rows[name]]


class Case:
    """Everything that the page of a comparison is made of."""

    def __init__(
        self,
        given_a: list[Prediction],
        given_b: list[Prediction],
        method: Method = "letter",
        held: list[Prediction] | None = None,
        folders: tuple[str, str] = ("../eval/base", "../eval/tuned"),
        labels: tuple[str, str] = ("base", "tuned"),
    ) -> None:
        blind = None if method == "generate" else wilson_interval(len(given_a) // 3, len(given_a))
        a = evaluation(labels[0], given_a, method, options_only=blind)
        b = evaluation(labels[1], given_b, method)
        calibration = evaluation(labels[1], held, method) if held else None
        self.record: ComparisonRecord = compare_evaluations(a, b)
        self.a: AnalysisRecord = analyze_evaluation(folders[0], a)
        self.b: AnalysisRecord = analyze_evaluation(folders[1], b, calibration)
        self.shifts: tuple[PairedSlice, ...] = compare_slices(given_a, given_b)
        self.changed: tuple[DiscordantQuestion, ...] = find_changed_answers(given_a, given_b)

    def write(self, folder: Path, **changes: Any) -> str:
        path = folder / "report.html"
        parts = {**vars(self), **changes}
        write_comparison(
            path, parts["record"], parts["a"], parts["b"], parts["shifts"], parts["changed"]
        )
        return path.read_text(encoding="utf-8")


@cache
def usual() -> Case:
    held = predictions(200, 2.5, 2, tag="h")
    a, b = predictions(N, 0.4, 1), predictions(N, 2.5, 2)
    return Case(near_passages(a), near_passages(b), held=held)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    return usual().write(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("analysis") / "analysis.html"
    write_analysis(path, usual().b)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures away: what is on the page then is in its text."""
    empty = AnalysisFigures("", "", 0, "", "", "", "", "", "", "")
    monkeypatch.setattr(comparison_page, "_draw_figures", lambda *_: empty)


@pytest.mark.parametrize("which", ["plain", "alone"])
def test_a_page_is_whole_and_stands_alone(which: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(which)
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert [name for name, n in Counter(page.ids()).items() if n > 1] == []
    assert page.scripts == [SCRIPT.read_text(encoding="utf-8").rstrip("\n")]
    names = {name for name, _ in page.tags}
    assert not names & {"iframe", "object", "embed", "link", "img", "base", "form"}
    files = {"record.json", "predictions.jsonl", "analysis.json", "comparison.json"}
    files |= {"analysis-a.json", "analysis-b.json", "slices.json"}
    for name, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key == "src"]
        for key, value in attributes.items():
            if key.split(":")[-1] == "href" and value is not None:
                inside = value[:1] == "#" and value[1:] in page.ids()
                assert inside or (name == "a" and Path(value).name in files), (name, value)
            assert key.startswith("xmlns") or "://" not in (value or ""), (name, key, value)
    assert not re.search(r"url\((?!['\"]?#)", text)
    assert "@import" not in text
    assert not re.search(r"\b(nan|none|inf|undefined)\b", page.said().replace("Adapter none", ""))


@pytest.mark.parametrize("which", ["plain", "alone"])
def test_figures_can_be_heard(which: str, request: pytest.FixtureRequest) -> None:
    page = Page(request.getfixturevalue(which))
    figures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(figures) == (9 if which == "plain" else 8)
    assert all(f["role"] == "img" and len(f["aria-label"] or "") > 40 for f in figures)
    assert len({f["aria-label"] for f in figures}) == len(figures)


def test_the_minute_comes_first(plain: str) -> None:
    said = Page(plain).said()
    case = usual()
    places = [
        said.index("Is tuned better than base?"),
        said.index(case.record.verdict),
        said.index("accuracy, % (bar: Wilson 95 %)"),
        said.index("Options only: not measured for tuned"),
        said.index("Not medical advice"),
        said.index("Every accuracy with n"),
    ]
    assert places == sorted(places)
    label = next(a["aria-label"] for tag, a in Page(plain).tags if tag == "svg") or ""
    for p in (case.record.accuracy_a, case.record.accuracy_b, case.a.evaluation.options_only):
        assert p is not None
        assert (
            f"{format_percent(p.value)} ({format_percent(p.low)} to {format_percent(p.high)})"
            in label
        )
    assert "chance: 25.0" in label
    assert f"always A: {format_percent(case.a.evaluation.majority.value)}" in label


def test_rows_show_their_slices(plain: str, alone: str) -> None:
    case = usual()
    page = Page(plain)
    surgery = next(s for s in case.shifts if s.name == "Surgery")
    assert surgery.p_value is not None
    assert surgery.p_holm is not None
    assert page.row("subject-surgery") == [
        "Surgery",
        str(surgery.accuracy_a.n),
        format_percent(surgery.accuracy_a.value),
        format_interval(surgery.accuracy_a),
        format_percent(surgery.accuracy_b.value),
        format_interval(surgery.accuracy_b),
        str(surgery.only_a),
        str(surgery.only_b),
        f"{100 * surgery.difference:+.1f}",
        f"{100 * surgery.difference_low:+.1f} to {100 * surgery.difference_high:+.1f}",
        "< 0.0001" if surgery.p_value < 0.0001 else f"{surgery.p_value:.4f}",
        "< 0.0001" if surgery.p_holm < 0.0001 else f"{surgery.p_holm:.4f}",
    ]
    names = {row[0] for row in page.rows.values() if row}
    assert set(SUBJECTS) <= names
    ours = next(s for s in case.b.slices if (s.dimension, s.name) == ("letter", "C"))
    assert ours.rest is not None
    for found in (page, Page(alone)):
        row = found.row("b-letter-c" if found is page else "a-letter-c")
        assert row[1:6] == [
            str(ours.accuracy.n),
            format_percent(ours.accuracy.value),
            format_interval(ours.accuracy),
            format_percent(ours.rest.value),
            format_interval(ours.rest),
        ]


def leaves(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Walk to every number of a record; of a list, the last will do."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from leaves(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for key in list(value)[-1:]:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, tuple):
        if value:
            yield from leaves(value[-1], (*path, len(value) - 1))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def moved(value: Any, path: tuple[Any, ...]) -> Any:
    """Change the number at the end of a path."""
    if not path:
        return value + 1 if isinstance(value, int) else value / 2 + 0.123
    step, *rest = path
    if isinstance(value, BaseModel):
        return value.model_copy(update={step: moved(getattr(value, step), tuple(rest))})
    if isinstance(value, dict):
        return {**value, step: moved(value[step], tuple(rest))}
    return tuple(moved(v, tuple(rest)) if i == step else v for i, v in enumerate(value))


UNSEEN = {
    "curve.coverage": "drawn",
    "curve.risk": "drawn",
    "data.n": "n stands in the counts",
    "power.first": "said where no threshold was found",
    "power.allowed": "said where no threshold was found",
    "power.accuracy": "said where no threshold was found",
    "provenance": "packages and machine are not measured",
    "prior": "of the letters: in the record",
    "resumed_at": "in the record",
    "evaluation.majority.n": "n, as in the counts",
    "evaluation.majority.low": "drawn",
    "evaluation.majority.high": "drawn",
    "evaluation.accuracy.n": "n, as in the counts",
    "evaluation.answer_rate.n": "n, as in the counts",
    "accuracy_answered.n": "correct and wrong, in the counts",
    "evaluation.options_only.n": "in the record",
    "answer_rate.n": "n of the slice",
    "rest.n": "all but the slice's n",
    "coverage.n": "all questions",
    "stop_rate.n": "n, as in the counts",
    "answered.n": "all questions",
    "found.target": "stands in the finding",
    "prediction": "text, not measured",
}


@pytest.mark.usefixtures("bare")
def test_every_number_of_an_analysis_is_on_its_page(tmp_path: Path) -> None:
    record = usual().b
    # What answers only some makes the column of answer rates appear.
    record = record.model_copy(
        update={
            "slices": tuple(
                s.model_copy(
                    update={"answer_rate": wilson_interval(s.accuracy.n - 1, s.accuracy.n)}
                )
                for s in record.slices
            ),
            "evaluation": record.evaluation.model_copy(
                update={
                    "options_only": wilson_interval(7, 20),
                    "stop_rate": wilson_interval(11, 20),
                    "parser": 3,
                    "search": SEARCH,
                    "open_book": BOOK,
                }
            ),
        }
    )
    page = tmp_path / "analysis.html"
    write_analysis(page, record)
    before = page.read_text()
    missing = []
    for path in leaves(record):
        dotted = ".".join(str(step) for step in path if isinstance(step, str))
        if any(part in dotted for part in UNSEEN):
            continue
        write_analysis(page, moved(record, path))
        if page.read_text() == before:
            missing.append(".".join(map(str, path)))
    assert missing == []


@pytest.mark.usefixtures("bare")
def test_every_number_of_a_comparison_is_on_its_page(tmp_path: Path) -> None:
    case = usual()
    before = case.write(tmp_path)
    missing = []
    for what, value in (("record", case.record), ("shifts", case.shifts)):
        for path in leaves(value):
            if path[-2:] in [("accuracy_b", "n")] or path[0] in ("accuracy_a", "accuracy_b"):
                continue  # n stands once; the accuracies are those of the evaluations
            if case.write(tmp_path, **{what: moved(value, path)}) == before:
                missing.append((what, *path))
    assert missing == []


def test_the_same_records_make_the_same_bytes(plain: str, tmp_path: Path) -> None:
    assert usual().write(tmp_path) == plain


def test_links_are_relative_to_the_page(tmp_path: Path) -> None:
    a, b = tmp_path / "runs" / "eval" / "base #1", tmp_path / "runs" / "eval" / "tuned"
    folder = tmp_path / "runs" / "compare"
    folder.mkdir(parents=True)
    given = predictions(60, 0.5, 1)
    case = Case(given, predictions(60, 1.0, 2), folders=(str(a), str(b)))
    page = Page(case.write(folder))
    assert str(tmp_path) not in folder.joinpath("report.html").read_text()
    files = {unquote(link) for link in page.links() if not link.startswith("#")}
    assert files == {
        "comparison.json",
        "analysis-a.json",
        "slices.json",
        "analysis-b.json",
        "../eval/base #1/record.json",
        "../eval/base #1/predictions.jsonl",
        "../eval/tuned/record.json",
        "../eval/tuned/predictions.jsonl",
    }
    assert "../eval/base%20%231/record.json" in page.links()
    # Alone it lies in the folder, however that was named; or it finds its way there.
    for place, analysis, expected in (
        (folder, usual().b, "record.json"),
        (b.parent, case.b, "tuned/record.json"),
    ):
        write_analysis(place / "analysis.html", analysis)
        links = Page(place.joinpath("analysis.html").read_text()).links()
        assert expected in links


def test_every_section_says_where_its_numbers_are(plain: str) -> None:
    sections = re.findall(r'<section id="(\w+)">(.*?)</section>', plain, re.DOTALL)
    assert len(sections) == 11
    for name, text in sections:
        assert re.search(r'href="[^#"]+\.jsonl?"', text), name
    assert [f'href="#{name}"' in plain for name, _ in sections] == [True] * 11


def hostile(given: list[Prediction]) -> list[Prediction]:
    names = {"stem": EVIL, "options": (EVIL, "<b>x</b>", "$a$ c", "d"), "topic": EVIL}
    return [
        p.model_copy(update={**names, "subject": EVIL if i % 2 else "</table>$x^{$"})
        for i, p in enumerate(given)
    ]


def test_user_text_is_escaped(tmp_path: Path) -> None:
    case = Case(
        hostile(predictions(80, 0.3, 1)),
        hostile(predictions(80, 1.5, 2)),
        labels=("base", "<i>$x^{$</i> {{ 7 * 7 }}"),
    )
    notes = (*case.b.warnings, f"{EVIL} was given to 80 questions.")
    text = case.write(tmp_path, b=case.b.model_copy(update={"warnings": notes}))
    page = Page(text)
    assert len(page.scripts) == 1
    assert not {"img", "b", "i"} & {name for name, _ in page.tags}
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    write_analysis(tmp_path / "analysis.html", case.b)
    assert not {"img", "b", "i"} & {
        name for name, _ in Page((tmp_path / "analysis.html").read_text()).tags
    }


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    a, b = (predictions(80, skill, 1, cyclic=False) for skill in (0.3, 0.9))
    said = Page(Case(a, b).write(tmp_path)).said()
    assert "Flips: not measured for base and tuned" in said
    assert "prediction sets and temperature: not measured for base and tuned" in said
    assert "--orders cyclic" in said
    assert "--calibration-a FOLDER --calibration-b FOLDER" in said
    assert "--options-only 500" in said
    assert "Base model" not in said
    assert (
        "Base model: not shown"
        in Page(Case(a, b, labels=("first", "second")).write(tmp_path)).said()
    )


def test_free_answers_have_no_calibration_and_show_their_text(tmp_path: Path) -> None:
    a, b = (free(predictions(80, skill, 1)) for skill in (0.3, 0.9))
    case = Case(a, b, method="generate")
    text = case.write(tmp_path)
    page = Page(text)
    said = page.said()
    for what, why in (
        ("Calibration", "; free answers have no probabilities"),
        ("Risk and coverage", "; free answers have no probabilities"),
        ("Flips", ", asked with the options in one order only, as all free answers are"),
        ("Options only", "; free answers are not asked for without a stem"),
    ):
        assert f"{what}: not measured for base and tuned{why}." in said
    assert "--orders cyclic" not in said
    assert "--options-only 500" not in said
    assert "(unparsed) I &lt;b&gt;think&lt;/b&gt; ..." in text
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 4
    row = page.row("a-negation-plain")
    assert len(row) == 10  # with the answer rate
    write_analysis(tmp_path / "analysis.html", case.b)
    assert "Calibration: not measured" in (tmp_path / "analysis.html").read_text()


def test_one_model_may_lack_what_the_other_has(tmp_path: Path) -> None:
    case = usual()
    poor = case.a.model_copy(
        update={"calibration": None, "selective": None, "flips": None, "failures": ()}
    )
    page = Page(case.write(tmp_path, a=poor))
    said = page.said()
    for what in ("Flips", "Calibration", "Risk and coverage"):
        assert re.search(rf"{what}: not measured for base[;,]", said)
    assert "base: nothing failed." in said
    assert "calibration-b" in page.rows
    assert "calibration-a" not in page.rows


def test_questions_that_are_alike_have_no_slices(tmp_path: Path) -> None:
    same = {"subject": "Skin", "topic": "Skin", "answer": 0, "stem": "Which?"}
    a, b = (
        [p.model_copy(update={**same, "orders": None}) for p in predictions(30, skill, 1)]
        for skill in (0.3, 0.9)
    )
    case = Case(a, b)
    assert case.shifts == ()
    assert "all questions have the same subject" in case.write(tmp_path)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"p_value": 0.01, "difference": 0.1}, ""),
        ({"p_value": 0.01, "difference": -0.1}, "worse"),
        ({"p_value": 0.05, "difference": 0.1}, "none"),
    ],
)
@pytest.mark.usefixtures("bare")
def test_the_verdict_has_its_colour(changes: dict[str, float], kind: str, tmp_path: Path) -> None:
    text = usual().write(tmp_path, record=usual().record.model_copy(update=changes))
    assert f'<p class="verdict {kind}">' in text


@pytest.mark.parametrize(
    ("right", "kind", "word"),
    [(70, "", "above always giving A (40.0 %)"), (20, "worse", "below"), (41, "none", "not shown")],
)
def test_a_model_stands_above_or_below_what_needs_no_knowledge(
    right: int, kind: str, word: str
) -> None:
    exam = usual().a.evaluation.model_copy(
        update={"accuracy": wilson_interval(right, 100), "majority": wilson_interval(40, 100)}
    )
    found = comparison_page.compare_with_baselines(exam)
    assert found.kind == kind
    assert word in found.text
    assert f"{right}.0 % right" in found.text
    lower = exam.model_copy(update={"majority": wilson_interval(10, 100)})
    assert "chance (25.0 %)" in comparison_page.compare_with_baselines(lower).text


@pytest.mark.usefixtures("bare")
def test_five_notes_are_shown_and_what_differs_comes_first(tmp_path: Path) -> None:
    case = usual()
    a, b = (
        analysis.model_copy(update={"warnings": tuple(f"note {name}{i}" for i in range(3))})
        for analysis, name in ((case.a, "a"), (case.b, "b"))
    )
    record = case.record.model_copy(update={"differs": ("shots", "prompt")})
    text = case.write(tmp_path, record=record, a=a, b=b)
    notes = re.search(r'<div class="notes">(.*?)</div>', text, re.DOTALL)
    assert notes is not None
    shown = re.findall(r"<li>(.*?)</li>", notes[1].partition("<details>")[0])
    assert shown[0].startswith("The evaluations differ in shots, prompt, so their difference")
    assert shown[1:] == ["note a0", "note a1", "note a2", "note b0"]
    assert "<summary>2 more</summary>" in notes[1]
    same = case.write(tmp_path, a=a, b=a)
    assert same.count("<li>note a0</li>") == 1
    quiet = a.model_copy(update={"warnings": ()})
    assert 'class="notes"' not in case.write(tmp_path, a=quiet, b=quiet)


def test_equal_labels_are_told_apart(tmp_path: Path) -> None:
    case = Case(predictions(60, 0.5, 1), predictions(60, 1.0, 2), labels=("base", "base"))
    said = Page(case.write(tmp_path)).said()
    assert "Is base (b) better than base (a)?" in said


def test_gained_and_lost_are_shown_with_both_answers(plain: str) -> None:
    case = usual()
    said = Page(plain).said()
    lost = [one for one in case.changed if one.kind == "lost"]
    gained = [one for one in case.changed if one.kind == "gained"]
    assert f"Lost: {case.record.only_a} questions" in said
    assert f"Gained: {case.record.only_b} questions" in said
    assert len(gained) == 20 < case.record.only_b
    assert f"20 of {case.record.only_b}, those whose right option" in said
    page = Page(plain)
    for one in (*lost, *gained):
        (row,) = [r for name, r in page.rows.items() if name.startswith(f"question-{one.a.id}")]
        assert one.a.stem in row[0]
        assert one.a.id in row[0]
        for cell, p in zip(row[1:], (one.a, one.b), strict=True):
            assert p.chosen is not None
            assert p.probabilities is not None
            share = f"({100 * p.probabilities[p.chosen]:.0f} %)"
            mark, heard = ("✓", "(right)") if p.chosen == p.answer else ("✗", "(wrong)")
            text = f"{mark} {'ABCD'[p.chosen]}. {p.options[p.chosen]} {share} {heard}"
            assert cell.strip() == text


def test_what_stands_below_the_verdict_is_not_said_twice(tmp_path: Path) -> None:
    case = Case(predictions(300, 0.5), predictions(300, 1.5))
    line = "The options alone may explain its accuracy."
    case.b = case.b.model_copy(update={"warnings": (line,)})
    assert " ".join(Page(case.write(tmp_path)).said().split()).count(line) == 1
    case.record = case.record.model_copy(update={"notes": (line,)})
    assert " ".join(Page(case.write(tmp_path)).said().split()).count(line) == 1


@pytest.mark.usefixtures("bare")
def with_book(found: AnalysisRecord) -> AnalysisRecord:
    """Let an analysed model have read passages, beside a search."""
    read = found.evaluation.model_copy(update={"search": SEARCH, "open_book": BOOK})
    return found.model_copy(update={"evaluation": read})


def test_an_open_book_stands_beside_its_less_similar_questions(tmp_path: Path) -> None:
    write_analysis(tmp_path / "analysis.html", with_book(usual().b))
    page = Page((tmp_path / "analysis.html").read_text())
    said = page.said()
    rest = "Without the most similar tenth of the questions: 52.9 % (47.9–57.9, n = 378)"
    assert said.index(rest) < said.index("Not medical advice")
    assert "the model beats a text search in the training questions" in said
    assert "2 passages of at most 60 words for each option, 41 cut to that length" in said
    assert page.row("search-a")[3:] == ["40.5", "35.9–45.2", "120", "31", "< 0.0001", "320"]
    found = usual().b.similarity
    assert found is not None
    for number, part in enumerate(found.bins, 1):
        assert page.row(f"similarity-a-{number}")[2:] == [
            format_percent(part.accuracy.value),
            format_interval(part.accuracy),
            str(part.accuracy.n),
        ]
    labels = [a["aria-label"] or "" for tag, a in page.tags if tag == "svg"]
    assert "text search: 40.5" in labels[0]
    assert "tuned, less similar: 52.9" in labels[0]
    (curve,) = (label for label in labels if "by similarity" in label)
    assert found.less_similar is not None
    assert f"most similar tenth {format_percent(found.less_similar.value)}" in curve


def test_a_comparison_shows_both_curves_and_says_the_verdict_on_the_search_once(
    tmp_path: Path,
) -> None:
    case = usual()
    a, b = with_book(case.a), with_book(case.b)
    record = case.record.model_copy(
        update={"notes": tuple(filter(None, [search_note(b.evaluation)]))}
    )
    page = Page(case.write(tmp_path, a=a, b=b, record=record))
    assert page.said().count("tuned on file:data/validation.parquet, letter: the model beats") == 1
    assert page.said().count("base on file:data/validation.parquet, letter: the model beats") == 1
    assert {"similarity-a-1", "similarity-b-1", "search-a", "search-b"} <= page.rows.keys()


def test_without_an_index_there_is_no_section_on_look_up(tmp_path: Path) -> None:
    plain = Case(predictions(300, 0.5), predictions(300, 0.5))
    page = Page(plain.write(tmp_path))
    assert "similarity" not in page.ids()
    assert "#similarity" not in page.links()
    assert "similarity" in Page(usual().write(tmp_path)).ids()


def test_an_analysis_compares_its_accuracy_with_the_majority_letter_once(tmp_path: Path) -> None:
    found = Case(predictions(300, 0.5), predictions(300, 0.5)).a
    low = {"accuracy": wilson_interval(75, 300), "majority": wilson_interval(80, 300)}
    exam = found.evaluation.model_copy(update=low)
    note = majority_note(exam)
    assert note is not None
    found = found.model_copy(update={"evaluation": exam, "warnings": (note, "another note")})
    write_analysis(tmp_path / "analysis.html", found)
    text = (tmp_path / "analysis.html").read_text()
    assert note not in text
    assert "another note" in text


def dumped(page: Path) -> str:
    """Open a page in a browser, and return what its scripts made of it."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed: nothing was tried in a browser")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={page.parent}/profile",
    ]
    done = subprocess.run(
        [browser, *flags, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    shown = re.search(r'<p id="found">(.*?)</p>', done.stdout)
    assert shown is not None, done.stderr[-500:]
    return shown[1]


@pytest.mark.pages
@pytest.mark.parametrize("width", [400, 1200])
def test_a_page_is_never_wider_than_its_window(plain: str, width: int, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    measure = (
        "const inner = document.querySelector('iframe').contentDocument;"
        "document.querySelector('#found').textContent ="
        " inner.documentElement.scrollWidth + ' ' + inner.querySelectorAll('th button').length;"
    )
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><p id=found></p><iframe srcdoc="{escape(plain)}"'
        f' style="width: {width}px; height: 900px; border: 0" onload="{measure}"></iframe>'
    )
    wide, buttons = map(int, dumped(page).split())
    assert 0 < wide <= width
    assert buttons > 20


DRIVER = """
const heads = [...document.querySelectorAll("th")];
const names = () => [...document.querySelectorAll("tbody tr")].map((r) => r.cells[0].textContent);
const found = [];
const press = (place) => {
  heads[place].querySelector("button").click();
  const states = heads.map((h) => h.getAttribute("aria-sort") ?? "-");
  found.push(states.join(",") + ":" + names().join(""));
};
for (const place of [1, 1, 1, 0, 0, 2]) press(place);
dispatchEvent(new Event("beforeprint"));
found.push(document.querySelectorAll("details[open]").length);
dispatchEvent(new Event("afterprint"));
found.push(document.querySelectorAll("details[open]").length);
found.push(document.querySelectorAll("#few button").length);
document.querySelector("#found").textContent = found.join(" ");
"""


@pytest.mark.pages
def test_tables_are_sorted_in_a_browser(tmp_path: Path) -> None:
    rows = [("d", "9", "x10"), ("a", "10", "x9"), ("c", "", "x1"), ("b", "9", "x2")]
    body = "".join(
        f'<tr><th>{name}</th><td data-sort="{value}">shown</td><td>{text}</td></tr>'
        for name, value, text in rows
    ).replace("<th>", '<th scope="row">')
    head = '<th scope="col">Name</th><th scope="col" class="n">n</th><th scope="col">Text</th>'
    parts = "<details>x</details><details open>y</details>"
    few = '<table class="sort" id="few"><thead><tr><td>x</td></tr></thead><tbody></tbody></table>'
    page = tmp_path / "page.html"
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><table class="sort"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>{few}{parts}"
        f"<p id=found></p><script>{SCRIPT.read_text()}</script><script>{DRIVER}</script>"
    )
    dashes = ",-" * 4  # the headings of the rows, which sort nothing
    assert dumped(page).split(" ") == [
        # numbers fall first; equal ones stay as they came, an empty one is last
        "-,descending,-" + dashes + ":adbc",
        # 9 and 9 as they came, then 10; the empty one is last again
        "-,ascending,-" + dashes + ":dbac",
        "-,-,-" + dashes + ":dacb",
        "ascending,-,-" + dashes + ":abcd",
        "descending,-,-" + dashes + ":dcba",
        # x1, x2, x9, x10: numbers in names count as numbers
        "-,-,ascending" + dashes + ":cbad",
        "2",
        "1",
        "0",
    ]
