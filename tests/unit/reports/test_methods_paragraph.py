from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.analysis.synthetic import evaluation, predictions

from medtune.analysis.analyze import analyze_evaluation
from medtune.analysis.compare import compare_evaluations
from medtune.analysis.paired_slices import compare_slices
from medtune.core.intervals import wilson_interval
from medtune.core.records import ComparisonRecord, LogOrigin, RunRecord, SearchBaseline
from medtune.core.schemas.analysis import AnalysisRecord, PairedSlice
from medtune.core.schemas.dataset import SnapshotManifest
from medtune.reports import methods_paragraph
from medtune.reports.methods_paragraph import (
    REFERENCES,
    MethodsParagraph,
    describe_comparison_methods,
    describe_evaluation_methods,
    describe_run_methods,
)

N = 120
QUICKSTART = Path(__file__).parents[3] / "results" / "quickstart.json"
SEARCH = SearchBaseline(
    index="i" * 64, passages=320, accuracy=wilson_interval(50, N), only_model=30, only_search=11,
    p_value=0.004,
)  # fmt: skip
Compared = tuple[ComparisonRecord, AnalysisRecord, AnalysisRecord, tuple[PairedSlice, ...]]


@pytest.fixture(scope="module")
def compared() -> Compared:
    given = predictions(N, 0.4, 1, cyclic=False), predictions(N, 2.5, 2, cyclic=False)
    a, b = evaluation("base", given[0]), evaluation("tuned", given[1])
    held = evaluation("tuned", predictions(80, 2.5, 2, cyclic=False, tag="h"))
    record = compare_evaluations(a, b)
    found_a, found_b = analyze_evaluation("a", a), analyze_evaluation("b", b, held)
    return record, found_a, found_b, compare_slices(*given)


def changed(analysis: AnalysisRecord, **more: Any) -> AnalysisRecord:
    return analysis.model_copy(update={"evaluation": analysis.evaluation.model_copy(update=more)})


def cited(found: MethodsParagraph) -> set[str]:
    return {name for name in REFERENCES if REFERENCES[name] in found.references}


def test_the_numbers_are_the_records(compared: Compared) -> None:
    record, a, b, slices = compared
    text = describe_comparison_methods(record, a, b, slices).text
    exam = b.evaluation
    assert f"the same {N} multiple-choice questions" in text
    assert f"content hash {exam.data.hash[:12]}" in text
    assert f"fingerprint {(exam.prompt_hash or '')[:12]}" in text
    assert f"With {record.only_a + record.only_b} discordant of {N} questions" in text
    assert f"difference of {100 * record.minimum_detectable:.1f} points" in text
    assert b.selective is not None
    assert f"The temperature of tuned ({b.selective.temperature:.2f}) was fitted on 80" in text
    assert "No temperature was fitted for base." in text
    assert f"medtune {exam.provenance.medtune}" in text
    assert exam.provenance.cpu in text
    assert "the most probable next token" in text
    assert f"always giving {exam.majority_letter} ({100 * exam.majority.value:.1f} %)" in text
    assert record.design_effect is not None
    assert f"{record.design_effect:.2f} (Cameron and Miller 2015)" in text


def test_only_methods_that_were_used_are_cited(compared: Compared) -> None:
    record, a, b, slices = compared
    found = describe_comparison_methods(record, a, b, slices)
    used = {"Wilson 1927", "Tango 1998", "McNemar 1947", "Miller 2024", "Holm 1979"}
    assert cited(found) == used | {"Guo et al. 2017", "Cameron and Miller 2015"}
    record = record.model_copy(update={"design_effect": None})
    plain = b.model_copy(update={"selective": None, "calibration": None})
    a = a.model_copy(update={"selective": None, "calibration": None})
    assert cited(describe_comparison_methods(record, a, plain)) == used - {"Holm 1979"}
    corrected = record.model_copy(update={"p_holm": 0.5})
    assert "Holm 1979" in cited(describe_comparison_methods(corrected, a, plain))
    equal = record.model_copy(update={"only_a": 0, "only_b": 0})
    text = describe_comparison_methods(equal, a, plain).text
    assert "the upper bound of the discordance (Hanley and Lippman-Hand 1983)" in text
    alone = describe_evaluation_methods(a.evaluation)
    assert cited(alone) == {"Wilson 1927"}
    assert "McNemar" not in alone.text
    pride = describe_evaluation_methods(a.evaluation.model_copy(update={"orders": "pride"}))
    assert "Zheng et al. 2024" in cited(pride)


def test_every_citation_has_its_work_and_every_work_is_cited(compared: Compared) -> None:
    source = Path(methods_paragraph.__file__).read_text(encoding="utf-8")
    body = source.partition("_CHOICES")[2]
    assert all(name in body for name in REFERENCES)
    text = describe_comparison_methods(*compared).text
    for name in re.findall(r"\(([A-Z][^()]*? (?:19|20)\d\d)\)", text):
        assert name in REFERENCES, name


def test_what_is_missing_is_said_and_nothing_is_made_up(compared: Compared) -> None:
    record, a, b, slices = compared
    text = describe_comparison_methods(record, a, b, slices).text
    missing = text.partition("Not recorded: ")[2]
    assert "which of these questions are in the training data of base and tuned" in missing
    assert "a search in training questions, as a baseline" in missing
    known = changed(b, trained_on=0, search=SEARCH)
    text = describe_comparison_methods(record, a, known, slices).text
    said, _, missing = text.partition("Not recorded: ")
    assert f"Of the {N} questions" in said
    assert "0 are in the fine-tuning data of tuned" in said
    assert "in the training data of base;" in f"{missing[:-1]};"
    assert "a text search in 320 passages" in said
    assert "search in training" not in missing


def test_an_adapter_has_a_training_that_an_evaluation_does_not_know(compared: Compared) -> None:
    record, a, b, _ = compared
    model = b.evaluation.model.model_copy(update={"adapter": "9" * 64})
    text = describe_comparison_methods(record, a, changed(b, model=model)).text
    assert "with an adapter, sha256 999999999999" in text
    assert "with which settings and seed tuned was trained" in text.partition("Not recorded")[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"orders": "cyclic"}, "all cyclic orders"),
        ({"shots": 3, "shots_by": "random"}, "Prompts had 3 worked examples (random)"),
        ({"variant": "options-only"}, "were changed first (variant options-only)"),
        ({"method": "cloze", "normalization": "byte"}, "by log-probability per byte"),
        ({"method": "generate", "parser": 4}, "a rule-based parser (version 4)"),
        ({"mixed_from": ("x", "y")}, "a mixture of 2 evaluations"),
    ],
)
def test_settings_are_said(compared: Compared, change: dict[str, Any], said: str) -> None:
    exam = compared[1].evaluation.model_copy(update=change)
    assert said in describe_evaluation_methods(exam).text


def test_settings_that_differ_are_said(compared: Compared) -> None:
    record, a, b, _ = compared
    record = record.model_copy(update={"differs": ("prompt", "arithmetic")})
    text = describe_comparison_methods(record, a, b).text
    assert "also differ in prompt and arithmetic" in text
    assert "not due to the models alone" in text


def test_exclusions_are_counted(compared: Compared) -> None:
    exam = compared[1].evaluation
    data = exam.data.model_copy(update={"excluded": {"repeated": 12, "no answer": 1}})
    text = describe_evaluation_methods(exam.model_copy(update={"data": data})).text
    assert "Left out before: 12 rows (repeated) and 1 row (no answer)." in text


def test_an_imported_evaluation_has_gaps_and_no_inventions(compared: Compared) -> None:
    exam = compared[1].evaluation
    model = exam.model.model_copy(
        update={"fingerprint": None, "parameters": None, "dtype": None, "device": None}
    )
    data = exam.data.model_copy(update={"excluded": {}})
    origin = LogOrigin(
        harness="lm-evaluation-harness", version="0.4.13", task="arc", metric="acc", log="results"
    )
    foreign = exam.model_copy(
        update={"model": model, "data": data, "prompt_hash": None, "normalization": "character"}
    )
    foreign = foreign.model_copy(update={"method": "cloze", "origin": origin, "shots": 0})
    text = describe_evaluation_methods(foreign).text
    said, _, missing = text.partition("Not recorded: ")
    assert "None" not in text
    assert "from a log of lm-evaluation-harness 0.4.13, task arc" in said
    assert "No row was left out" not in said
    assert "by log-probability per character" in said
    assert "no worked examples" in said
    assert "Options were shown" not in said
    for fact in ("the identity of the weights", "the prompt of base", "which rows were left out"):
        assert fact in missing
    inspect = origin.model_copy(update={"harness": "inspect_ai"})
    untold = foreign.model_copy(update={"origin": inspect, "shots": None})
    text = describe_evaluation_methods(untold).text
    said, _, missing = text.partition("Not recorded: ")
    assert "worked examples" not in said
    assert "how many worked examples the prompts of base had" in missing


def test_the_markdown_has_the_paragraph_and_its_references(compared: Compared) -> None:
    found = describe_comparison_methods(*compared)
    lines = found.to_markdown().splitlines()
    assert lines[0] == "## Methods"
    assert lines[2] == found.text
    assert sum(line.startswith("- ") for line in lines) == len(found.references) > 4


def test_a_run_describes_its_training_and_its_data(manifest: SnapshotManifest) -> None:
    run = RunRecord.model_validate_json(QUICKSTART.read_bytes())
    found = describe_run_methods(run, manifest)
    training = run.trainings[0]
    for fact in (
        "starter:recall (n = 80) and starter:transfer (n = 80)",
        f"{training.trainable_parameters:,} of {training.total_parameters:,} weights",
        f"({training.steps:,} steps), with seed {training.seed}",
        f"in {training.audit.ends_supervised} of {training.audit.examples} examples",
        "The primary method is cloze",
        f"The run makes {len(run.comparisons)} comparisons",
        "Before training, questions that are also evaluated (0) and near-duplicates of them (",
    ):
        assert fact in found.text
    assert {"Hu et al. 2021", "Broder 1997", "Holm 1979", "McNemar 1947"} <= cited(found)
    excluded = {"also evaluated": 3, "nearly the same is evaluated": 5, "repeated": 1}
    train = manifest.train_split
    description = train.description.model_copy(update={"excluded": excluded})
    train = train.model_copy(update={"description": description})
    leaky = manifest.model_copy(update={"splits": (train, *manifest.splits[1:])})
    text = describe_run_methods(run, leaky).text
    assert "also evaluated (3) and near-duplicates of them (5; MinHash, Broder 1997)" in text
    assert "Also left out of the training data: 1 row (repeated)." in text


def test_a_run_says_what_it_does_not_know() -> None:
    run = RunRecord.model_validate_json(QUICKSTART.read_bytes())
    whole = run.trainings[0].model_copy(update={"method": "full", "kept_step": 40})
    seeds = (whole, whole.model_copy(update={"seed": 18}))
    # Two seeds answer every exam: base, then each tuned model.
    exams = len(run.evaluations) // 2
    evaluations = (*run.evaluations, *run.evaluations[exams:])
    run = run.model_copy(update={"trainings": seeds, "evaluations": evaluations})
    found = describe_run_methods(run, None)
    assert "with seeds 17 and 18" in found.text
    assert "The weights of step 40 were kept" in found.text
    assert "how the training data were cleaned" in found.text.partition("Not recorded: ")[2]
    assert not {"Hu et al. 2021", "Broder 1997"} & cited(found)
