from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from jinja2 import Environment, nodes
from tests.unit.releases.export import dossiers as make

from medtune.analysis.analyze import evaluation_warnings
from medtune.core.formatting import format_share
from medtune.core.records import OpenBook, Proportion
from medtune.core.schemas.analysis import AnalysisRecord, Flips
from medtune.core.schemas.guardrails import TEMPERATURE_BOUNDS
from medtune.releases.export import render
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.limitations import RECORD_DESCRIPTIONS, list_limitations
from medtune.releases.export.model_card import (
    render_model_card,
)
from medtune.releases.gate_schema import Binding, Evidence, Waiver

HEADINGS = [
    "Use", "How it is asked", "Training data", "Evaluation", "The gate", "Limitations",
    "Made with",
]  # fmt: skip


def loaded(context: ReleaseContext, folder: Path) -> Any:
    """Read a card as the Hub's own library does."""
    path = folder / "README.md"
    path.write_text(render_model_card(context), encoding="utf-8")
    return ModelCard.load(path)


def part(text: str, heading: str) -> str:
    """Cut one section out of a card."""
    return re.split(r"^#+ ", text.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_front_matter_says_what_it_is(tmp_path: Path) -> None:
    data = loaded(make.context(), tmp_path).data
    assert data.license == "apache-2.0"
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (data.library_name, data.pipeline_tag, data.language) == (
        "peft",
        "text-generation",
        "en",
    )
    assert {"medtune", "lora", "gate-passed"} <= set(data.tags)
    assert (data.metrics, data.eval_results) == (["accuracy"], None)  # results: .eval_results
    assert data.get("datasets") is None  # a release knows its train split by hash alone
    bare = loaded(make.context(asked=False, licence=None, hub_base=None), tmp_path).data
    assert bare.license == "unknown"
    assert bare.base_model is None
    assert "gate-not-asked" in bare.tags


@pytest.mark.parametrize(
    ("weights", "scheme", "library"),
    [
        ("model", None, "transformers"),
        ("model", "merge", "transformers"),
        ("model", "int8", "medtune"),
        ("model", "gguf-q8_0", "medtune"),
        ("base", None, "medtune"),
    ],
)
def test_the_library_is_the_one_that_opens_it(
    weights: str, scheme: str | None, library: str, tmp_path: Path
) -> None:
    release = make.release(weights=weights, scheme=scheme)
    card = loaded(make.context(release=release, files={}), tmp_path)
    assert card.data.library_name == library
    assert (card.data.pipeline_tag is None) == (weights == "base")
    assert ("holds no weights" in card.text) == (weights == "base")


def test_every_section_is_there_and_every_figure_in_it() -> None:
    text = render_model_card(make.context())
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    e = make.EVIDENCE
    assert e.analysis is not None
    assert e.safety is not None
    exam = e.analysis.evaluation
    evaluation = part(text, "Evaluation")
    for value in (exam.accuracy, exam.answer_rate, exam.majority, exam.options_only):
        assert value is not None
        assert format_share(value) in evaluation
    assert "+2.8 points (+1.6 to +4.0)" in part(text, "Compared with the champion")
    assert "right only by the champion 290, only by this release 407" in part(
        text, "Compared with the champion"
    )
    assert "| negation: negated | 410 |" in part(text, "Subjects and negated questions")
    calibration = part(text, "Calibration")
    assert "0.0812" in calibration
    assert "0.0307" in calibration
    assert "temperature 1.3, fitted on 320 questions of starter:train." in calibration
    assert "defers answers below a confidence of 0.6123" in part(text, "Limitations")
    assert "300 questions" in part(text, "Frozen suite")
    assert "0 of them were in the training data" in part(text, "Frozen suite")
    guards = part(text, "Guards")
    assert guards.count("0.0 % (0.0–7.1, n = 50)") == len(e.safety.figures) / 2
    assert "100.0 % (98.7–100.0, n = 297)" in part(text, "Parity")
    assert "withheld the answers to 3 more" in part(text, "Parity")
    assert "134.5 ms (n = 100) | 152.1 ms |" in part(text, "Latency")
    made = part(text, "Made with")
    assert "ast_serialize 0.13.1, torch 2.13.0+cpu." in made
    assert make.MADE.commit is not None
    assert make.MADE.commit in made


def test_the_gates_table_has_every_rule_with_its_figure() -> None:
    context = make.context()
    assert context.verdict is not None
    rows = [line.split(" | ") for line in part(render_model_card(context), "The gate").splitlines()]
    by_rule = {row[0].removeprefix("| "): row for row in rows if len(row) == 7}
    for result in context.verdict.results:
        outcome, figure, end, bound, n, reason = by_rule[result.rule][1:]
        assert outcome == result.outcome
        assert figure == ("none" if result.figure is None else f"{result.figure:.4g}")
        assert bound == ("none" if result.bound is None else f"{result.bound:.4g}")
        assert end == (result.end or "none")
        assert n == ("none" if result.n is None else f"{result.n:,}")
        assert reason.removesuffix(" |").replace("\\|", "|") == result.reason


DRIFTS = "log-probabilities move by up to 0.060 nats on average, at most 0.050 allowed"
CHANGES: list[tuple[str, Any, str, str]] = [
    ("comparison", make.comparison(difference_low=0.0067), "+1.6 to", "+0.7 to"),
    ("analysis", make.analysis(evaluation=make.evaluation(
        accuracy=Proportion(value=0.4321, low=0.41, high=0.45, n=4183))),
        "33.6 % (32.2–35.1, n = 4,183)", "43.2 % (41.0–45.0, n = 4,183)"),
    ("regression", make.regression(trained_on=2), " 0 of them were", " 2 of them were"),
    ("served", make.served(max_drift=0.0999), "0.0456 at most", "0.0999 at most"),
    ("safety", make.safety(harm_answered=0.04), "harm answered | 0.0 %", "harm answered | 4.0 %"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "record", "before", "after"), CHANGES)
def test_a_changed_record_changes_the_card(
    kind: str, record: object, before: str, after: str
) -> None:
    old = render_model_card(make.context())
    new = render_model_card(make.context(make.EVIDENCE.model_copy(update={kind: record})))
    assert before in old
    assert after not in old
    assert after in new


def test_no_number_is_typed_into_a_template() -> None:
    """What a template says by itself holds no decimal and no percentage."""
    folder = Path(render.__file__).parent / "templates"
    for path in folder.glob("*.md"):
        tree = Environment().parse(path.read_text(encoding="utf-8"))
        typed = "".join(data.data for data in tree.find_all(nodes.TemplateData))
        assert re.findall(r"\d+\.\d+|\d+ ?%", typed.replace("Intervals are 95 %.", "")) == [], path


@pytest.mark.parametrize("kind", RECORD_DESCRIPTIONS)
def test_what_was_not_measured_says_so(kind: str) -> None:
    evidence = make.EVIDENCE.model_copy(update={kind: None, "is_packed": True})
    if kind != "packed":
        evidence = evidence.model_copy(update={"packed": make.packed()})
    context = make.context(evidence, release=make.release(scheme="int8", weights="model"))
    assert context.standing == "refused"
    text = render_model_card(context)
    missing = next(line for line in list_limitations(context) if line.startswith("Not measured"))
    assert missing == f"Not measured: {RECORD_DESCRIPTIONS[kind]}."  # type: ignore[index]
    assert missing in text
    sections = {
        "comparison": "Compared with the champion", "analysis": "Calibration",
        "regression": "Frozen suite", "general": "Besides medicine", "safety": "Guards",
        "served": "Parity", "packed": "Parity", "bench": "Latency",
    }  # fmt: skip
    if kind in sections:  # without paired slices, the candidate's own stand there
        assert re.search("not measured", part(text, sections[kind]), re.IGNORECASE)
    assert "None" not in text
    assert "nan" not in text


def test_nothing_measured_is_no_number_at_all(tmp_path: Path) -> None:
    context = make.context(Evidence(), asked=False, release=make.release(calibration=None))
    card = loaded(context, tmp_path)
    assert card.data.metrics is None
    assert card.text.count("Not measured.") == 7
    assert "Accuracy: not measured." in card.text
    assert "%" not in card.text.replace("Intervals are 95 %.", "")


def test_a_refused_release_says_so_before_anything_else() -> None:
    refused = make.context(
        make.EVIDENCE.model_copy(update={"safety": make.safety(harm_answered=0.1)})
    )
    top = render_model_card(refused).split("---\n", 2)[2].strip()
    assert top.startswith("> **The gate refused this release.** Not met: safety")
    assert "Do not serve it" in top.splitlines()[0]
    top = render_model_card(make.context(asked=False)).split("---\n", 2)[2].strip()
    assert top.startswith("> **The gate was not asked")
    assert render_model_card(make.context()).split("---\n", 2)[2].strip().startswith("# v2")


def test_waivers_are_seen_with_name_and_reason() -> None:
    slow = make.EVIDENCE.model_copy(update={"bench": None})
    verdict = make.verdict(slow, waivers=(make.WAIVER,))
    context = make.context(slow).model_copy(update={"verdict": verdict})
    assert context.standing == "passed"
    text = render_model_card(context)
    assert "> **Passed with rules waived.** Not met: latency." in text
    row = next(line for line in text.splitlines() if line.startswith("| latency"))
    assert "**waived**" in row
    assert "Waived by Ann \\| Bo: the machine was busy that day" in row
    assert any("waived by Ann" in line for line in list_limitations(context))


def test_names_and_notes_break_no_table_and_bring_no_markup() -> None:
    note = "first\n| second | <script>alert(1)</script>\n# heading"
    text = render_model_card(make.context(release=make.release(note=note)))
    line = next(line for line in text.splitlines() if line.startswith("| note"))
    assert line == "| note | first \\| second \\| &lt;script>alert(1)&lt;/script> # heading |"
    assert "| subject: Anatomy \\| gross | 234 |" in text


def doubtful() -> AnalysisRecord:
    """An analysis whose accuracy may be explained by letters, options or their order."""
    exam = make.evaluation(
        accuracy=make.share(0.33, 0.32, 0.34), options_only=make.share(0.4, 0.36, 0.44, 500)
    )
    flips = Flips(
        orders=4, any=make.share(0.55, 0.54, 0.57), pairs=0.3, accuracy=(), letters={}, recalls={},
        rstd=None,
    )  # fmt: skip
    return make.analysis(
        evaluation=exam, flips=flips, warnings=tuple(evaluation_warnings(exam, flips))
    )


def looked_up() -> AnalysisRecord:
    """An analysis of questions that a search answers better."""
    exam = make.evaluation(search=make.search(only_model=500, only_search=620, p_value=0.0004))
    return make.analysis(evaluation=exam, warnings=tuple(evaluation_warnings(exam, None)))


DOUBTFUL = doubtful()
LOOKED_UP = looked_up()


@pytest.mark.parametrize(
    ("more", "evidence", "said"),
    [
        ({"calibration": None}, {}, "no calibration"),
        ({"provenance": make.MADE.model_copy(update={"commit": "c-dirty"})}, {}, "uncommitted"),
        ({"data_hash": None}, {}, "What it was trained on is not recorded."),
        ({}, {"regression": make.regression(trained_on=None)}, "needs a search for the suite"),
        ({}, {"regression": make.regression(trained_on=3)}, "3 of 300 frozen questions"),
        ({}, {"served": make.served(drift_high=0.06, broken=(DRIFTS,))}, DRIFTS),
        ({}, {"safety": make.safety(identifiers_missed=0.06)}, "identifiers missed: 6.0 %"),
        ({}, {"comparison": make.comparison(differs=("shots",))}, "differ in shots"),
        ({}, {"analysis": DOUBTFUL}, "not shown to be above always"),
        ({}, {"analysis": DOUBTFUL}, "the order of the options"),
        ({}, {"analysis": DOUBTFUL}, "ithout the stem"),
        ({}, {"analysis": LOOKED_UP}, "a text search"),
    ],
)  # fmt: skip
def test_limitations_are_found_in_the_records(
    more: dict[str, Any], evidence: dict[str, Any], said: str
) -> None:
    assert not any(said in line for line in list_limitations(make.context()))
    context = make.context(make.EVIDENCE.model_copy(update=evidence), release=make.release(**more))
    assert (
        sum(said in line for line in list_limitations(context)) == 1
    )  # not by gate and record both
    assert said in render_model_card(context)
    if evidence:
        unasked = context.model_copy(update={"verdict": None})
        words = "is not known" if said.startswith("needs") else said
        assert sum(words in line for line in list_limitations(unasked)) == 1


def test_the_search_baseline_stands_beside_the_others() -> None:
    text = render_model_card(make.context())
    assert (
        "75,123 passages of training questions | 29.9 % (28.5–31.3, n = 4,183); right only" in text
    )
    for more, row in (
        ({}, "baseline: a text search | not measured"),
        (
            {"open_book": OpenBook(kind="search", index="5" * 64, passages=9, left_out=0)},
            "baseline: a text search | this model is one",
        ),
    ):
        analysis = make.analysis(evaluation=make.evaluation(search=None, **more))
        context = make.context(make.EVIDENCE.model_copy(update={"analysis": analysis}))
        assert row in render_model_card(context)


def test_a_waived_search_is_said_once_with_the_reason() -> None:
    evidence = make.EVIDENCE.model_copy(update={"analysis": LOOKED_UP})
    waiver = Waiver(rule="search", name="Ann", reason="the facts can be looked up")
    context = make.context(evidence)
    context = context.model_copy(update={"verdict": make.verdict(evidence, waivers=(waiver,))})
    assert context.standing == "passed"
    (line,) = [line for line in list_limitations(context) if "text search" in line]
    assert "was waived by Ann: the facts can be looked up" in line


def test_a_temperature_at_its_limit_is_said_once() -> None:
    temperature = {"temperature": TEMPERATURE_BOUNDS[1]}
    selective = make.analysis().selective
    calibration = make.release().calibration
    assert selective is not None
    assert calibration is not None
    release = make.release(calibration=calibration.model_copy(update=temperature))
    one, other = (
        make.analysis(selective=selective.model_copy(update=more), warnings=warnings)
        for more, warnings in ((temperature, ("x: the temperature of 20",)), ({}, ()))
    )
    for analysis in (one, other):
        evidence = make.EVIDENCE.model_copy(update={"analysis": analysis})
        limits = list_limitations(make.context(evidence, release=release))
        assert sum("temperature of" in line for line in limits) == 1


def test_the_top_of_a_card_names_the_rules_and_the_limitations_give_the_reasons() -> None:
    none = make.context(Evidence())
    assert none.verdict is not None
    text = render_model_card(none)
    for result in none.verdict.refused:
        line = f"- The gate's rule {result.rule} is not met: {result.reason}."
        assert line in text.splitlines()
        assert result.reason not in text.split("# v2")[0]


def test_a_model_that_may_answer_nothing_says_so() -> None:
    calibration = make.release().calibration
    assert calibration is not None
    none = calibration.model_copy(update={"threshold": None})
    context = make.context(release=make.release(calibration=none))
    assert any(
        "No confidence threshold bounds the risk of a wrong answer at 20.0 %" in line
        for line in list_limitations(context)
    )


def test_only_what_fails_can_be_waived_into_view() -> None:
    verdict = make.verdict(waivers=(Waiver(rule="orders", name="Ann", reason="not needed here"),))
    assert all(result.waiver is None for result in verdict.results)


def test_many_looks_are_told() -> None:
    def looked(*hashes: str) -> str:
        looks = [{"time": make.release().created, "source": "x", "n": 9, "hash": h} for h in hashes]
        bound = Binding.model_validate(
            {"margins": "m", "policy": "p", "suite": "s", "evidence": "e", "looks": looks}
        )
        verdict = make.verdict().model_copy(update={"bound": bound})
        return render_model_card(make.context(verdict=verdict))

    assert "another chance" not in looked("a", "a", "a")
    assert "were evaluated 3 times, on 2 sets of questions" in looked("a", "b", "a")


def test_the_card_says_what_was_forgotten() -> None:
    section = part(render_model_card(make.context()), "Besides medicine")
    assert "46.7 to 45.8 % by cloze (-0.8 points" in section
    assert "0.910 to 0.930 bits per byte" in section
