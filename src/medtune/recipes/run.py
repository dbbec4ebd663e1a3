"""`medtune run [EXPERIMENT]`: the main job, end to end.

    clean data -> examine the base -> LoRA fine-tune -> examine again -> compare -> report

A step whose inputs did not change is not run again; a killed run goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from medtune.analysis.compare import compare
from medtune.analysis.exam import Exam
from medtune.analysis.examine import examined
from medtune.analysis.report import write_report
from medtune.answers.parse import STRICT
from medtune.core.config import config_hash, to_toml
from medtune.core.errors import DataError, ModelError
from medtune.core.experiment import Experiment
from medtune.core.folder import locked, write_record, write_text
from medtune.core.progress import Progress
from medtune.core.prompt import fingerprint
from medtune.core.provenance import peak_memory, provenance
from medtune.core.records import (
    ComparisonRecord,
    EvaluationRecord,
    Prediction,
    RunRecord,
    TrainingRecord,
)
from medtune.data.snapshot import Snapshot, prepare_snapshot
from medtune.data.sources import parse_ref
from medtune.models import lora
from medtune.models.local import LocalModel
from medtune.models.sources import ModelSource, resolve
from medtune.training.finetune import fine_tune, trained_already, training_inputs

Evaluations = list[tuple[EvaluationRecord, list[Prediction]]]


def run(experiment: Experiment, folder: Path, progress: Progress) -> RunRecord:
    """Run an experiment in its folder.

    Raises:
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    start = time.perf_counter()
    source = resolve(experiment.model.source, progress)
    if source.kind == "fake":
        raise ModelError(f"{source.name} cannot be trained", expected="a real base model")
    with locked(folder):
        snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
        exams = list(_exams(experiment, snapshot))
        write_text(folder / "experiment.toml", to_toml(experiment))

        base = _load(experiment, source)
        before = _examine(base, exams, "base", folder, progress)
        training = _train(base, experiment, snapshot, folder, progress)
        # What is examined is what was saved, put into weights that training never touched.
        del base
        prompt_hash = training.prompt_hash
        tuned = lora.load(_load(experiment, source), folder / "adapter", prompt_hash)
        after = _examine(tuned, exams, "tuned", folder, progress)

        comparisons = [compare(a, b) for a, b in zip(before, after, strict=True)]
        record = _record(experiment, training, [*before, *after], comparisons, start)
        questions = {split.description.source: split.questions for split in snapshot.evaluated}
        write_report(
            folder / "report.html", record, [*before, *after], questions, snapshot.manifest
        )
        write_record(folder / "record.json", record)
    return record


def _exams(experiment: Experiment, snapshot: Snapshot) -> Iterator[Exam]:
    """List the examinations: every evaluated split under every method, the primary first."""
    settings = experiment.evaluation
    if settings.shots > len(snapshot.train.questions):
        raise DataError(
            f"evaluation.shots is {settings.shots}, the train split has "
            f"{len(snapshot.train.questions)} questions",
            fix="ask for fewer shots",
        )
    for split in snapshot.evaluated:
        for method in settings.methods:
            yield Exam.planned(
                settings,
                method,
                split.questions,
                split.description,
                experiment.prompt,
                experiment.training.target,
                snapshot.train.questions,
            )


def _load(experiment: Experiment, source: ModelSource) -> LocalModel:
    return LocalModel.load(source, experiment.model.dtype, experiment.model.attention)


def _examine(
    model: LocalModel, exams: list[Exam], label: str, folder: Path, progress: Progress
) -> Evaluations:
    results = []
    for exam in exams:
        place = folder / "eval" / f"{label}-{parse_ref(exam.data.source).slug}-{exam.method}"
        results.append(examined(model, exam, label, STRICT, place, progress))
    return results


def _train(
    base: LocalModel, experiment: Experiment, snapshot: Snapshot, folder: Path, progress: Progress
) -> TrainingRecord:
    split = snapshot.train.description
    prompt_hash = fingerprint(experiment.prompt, base.render)
    inputs = training_inputs(experiment, base.describe(), prompt_hash, split)
    if record := trained_already(folder, inputs):
        progress.say(f"{folder / 'adapter'}: still valid")
        return record
    adapted = lora.Adapted(base, experiment.training.lora, experiment.seed)
    return fine_tune(adapted, experiment, snapshot.train.questions, split, folder, progress)


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
