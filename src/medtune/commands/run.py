"""Run an experiment end to end (`medtune run [EXPERIMENT]`).

    clean data -> evaluate the base -> LoRA fine-tune -> evaluate again -> compare -> report

A step whose inputs did not change is skipped; a killed run resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medtune.analysis.analyze import RecordedEvaluation
from medtune.analysis.compare import compare_evaluations
from medtune.analysis.seed_spread import aggregate_seeds
from medtune.core.config import config_hash, to_toml
from medtune.core.errors import DataError
from medtune.core.experiment import Experiment
from medtune.core.progress import Progress
from medtune.core.prompt import form_for_target
from medtune.core.protocols import AnswerModel
from medtune.core.provenance import collect_provenance, peak_memory
from medtune.core.records import Method, RunRecord, TrainingRecord
from medtune.core.run_folder import write_record, write_text
from medtune.core.stopwatch import Stopwatch, record_elapsed
from medtune.data.snapshot import Snapshot, SnapshotSplit, prepare_snapshot
from medtune.data.sources.sources import parse_data_ref
from medtune.data.trained_on import count_trained_on, question_hashes
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.local.local_model import LocalModel
from medtune.reports.comparison_folder import (
    ComparedModel,
    apply_holm_correction,
    write_comparison_folder,
)
from medtune.reports.run import write_report
from medtune.training.processes import join_processes
from medtune.workflows.distributed import lock_on_main, run_distributed, run_on_main
from medtune.workflows.finetune import (
    finetune_cached,
    load_base_model,
    load_tuned_model,
    resolve_trainable,
)


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A trained model with its evaluations."""

    place: str
    """Its folder, relative to the run folder."""
    training: TrainingRecord
    examined: list[ComparedModel]


def run(experiment: Experiment, folder: Path, progress: Progress) -> RunRecord:
    """Run an experiment in its folder.

    With several processes all of them train and answer; only rank 0 reads and writes.

    Raises:
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    here = join_processes()
    source = resolve_trainable(experiment, progress)
    with lock_on_main(folder), record_elapsed(folder, here.is_main_process) as watch:
        with here.main_process_first():
            snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
        exams = list(_plan_exams(experiment, snapshot, snapshot.evaluated))
        calibration = (snapshot.calibration,) if snapshot.calibration else ()
        apart = list(_plan_exams(experiment, snapshot, calibration))
        run_on_main(lambda: write_text(folder / "experiment.toml", to_toml(experiment)))

        def counted(some: Sequence[Exam]) -> list[Exam]:
            hashes = frozenset(question_hashes(snapshot.train.questions))
            return [
                replace(exam, trained_on=count_trained_on(exam.questions, hashes)) for exam in some
            ]

        base = load_base_model(experiment, source)
        before = _evaluate_model(base, exams, apart, "base", folder / "eval" / "base", progress)
        del base
        run_on_main(watch.save)
        learned: list[EvaluatedModel] = []
        for place, one in experiment.list_trainings():
            training = finetune_cached(one, source, snapshot, folder / place, progress)
            label = f"tuned, seed {one.seed}" if place else "tuned"
            tuned = load_tuned_model(one, source, folder / place)
            stem = folder / place / "eval" / "tuned"
            after = _evaluate_model(tuned, counted(exams), counted(apart), label, stem, progress)
            learned.append(EvaluatedModel(place, training, after))
            run_on_main(watch.save)
        return run_on_main(
            lambda: _write_results(
                experiment, snapshot, exams, before, learned, folder, watch, progress
            )
        )


def _plan_exams(
    experiment: Experiment, snapshot: Snapshot, splits: Sequence[SnapshotSplit]
) -> Iterator[Exam]:
    """Plan the evaluations: every split with every method, the primary first."""
    settings = experiment.evaluation
    if settings.shots > len(snapshot.train.questions):
        raise DataError(
            f"evaluation.shots is {settings.shots}, the train split has "
            f"{len(snapshot.train.questions)} questions",
            fix="ask for fewer shots",
        )
    for split in splits:
        for method in settings.methods:
            yield Exam.from_config(
                settings,
                method,
                split.questions,
                split.description,
                experiment.prompt,
                form_for_target(experiment.training.target),
                snapshot.train.questions,
            )


def _evaluate_model(
    model: LocalModel,
    exams: Sequence[Exam],
    apart: Sequence[Exam],
    label: str,
    stem: Path,
    progress: Progress,
) -> list[ComparedModel]:
    """Evaluate a model on the reported splits and on the calibration split.

    Every evaluation has its own folder, `stem` plus its name.
    """

    def sit(exam: Exam, name: str, shared: AnswerModel) -> ComparedModel:
        place = stem.with_name(f"{stem.name}-{name}")
        return ComparedModel(
            place, evaluate_or_reuse(shared, exam, label, STRICT_PARSER, place, progress)
        )

    def work(shared: AnswerModel) -> list[ComparedModel]:
        calibrations: dict[Method, RecordedEvaluation] = {}
        for exam in apart:
            if exam.method != "generate":
                unreported = replace(exam, options_only=0)
                found = sit(unreported, f"calibration-{exam.method}", shared)
                calibrations[exam.method] = found.evaluation
        sides = [sit(exam, _exam_name(exam), shared) for exam in exams]
        return [
            replace(side, calibration=calibrations.get(exam.method))
            for exam, side in zip(exams, sides, strict=True)
        ]

    return run_distributed(model, work)


def _exam_name(exam: Exam) -> str:
    return f"{parse_data_ref(exam.data.source).slug}-{exam.method}"


def _write_results(
    experiment: Experiment,
    snapshot: Snapshot,
    exams: Sequence[Exam],
    before: Sequence[ComparedModel],
    learned: Sequence[EvaluatedModel],
    folder: Path,
    watch: Stopwatch,
    progress: Progress,
) -> RunRecord:
    """Compare every tuned model with the base; write the report and the record."""
    pairs = [
        (Path(one.place) / "compare" / _exam_name(exam), a, b)
        for one in learned
        for exam, a, b in zip(exams, before, one.examined, strict=True)
    ]
    comparisons = apply_holm_correction(
        [compare_evaluations(a.evaluation, b.evaluation) for _, a, b in pairs]
    )
    with progress.task("comparisons", len(pairs)) as bar:
        for (place, a, b), comparison in zip(pairs, comparisons, strict=True):
            write_comparison_folder(folder / place, comparison, a, b)
            bar.advance()
    sides = [before, *(one.examined for one in learned)]
    spreads = []
    if len(learned) > 1:
        for base, *tuned in zip(*sides, strict=True):
            spreads.append(aggregate_seeds(base.evaluation, [side.evaluation for side in tuned]))
    evaluations = [side.evaluation for some in sides for side in some]
    trainings = tuple(one.training for one in learned)
    record = RunRecord(
        name=experiment.name,
        config_hash=config_hash(experiment),
        trainings=trainings,
        evaluations=tuple(evaluation for evaluation, _ in evaluations),
        comparisons=tuple(comparisons),
        spreads=tuple(spreads),
        duration_s=watch.seconds,
        peak_memory_bytes=max(*(one.peak_memory_bytes for one in trainings), peak_memory()),
        provenance=collect_provenance(trainings[0].provenance.gpu),
    )
    pages = [f"{place.as_posix()}/report.html" for place, _, _ in pairs]
    write_report(folder / "report.html", record, evaluations, snapshot.manifest, pages)
    write_record(folder / "record.json", record)
    return record
