"""`medtune run [EXPERIMENT]`: the main job, end to end.

    clean data -> examine the base -> LoRA fine-tune -> examine again -> compare -> report

A step whose inputs did not change is not run again; a killed run goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from medtune.analysis.analyze import Evaluation
from medtune.analysis.compared import Examined, compare_in
from medtune.analysis.exam import Exam
from medtune.analysis.examine import examined
from medtune.analysis.report import write_report
from medtune.answers.parse import STRICT
from medtune.core.config import config_hash, to_toml
from medtune.core.errors import DataError, InputError
from medtune.core.experiment import Experiment
from medtune.core.folder import locked, write_record, write_text
from medtune.core.progress import Progress
from medtune.core.prompt import form_taught
from medtune.core.provenance import peak_memory, provenance
from medtune.core.records import (
    ComparisonRecord,
    Method,
    RunRecord,
    TrainingRecord,
)
from medtune.data.snapshot import Snapshot, SnapshotSplit, prepare_snapshot
from medtune.data.sources import parse_ref
from medtune.models.local import LocalModel
from medtune.steps.adapt import adapt, base_model, trainable_source, tuned_model
from medtune.training.processes import processes

Evaluations = list[Evaluation]


def run(experiment: Experiment, folder: Path, progress: Progress) -> RunRecord:
    """Run an experiment in its folder.

    Raises:
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    start = time.perf_counter()
    if (count := processes().num_processes) > 1:
        raise InputError(
            f"`medtune run` was launched in {count} processes",
            expected="one: it examines in one",
            fix="launch `medtune train --out FOLDER`, then `medtune run --out FOLDER` in one "
            "process, which finds the adapter done",
        )
    source = trainable_source(experiment, progress)
    with locked(folder):
        snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
        exams = list(_exams(experiment, snapshot, snapshot.evaluated))
        calibration = (snapshot.calibration,) if snapshot.calibration else ()
        held = list(_exams(experiment, snapshot, calibration))
        write_text(folder / "experiment.toml", to_toml(experiment))

        before = _examine(base_model(experiment, source), exams, held, "base", folder, progress)
        training = adapt(experiment, source, snapshot, folder, progress)
        tuned = tuned_model(experiment, source, folder)
        after = _examine(tuned, exams, held, "tuned", folder, progress)

        comparisons = _compare(exams, before, after, folder, progress)
        evaluations = [side.evaluation for side in (*before, *after)]
        record = _record(experiment, training, evaluations, comparisons, start)
        pages = [f"compare/{_name(exam)}/report.html" for exam in exams]
        write_report(folder / "report.html", record, evaluations, snapshot.manifest, pages)
        write_record(folder / "record.json", record)
    return record


def _exams(
    experiment: Experiment, snapshot: Snapshot, splits: Sequence[SnapshotSplit]
) -> Iterator[Exam]:
    """List the examinations: every split under every method, the primary first."""
    settings = experiment.evaluation
    if settings.shots > len(snapshot.train.questions):
        raise DataError(
            f"evaluation.shots is {settings.shots}, the train split has "
            f"{len(snapshot.train.questions)} questions",
            fix="ask for fewer shots",
        )
    for split in splits:
        for method in settings.methods:
            yield Exam.planned(
                settings,
                method,
                split.questions,
                split.description,
                experiment.prompt,
                form_taught(experiment.training.target),
                snapshot.train.questions,
            )


def _examine(
    model: LocalModel,
    exams: list[Exam],
    held: list[Exam],
    label: str,
    folder: Path,
    progress: Progress,
) -> list[Examined]:
    """Examine a model on what is reported, and on what its probabilities are calibrated with."""
    calibrations: dict[Method, Evaluation] = {}
    for exam in held:
        if exam.method != "generate":
            unreported = replace(exam, options_only=0)
            place = folder / "eval" / f"{label}-calibration-{exam.method}"
            calibrations[exam.method] = examined(model, unreported, label, STRICT, place, progress)
    results = []
    for exam in exams:
        place = folder / "eval" / f"{label}-{_name(exam)}"
        found = examined(model, exam, label, STRICT, place, progress)
        results.append(Examined(place, found, calibrations.get(exam.method)))
    return results


def _name(exam: Exam) -> str:
    return f"{parse_ref(exam.data.source).slug}-{exam.method}"


def _compare(
    exams: list[Exam],
    before: list[Examined],
    after: list[Examined],
    folder: Path,
    progress: Progress,
) -> list[ComparisonRecord]:
    """Compare base and tuned, exam by exam, each on a page of its own."""
    records = []
    with progress.task("comparisons", len(exams)) as bar:
        for exam, a, b in zip(exams, before, after, strict=True):
            records.append(compare_in(folder / "compare" / _name(exam), a, b))
            bar.advance()
    return records


def _record(
    experiment: Experiment,
    training: TrainingRecord,
    evaluations: Evaluations,
    comparisons: list[ComparisonRecord],
    start: float,
) -> RunRecord:
    return RunRecord(
        name=experiment.name,
        config_hash=config_hash(experiment),
        training=training,
        evaluations=tuple(record for record, _ in evaluations),
        comparisons=tuple(comparisons),
        duration_s=time.perf_counter() - start,
        peak_memory_bytes=max(training.peak_memory_bytes, peak_memory()),
        provenance=provenance(training.provenance.gpu),
    )
