from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.analysis import synthetic

from medtune.analysis.analyze import analyze_evaluation
from medtune.analysis.compare import compare_evaluations
from medtune.cli.output import Terminal, show_record
from medtune.cli.output import progress as progress_module
from medtune.core.experiment import ColumnMapping
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import Evaluation
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    Method,
    ModelInfo,
    ModelList,
    OutcomeCounts,
    Proportion,
    Question,
    RescoreRecord,
    SearchBaseline,
    SplitDescription,
)
from medtune.core.schemas.dataset import (
    CurationStep,
    MappingProposal,
    OverlapCount,
    SnapshotManifest,
    VerificationRecord,
)
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_model
from medtune.models.fake import FakeModel
from medtune.studies.robustness.schema import RobustnessRecord
from medtune.studies.robustness.study import RobustnessStudy
from medtune.studies.runner import run_study

Capture = pytest.CaptureFixture[str]

QUESTIONS = [
    Question(id=f"q{n}", stem="Which?", options=("Yes", "No", "Maybe", "Never"), answer=n % 3)
    for n in range(30)
]


def evaluation(kind: str, source: str = "starter:recall", method: Method = "letter") -> Evaluation:
    model = FakeModel(kind, {q.id: q.answer_text for q in QUESTIONS})
    data = SplitDescription(source=source, n=30, excluded={}, hash="h")
    exam = Exam(QUESTIONS, data, PromptStyle(), method, "byte")
    return evaluate_model(model, exam, f"fake:{kind}", STRICT_PARSER, NoProgress())


def flat(text: str) -> str:
    return " ".join(text.split())


def test_an_accuracy_is_never_shown_without_its_company(capsys: Capture) -> None:
    show_record(evaluation("constant")[0])
    out, err = capsys.readouterr()
    assert err == ""
    assert "…" not in out
    # 10 of 30: Wilson 19.2-51.2 %; chance 1/4; the most frequent letter is right 10 times
    for text in ("starter:recall", "letter", "fake:constant", "33.3", "19.2-51.2", "30", "25.0"):
        assert text in out
    assert re.search(r"33\.3 \([ABC]\)", out)


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_no_number_is_cut_in_a_narrow_terminal(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    show_record(evaluation("constant", "hub:openlifescienceai/medmcqa:validation", "cloze")[0])
    out = capsys.readouterr().out
    assert "19.2-51.2" in out
    assert "33.3" in out


def test_a_comparison_shows_counts_and_verdict(capsys: Capture) -> None:
    record = compare_evaluations(evaluation("constant"), evaluation("oracle"))
    show_record(record)
    out = flat(capsys.readouterr().out)
    assert "both right 10, only fake:constant 0, only fake:oracle 20, neither 0" in out
    assert record.verdict in out
    assert "fake:constant 33.3 % (19.2-51.2)" in out


def test_the_search_baseline_is_shown_with_evaluations_and_comparisons(capsys: Capture) -> None:
    search = SearchBaseline(
        index="i", passages=320, accuracy=wilson_interval(18, 30), only_model=12, only_search=0,
        p_value=0.0005,
    )  # fmt: skip
    worse = search.model_copy(update={"only_model": 2, "only_search": 10, "p_value": 0.0386})
    (a, told_a), (b, told_b) = evaluation("constant"), evaluation("oracle")
    a, b = (one.model_copy(update={"search": s}) for one, s in ((a, worse), (b, search)))
    show_record(b)
    out = capsys.readouterr().out
    assert re.search(r"search %\n.* 60\.0\n", out)
    assert "100.0 against 60.0 %" in flat(out)
    assert "! fake:oracle" not in out
    show_record(compare_evaluations(Evaluation(a, told_a), Evaluation(b, told_b)))
    out = flat(capsys.readouterr().out)
    for label in ("fake:constant", "fake:oracle"):
        assert f"text search beside {label}: 60.0 % (42.3-75.4) in 320 passages" in out
    assert "the model beats a text search in the training questions" in out
    assert "! fake:oracle on" not in out
    show_record(compare_evaluations(Evaluation(b, told_b), Evaluation(a, told_a)))
    assert "! fake:constant on starter:recall, letter: the model does not" in flat(
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "source", ["file:[a]/b.csv", "file:[/b].csv", "file:[red]x.csv", "file::x:.csv"]
)
def test_what_looks_like_markup_is_shown_as_it_is(capsys: Capture, source: str) -> None:
    show_record(evaluation("constant", source)[0])
    show_record(compare_evaluations(evaluation("constant", source), evaluation("oracle", source)))
    assert capsys.readouterr().out.count(source) == 3
    show_record(rescored(source))
    assert source in capsys.readouterr().out


def rescored(file: str) -> RescoreRecord:
    share = Proportion(value=0.3, low=0.145, high=0.519, n=20)
    return RescoreRecord(
        file=file,
        matcher="notebook",
        counts=OutcomeCounts(n=20, correct=6, wrong=14, unparsed=0, abstained=0),
        accuracy=share,
        answer_rate=share.model_copy(update={"value": 1.0, "high": 1.0}),
        exact=6,
        partial=0,
        provenance=collect_provenance(),
    )


def test_a_rescored_file_is_shown_field_by_field(capsys: Capture) -> None:
    show_record(rescored("evaluation.json"))
    out = flat(capsys.readouterr().out)
    assert "30.0 % (14.5-51.9), n = 20" in out
    assert "counts.unparsed 0" in out
    assert "exact 6" in out
    assert "partial 0" in out
    assert "provenance" not in out


def test_models_are_listed(capsys: Capture) -> None:
    ready = ModelInfo(name="embedded:x", state="ready", folder="/models/x", size_bytes=269_000_000)
    missing = ModelInfo(
        name="hub:[org]/y", state="missing", folder=None, size_bytes=None, note="pip install y"
    )
    show_record(ModelList(cache="/c", models=(ready, missing)))
    out = flat(capsys.readouterr().out)
    assert "embedded:x ready 269 MB /models/x" in out
    assert "hub:[org]/y missing - pip install y" in out


def test_messages_go_to_stderr_as_they_are(capsys: Capture) -> None:
    long = "word " * 60
    Terminal().log_message(f"[bold]x[/bold] {long}")
    Terminal().error("file [/a] :warning: is broken\nto do: mend it")
    out, err = capsys.readouterr()
    assert out == ""
    assert f"[bold]x[/bold] {long.strip()}" in err
    assert "error: file [/a] :warning: is broken\nto do: mend it" in err
    assert "\x1b" not in err


def test_a_task_is_one_line_where_nobody_watches(capsys: Capture) -> None:
    with Terminal().task("base · starter", 10, done=2) as bar:
        for _ in range(8):
            bar.advance(1, loss="0.5", speed="3.0 questions/s")
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    for text in ("base · starter", "10/10", "loss 0.5", "3.0 questions/s"):
        assert text in err


def test_a_task_that_fails_still_ends_its_line(capsys: Capture) -> None:
    def lose() -> None:
        with Terminal().task("base", 2) as bar:
            bar.advance()
            raise ValueError("lost")

    with pytest.raises(ValueError, match="lost"):
        lose()
    err = capsys.readouterr().err
    assert "1/2" in err
    assert err.endswith("\n")


def test_a_task_of_unknown_length_is_silent_where_nobody_watches(capsys: Capture) -> None:
    with Terminal().task("reading", None) as bar:
        for _ in range(5):
            bar.advance()
    assert capsys.readouterr() == ("", "")


def test_small_advances_are_held_back_but_not_lost(capsys: Capture) -> None:
    with Terminal().task("overlap", 5000) as bar:
        for _ in range(5000):
            bar.advance()
    assert "5,000/5,000" in capsys.readouterr().err


def test_a_snapshot_shows_splits_reasons_and_overlap(
    capsys: Capture, manifest: SnapshotManifest
) -> None:
    show_record(manifest)
    out = flat(capsys.readouterr().out)
    assert "train starter:train 260" in out
    assert "calibration starter:train#calibration 40" in out
    assert "cut off for validation 20" in out
    assert "no overlap found" in out
    assert f"snapshot {manifest.hash[:12]}, seed 17" in out

    found = OverlapCount(
        source="file:/a/train.csv",
        among="file:/a/dev.csv",
        exact=1200,
        near=3,
        conflicts=1,
        share=wilson_interval(1203, 50_000),
    )
    step = CurationStep(name="length", before=1300, left_out={"too long": 2000})
    show_record(manifest.model_copy(update={"overlap": (found,), "curation": (step,)}))
    out = flat(capsys.readouterr().out)
    assert "train.csv dev.csv 1,200 3 1 2.41" in out
    assert "curation by length, of 1,300: 2,000 × too long" in out


def test_two_files_of_one_name_keep_their_own_counts(
    capsys: Capture, manifest: SnapshotManifest
) -> None:
    places = zip(manifest.splits[3:], ("file:/a/x.csv", "file:/b/x.csv"), (11, 22), strict=True)
    splits = tuple(
        split.model_copy(
            update={
                "description": split.description.model_copy(
                    update={"source": source, "excluded": {"no label": count}}
                )
            }
        )
        for split, source, count in places
    )
    show_record(manifest.model_copy(update={"splits": (*manifest.splits[:3], *splits)}))
    assert "no label - 11 22" in flat(capsys.readouterr().out)


def test_an_inspection_shows_columns_questions_and_what_is_open(capsys: Capture) -> None:
    show_record(
        MappingProposal(
            source="file:own.csv",
            rows_read=1200,
            columns={"q": "Why [b]?", "a": "x", "b": "y", "note": "hm"},
            mapping=ColumnMapping(stem="q", options=("a", "b")),
            why={},
            problems=("no column looks like the right answer",),
            toml='[data.columns]\nstem = "q"',
            excluded={"empty option": 1100},
            questions=("user: Why [b]?",),
        )
    )
    out = capsys.readouterr().out
    assert "q       stem     Why [b]?" in out
    assert "note    -        hm" in out
    assert '[data.columns]\nstem = "q"' in out
    assert "left out of 1,200 rows: 1,100 × empty option" in out
    assert "to settle by hand: no column looks like the right answer" in flat(out)
    assert "--map" not in out


def test_an_inspection_ends_with_the_options_that_other_commands_take(capsys: Capture) -> None:
    mapping = ColumnMapping(id="", stem="The question", options=("a", "b"), answer_base=1)
    shown = MappingProposal(
        source="file:own.csv",
        rows_read=1,
        columns={},
        mapping=mapping,
        why={},
        problems=(),
        toml="",
        excluded={},
        questions=("user: " + "x" * 9_000,),
    )
    show_record(shown)
    out = capsys.readouterr().out
    assert "--map 'stem=The question' --map options=a,b --map answer_base=1" in flat(out)
    assert out.count("x") < 4_100
    assert "… (9,006 characters)" in out
    show_record(shown.model_copy(update={"mapping": ColumnMapping(fixed_options=("yes", "no"))}))
    assert "--map" not in capsys.readouterr().out


def test_a_verification_says_yes_or_names_every_fault(capsys: Capture) -> None:
    record = VerificationRecord(
        folder="runs/x/data", hash="a" * 64, questions=1480, remade="a" * 64, faults=()
    )
    show_record(record)
    out = flat(capsys.readouterr().out)
    assert "runs/x/data: 1,480 questions, all files whole" in out
    assert "same hash aaaaaaaaaaaa" in out
    show_record(record.model_copy(update={"faults": ("one thing", "another")}))
    out = flat(capsys.readouterr().out)
    assert out == "fault: one thing fault: another"


# Analyses


def analysed(n: int = 300, **changes: Any) -> Evaluation:
    """Of one order, by letter."""
    return synthetic.evaluation("base", synthetic.predictions(n, 2.0, cyclic=False), **changes)


def held(n: int = 300) -> Evaluation:
    return synthetic.evaluation("base", synthetic.predictions(n, 2.0, cyclic=False, tag="c"))


def test_an_analysis_shows_slices_and_sureness(capsys: Capture) -> None:
    record = analyze_evaluation("e", analysed())
    show_record(record)
    out, err = capsys.readouterr()
    assert err == ""
    assert "…" not in out
    lines = flat(out)
    a = record.evaluation.accuracy
    assert lines.startswith(
        f"file:data/validation.parquet · letter · base: {100 * a.value:.1f} % "
        f"({100 * a.low:.1f}-{100 * a.high:.1f}), n = 300"
    )
    for part in record.slices:
        # Topics are for the page: there are hundreds of them.
        shown = f"{part.dimension} {part.name} {part.accuracy.n}" in lines
        assert shown == (part.dimension != "topic"), part
    assert record.calibration is not None
    assert f"calibration error {100 * record.calibration.error:.1f} points" in lines
    assert "no calibration questions: no temperature, threshold or prediction set" in lines
    assert "order of the options" not in lines
    for failure in record.failures:
        assert failure.name in lines


def test_an_analysis_with_calibration_questions_shows_every_promise(capsys: Capture) -> None:
    record = analyze_evaluation("e", analysed(500), held(250))
    show_record(record)
    out = flat(capsys.readouterr().out)
    found = record.selective
    assert found is not None
    assert f"temperature {found.temperature:.2f}, fitted on 250 questions of" in out
    assert "no calibration questions" not in out
    states = {one.found is None for one in found.thresholds}
    assert states == {True, False}  # both ways of telling it are looked at
    for one in found.thresholds:
        start = f"risk of at most {100 * one.target:.0f} %:"
        if one.found is None:
            assert f"{start} {one.missing_reason}" in out
        else:
            assert one.risk is not None
            assert f"{start} answer from {100 * one.found.confidence:.1f} % on" in out
            assert f"wrong among them {100 * one.risk.value:.1f} %" in out
    for score in ("lac", "aps"):
        assert f"{score} sets for 90 %: contain the answer in" in out


def test_a_threshold_that_lets_nothing_through_says_so(capsys: Capture) -> None:
    record = analyze_evaluation("e", analysed(500), held(500))
    assert record.selective is not None
    thresholds = tuple(
        one.model_copy(update={"risk": None}) for one in record.selective.thresholds if one.found
    )
    selective = record.selective.model_copy(update={"thresholds": thresholds[:1]})
    show_record(record.model_copy(update={"selective": selective}))
    assert "wrong among them none answered" in flat(capsys.readouterr().out)


def test_an_analysis_with_few_calibration_questions_says_what_is_left_out(capsys: Capture) -> None:
    show_record(analyze_evaluation("e", analysed(), held(8)))
    out = flat(capsys.readouterr().out)
    assert "! 8 calibration questions are too few for prediction sets" in out
    assert "sets for 90 %: hold" not in out


def test_an_analysis_of_free_answers_shows_no_sureness(capsys: Capture) -> None:
    made = synthetic.free(synthetic.predictions(200, 2.0))
    show_record(
        analyze_evaluation("e", synthetic.evaluation("base", made, "generate", orders="given"))
    )
    out = flat(capsys.readouterr().out)
    for absent in ("calibration", "risk-coverage", "temperature", "order of the options"):
        assert absent not in out
    assert "free answers name no option" not in out  # nine of ten are read
    assert "format" in out


def test_an_analysis_shows_flips_weak_subjects_and_warnings(capsys: Capture) -> None:
    made = synthetic.predictions(400, 0.5, habit=2.0)
    record = analyze_evaluation("e", synthetic.evaluation("base", made))
    record = record.model_copy(update={"weak_subjects": ("Dental", "ENT")})
    show_record(record)
    out = flat(capsys.readouterr().out)
    assert record.flips is not None
    assert f"order of the options: {100 * record.flips.any.value:.1f} %" in out
    assert "weak after Holm's correction: Dental, ENT" in out
    assert record.warnings
    for line in record.warnings:
        assert f"! {line}" in out


def test_an_analysis_shows_what_looks_like_markup_as_it_is(capsys: Capture) -> None:
    made = [
        p.model_copy(update={"subject": ["[red]x[/red]", "[/b]", ":warning:"][n % 3]})
        for n, p in enumerate(synthetic.predictions(90, 1.0, cyclic=False))
    ]
    show_record(analyze_evaluation("e", synthetic.evaluation("[bold]b[/bold]", made)))
    out = capsys.readouterr().out
    for text in ("[red]x[/red]", "[/b]", ":warning:", "[bold]b[/bold]"):
        assert text in out


@pytest.mark.parametrize("columns", ["60", "80"])
def test_no_number_of_an_analysis_is_cut_in_a_narrow_terminal(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    record = analyze_evaluation("e", analysed(), held())
    show_record(record)
    out = capsys.readouterr().out
    for part in record.slices:
        if part.dimension == "subject":
            a = part.accuracy
            assert f"{100 * a.value:.1f} % ({100 * a.low:.1f}-{100 * a.high:.1f})" in out


def test_the_options_alone_stand_beside_the_accuracy(capsys: Capture) -> None:
    record = evaluation("constant")[0]
    show_record(record)
    assert flat(capsys.readouterr().out).endswith("33.3 (C) -")
    show_record(record.model_copy(update={"options_only": wilson_interval(3, 10)}))
    assert flat(capsys.readouterr().out).endswith("33.3 (C) 30.0")


def test_a_comparison_says_in_what_else_the_two_differ(capsys: Capture) -> None:
    record = compare_evaluations(evaluation("constant"), evaluation("oracle"))
    show_record(record)
    assert "differ in" not in capsys.readouterr().out
    show_record(record.model_copy(update={"differs": ("prompt", "worked examples")}))
    out = flat(capsys.readouterr().out)
    assert "! the evaluations differ in: prompt, worked examples" in out


# Studies


@pytest.mark.parametrize("method", ["letter", "generate"])
def test_a_study_of_robustness_shows_every_way_of_asking(
    capsys: Capture, tmp_path: Path, method: Method
) -> None:
    record = run_study(
        RobustnessStudy,
        tmp_path,
        None,
        NoProgress(),
        model="fake:biased",
        data="starter:recall",
        method=method,
        limit=30,
    )
    assert isinstance(record, RobustnessRecord)
    show_record(record)
    out, err = capsys.readouterr()
    assert err == ""
    assert "…" not in out
    text = flat(out)
    for found in record.findings:
        a = found.accuracy
        share = f"{100 * a.value:.1f} {100 * a.low:.1f}-{100 * a.high:.1f}"
        start = f"{found.variant} {share} {a.n}"
        plain = found.variant == "plain"
        end = "- -" if plain else f"{100 * found.plain.value:.1f} {found.p_value:.4f}"
        if found.push:
            f, before = found.push.followed, found.push.before
            end += f" {100 * f.value:.1f} {100 * f.low:.1f}-{100 * f.high:.1f}"
            end += f" {100 * before.value:.1f}"
        assert f"{start} {end}" in text
    assert ("of the questions changes with the order" in text) == (method == "letter")
    if record.flips is not None and record.flips.rstd is not None:
        assert f"RStd of the letters' recalls {100 * record.flips.rstd:.1f} points" in text
        show_record(
            record.model_copy(update={"flips": record.flips.model_copy(update={"rstd": None})})
        )
        assert "RStd" not in capsys.readouterr().out
    for line in record.warnings:
        assert f"! {line}" in text
    assert text.endswith(flat(record.verdict))


# Progress in a log


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_a_log_gets_a_line_every_half_minute(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    with Terminal().task("train", 272, done=2) as bar:
        for step in range(270):
            clock.now += 1
            bar.advance(1, loss=f"{1 / (step + 1):.3f}", speed="900 tokens/s")
    err = capsys.readouterr().err
    assert "\r" not in err
    assert "\x1b" not in err
    lines = err.splitlines()
    # 270 seconds; the last of them is the end, which is told once
    assert lines[0] == "train: 32/272  after 0:00:30  left 0:04:00  loss 0.033  900 tokens/s"
    assert len(lines) == 8 + 1
    assert lines[-1].startswith("train: 272/272  after 0:04:30  loss 0.004")


def test_long_work_of_unknown_length_is_not_silent_in_a_log(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    with Terminal().task("reading", None) as bar:
        for _ in range(70):
            clock.now += 1
            bar.advance(1000)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "reading: 30,000  after 0:00:30"
