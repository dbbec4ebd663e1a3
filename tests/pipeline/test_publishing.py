"""Results for papers and for other programs: from commands to files that their readers accept."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from every_eval_ever.validator.validation_core import (  # type: ignore[import-untyped]
    ValidationReport,
    validate_file,
)
from huggingface_hub import parse_eval_result_entries
from tests.conftest import CommandLine
from tests.unit.analysis.synthetic import evaluation, predictions

from medtune.analysis.compare import compare_evaluations
from medtune.core.intervals import wilson_interval
from medtune.core.predictions_io import read_evaluation, write_evaluation
from medtune.publishing.every_eval_ever import WITHHELD
from medtune.publishing.export import export_comparison
from medtune.reports.comparison_folder import ComparedModel, write_comparison_folder


def valid(root: Path, path: Path) -> ValidationReport:
    """Validate a file as the datastore's own check does."""
    there = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    return validate_file(
        path,
        repo_path=path.relative_to(root).as_posix(),
        available_files=there,
        read_repo_file=lambda name: (root / name).read_text(encoding="utf-8"),
        run_semantic_checks=True,
    )


@pytest.fixture
def evaluated(medtune: CommandLine, tmp_path: Path) -> CommandLine:
    for name, skill in (("base", 0.4), ("tuned", 2.5)):
        record, given = evaluation(name, predictions(60, skill, 1, cyclic=False))
        data = record.data.model_copy(update={"source": "hub:openlifescienceai/medmcqa:validation"})
        write_evaluation(tmp_path / name, record.model_copy(update={"data": data}), given)
    return medtune


def exported(medtune: CommandLine, *more: str) -> tuple[Path, dict[str, Any], list[Any]]:
    """Export the tuned model's evaluation: the folder, the aggregate and the samples."""
    record = medtune.record("export", "tuned", "--out", "eee", *more)
    samples, aggregate = (Path(path) for path in record["files"])
    lines = samples.read_text(encoding="utf-8").splitlines()
    return Path("eee"), json.loads(aggregate.read_text()), [json.loads(line) for line in lines]


@pytest.mark.parametrize("more", [(), ("--with-texts",), ("--model-id", "ann/my-model")])
def test_every_eval_ever_accepts_both_files(evaluated: CommandLine, more: tuple[str, ...]) -> None:
    root, aggregate, samples = exported(evaluated, *more)
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) == 2
    for path in files:
        report = valid(root, path)
        assert report.valid, report.errors
        assert report.errors == report.warnings == []
    assert len(samples) == 60
    expected = "ann/my-model" if "--model-id" in more else "local/tuned-"
    assert aggregate["model_info"]["id"].startswith(expected)


def test_the_validator_refuses_what_is_changed(evaluated: CommandLine) -> None:
    root, aggregate, _ = exported(evaluated)
    (path,) = root.rglob("*.json")
    aggregate["evaluation_results"][0]["score_details"]["score"] = 1.5
    path.write_text(json.dumps(aggregate))
    assert not valid(root, path).valid


def test_the_numbers_are_the_evaluations(evaluated: CommandLine, tmp_path: Path) -> None:
    record, given = read_evaluation(tmp_path / "tuned")
    _, aggregate, samples = exported(evaluated, "--with-texts")
    (result,) = aggregate["evaluation_results"]
    details = result["score_details"]
    assert details["score"] == record.accuracy.value
    interval = details["uncertainty"]["confidence_interval"]
    assert (interval["lower"], interval["upper"]) == (record.accuracy.low, record.accuracy.high)
    assert details["uncertainty"]["num_samples"] == 60
    assert result["source_data"]["hf_repo"] == "openlifescienceai/medmcqa"
    assert result["source_data"]["hf_split"] == "validation"
    assert sum(line["evaluation"]["is_correct"] for line in samples) == record.counts.correct
    for line, prediction in zip(samples, given, strict=True):
        assert line["sample_id"] == prediction.id
        assert line["input"]["raw"] == prediction.stem
        assert line["input"]["choices"] == list(prediction.options)
        assert line["input"]["reference"] == [prediction.options[prediction.answer]]
        assert prediction.chosen is not None
        assert line["output"]["raw"] == [prediction.options[prediction.chosen]]
        shares = json.loads(line["metadata"]["probabilities"])
        assert tuple(shares) == prediction.probabilities


def test_texts_are_withheld_unless_they_are_asked_for(
    evaluated: CommandLine, tmp_path: Path
) -> None:
    _, given = read_evaluation(tmp_path / "tuned")
    _, _, plain = exported(evaluated)
    (path,) = Path("eee").rglob("*_samples.jsonl")
    text = path.read_text()
    assert not [p.id for p in given if p.stem in text]
    assert {line["input"]["raw"] for line in plain} == {WITHHELD}
    assert "choices" not in plain[0]["input"]
    _, _, whole = exported(evaluated, "--with-texts")
    hashes = [line["sample_hash"] for line in plain]
    assert hashes == [line["sample_hash"] for line in whole]
    assert len(set(hashes)) == len({(p.stem, p.options[p.answer]) for p in given})


def test_the_same_evaluation_gives_the_same_files(evaluated: CommandLine) -> None:
    exported(evaluated)
    before = {path: path.read_bytes() for path in Path("eee").rglob("*") if path.is_file()}
    exported(evaluated)
    after = {path: path.read_bytes() for path in Path("eee").rglob("*") if path.is_file()}
    assert before == after


def test_free_answers_are_exported_as_they_were_written(medtune: CommandLine) -> None:
    medtune("evaluate", "fake:noisy", "starter:recall", "--method", "generate", "--out", "tuned")
    root, aggregate, samples = exported(medtune, "--with-texts")
    for path in root.rglob("*.json*"):
        assert valid(root, path).errors == []
    _, given = read_evaluation(Path("tuned"))
    assert [line["output"]["raw"][0] for line in samples] == [p.text for p in given]
    (result,) = aggregate["evaluation_results"]
    assert result["source_data"]["source_type"] == "other"


def test_the_hubs_result_is_read_by_the_hubs_library(evaluated: CommandLine) -> None:
    record = evaluated.record("export", "tuned", "--to", "eval-results", "--out", "repo")
    (path,) = record["files"]
    assert path == "repo/.eval_results/openlifescienceai-medmcqa-validation.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(Path(path).read_text()))
    assert entry.dataset_id == "openlifescienceai/medmcqa"
    Path(path).write_text("- dataset: {id: a/b, task_id: c}\n  value: 1\n")
    code, _, err = evaluated("export", "tuned", "--to", "eval-results", "--out", "repo")
    assert code == 2
    assert "medtune did not write it" in err
    assert "a/b" in Path(path).read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("export starter --to eval-results", "the Hub has no place for this result"),
        ("export starter --to parquet", "parquet"),
        ("export nowhere", "holds no evaluation"),
        ("export starter --model-id nameless", "ORG/NAME"),
        ("export starter --out taken", "cannot write"),
        ("methods nowhere", "holds no run, comparison or evaluation"),
        ("compare base tuned --latex taken", "medtune did not write it"),
        ("compare base tuned --methods base", "base is a folder"),
        ("compare base tuned --csv taken/below", "cannot write"),
        ("compare base tuned --figures taken", "cannot write"),
    ],
)
def test_bad_input_is_told_and_nothing_is_lost(
    evaluated: CommandLine, tmp_path: Path, arguments: str, message: str
) -> None:
    (tmp_path / "taken").write_text("mine")
    if "starter" in arguments:
        evaluated("evaluate", "fake:oracle", "starter:recall", "--limit", 5, "--out", "starter")
    code, _, err = evaluated(*arguments.split())
    assert code == 2
    assert message in " ".join(err.split())
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_comparison_becomes_a_table_figures_and_a_paragraph(evaluated: CommandLine) -> None:
    record = evaluated.record(
        "compare", "base", "tuned", "--out", "c", "--latex", "t.tex", "--csv", "t.csv",
        "--figures", "figures", "--methods", "m.md",
    )  # fmt: skip
    assert set(record["written"]) == {"record", "report", "latex", "csv", "figures", "methods"}
    names = {path.name for path in Path("figures").iterdir()}
    assert {"accuracy.svg", "accuracy.pdf", "accuracy.png", "subjects.pdf"} <= names
    assert not [name for name in names if name.startswith("rotations")]  # one order: no data
    page = Path("c/report.html").read_text(encoding="utf-8")
    # The page shows the same drawing and the same paragraph.
    assert Path("figures/accuracy.svg").read_text(encoding="utf-8").strip() in page
    code, out, _ = evaluated("methods", "c")
    assert code == 0
    assert "<!-- Written by medtune compare. -->\n" + out == Path("m.md").read_text(
        encoding="utf-8"
    )
    Path("own.md").write_text("## Methods\n\nMine.\n")
    code, _, _ = evaluated("compare", "base", "tuned", "--out", "c", "--methods", "own.md")
    assert code == 2
    assert Path("own.md").read_text() == "## Methods\n\nMine.\n"
    paragraph = out.splitlines()[2]
    assert paragraph.partition(".")[0] in page
    first = {path: path.read_bytes() for path in Path().glob("t.*")}
    evaluated("compare", "base", "tuned", "--out", "c", "--latex", "t.tex", "--csv", "t.csv")
    assert {path: path.read_bytes() for path in Path().glob("t.*")} == first
    code, out, _ = evaluated("methods", "tuned")
    assert code == 0
    assert "tuned answered 60 multiple-choice questions" in out


def test_a_saved_comparison_of_equal_labels_tells_them_apart(tmp_path: Path) -> None:
    blind = wilson_interval(30, 80)
    models = []
    for name, seed in (("first", 1), ("second", 2)):
        made = evaluation("base", predictions(80, 1.0, seed, cyclic=False), options_only=blind)
        models.append(ComparedModel(None, made).written_to(tmp_path / name))
    place = tmp_path / "compared"
    place.mkdir()
    record = compare_evaluations(models[0].evaluation, models[1].evaluation)
    write_comparison_folder(place, record, *models)
    export_comparison(place, latex=tmp_path / "t.tex", csv=tmp_path / "t.csv")
    rows = [*csv.DictReader((tmp_path / "t.csv").read_text().splitlines())]
    names = [row["model"] for row in rows if row["quantity"] != "difference"]
    assert names[:2] == ["base (first)", "base (second)"]
    assert {"base (first), without the stem", "base (second), without the stem"} < {*names}
    table = (tmp_path / "t.tex").read_text()
    assert table.count("\nbase (first) &") == table.count("\nbase (second) &") == 1
