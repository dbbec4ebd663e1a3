"""`medtune run [EXPERIMENT]`: the main job, end to end.

    clean data -> examine the base -> LoRA fine-tune -> examine again -> compare -> report

A step whose inputs did not change is not run again; a killed run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medtune.analysis.analyze import Evaluation
from medtune.analysis.compare import compare
from medtune.analysis.seed_spread import over_seeds
from medtune.core.config import config_hash, to_toml
from medtune.core.errors import DataError
from medtune.core.experiment import Experiment
from medtune.core.progress import Progress
from medtune.core.prompt import form_taught
from medtune.core.protocols import AnswerModel
from medtune.core.provenance import peak_memory, provenance
from medtune.core.records import Method, RunRecord, TrainingRecord
from medtune.core.run_folder import write_record, write_text
from medtune.core.stopwatch import Stopwatch, timed
from medtune.data.snapshot import Snapshot, SnapshotSplit, prepare_snapshot
from medtune.data.sources.sources import parse_ref
from medtune.data.trained_on import count_trained_on, question_hashes
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.models.local.local_model import LocalModel
from medtune.reports.comparison_folder import ComparedModel, corrected, write_compared
from medtune.reports.run import write_report
from medtune.training.processes import processes
from medtune.workflows.distributed import first, held, together
from medtune.workflows.finetune import adapt, base_model, trainable_source, tuned_model


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model that was trained, and how it was examined."""

    place: str
    """Its folder in the run's."""
    training: TrainingRecord
    examined: list[ComparedModel]


def run(experiment: Experiment, folder: Path, progress: Progress) -> RunRecord:
    """Run an experiment in its folder.

    Launched in several processes, all of them train and answer; the first reads and writes.

    Raises:
        MedtuneError: The data, the model or the folder cannot be used, or training failed.
    """
    here = processes()
    source = trainable_source(experiment, progress)
    with held(folder), timed(folder, here.is_main_process) as watch:
        with here.main_process_first():
            snapshot = prepare_snapshot(experiment.data, experiment.seed, folder / "data", progress)
        exams = list(_exams(experiment, snapshot, snapshot.evaluated))
        calibration = (snapshot.calibration,) if snapshot.calibration else ()
        apart = list(_exams(experiment, snapshot, calibration))
        first(lambda: write_text(folder / "experiment.toml", to_toml(experiment)))

        def counted(some: Sequence[Exam]) -> list[Exam]:
            hashes = frozenset(question_hashes(snapshot.train.questions))
            return [
                replace(exam, trained_on=count_trained_on(exam.questions, hashes)) for exam in some
            ]

        base = base_model(experiment, source)
        before = _examine(base, exams, apart, "base", folder / "eval" / "base", progress)
        del base
        first(watch.save)
        learned: list[EvaluatedModel] = []
        for place, one in experiment.trainings():
            training = adapt(one, source, snapshot, folder / place, progress)
            label = f"tuned, seed {one.seed}" if place else "tuned"
            tuned = tuned_model(one, source, folder / place)
            stem = folder / place / "eval" / "tuned"
            after = _examine(tuned, counted(exams), counted(apart), label, stem, progress)
            learned.append(EvaluatedModel(place, training, after))
            first(watch.save)
        return first(
            lambda: _conclude(experiment, snapshot, exams, before, learned, folder, watch, progress)
        )


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
    exams: Sequence[Exam],
    apart: Sequence[Exam],
    label: str,
    stem: Path,
    progress: Progress,
) -> list[ComparedModel]:
    """Examine a model on what is reported, and on what its probabilities are calibrated with.

    Every examination has a folder of its own, `stem` and its name.
    """

    def sit(exam: Exam, name: str, shared: AnswerModel) -> ComparedModel:
        place = stem.with_name(f"{stem.name}-{name}")
        return ComparedModel(place, examined(shared, exam, label, STRICT, place, progress))

    def work(shared: AnswerModel) -> list[ComparedModel]:
        calibrations: dict[Method, Evaluation] = {}
        for exam in apart:
            if exam.method != "generate":
                unreported = replace(exam, options_only=0)
                found = sit(unreported, f"calibration-{exam.method}", shared)
                calibrations[exam.method] = found.evaluation
        sides = [sit(exam, _name(exam), shared) for exam in exams]
        return [
            replace(side, calibration=calibrations.get(exam.method))
            for exam, side in zip(exams, sides, strict=True)
        ]

    return together(model, work)


def _name(exam: Exam) -> str:
    return f"{parse_ref(exam.data.source).slug}-{exam.method}"


def _conclude(
    experiment: Experiment,
    snapshot: Snapshot,
    exams: Sequence[Exam],
    before: Sequence[ComparedModel],
    learned: Sequence[EvaluatedModel],
    folder: Path,
    watch: Stopwatch,
    progress: Progress,
) -> RunRecord:
    """Compare every tuned model with the base, and write report and record."""
    pairs = [
        (Path(one.place) / "compare" / _name(exam), a, b)
        for one in learned
        for exam, a, b in zip(exams, before, one.examined, strict=True)
    ]
    comparisons = corrected([compare(a.evaluation, b.evaluation) for _, a, b in pairs])
    with progress.task("comparisons", len(pairs)) as bar:
        for (place, a, b), comparison in zip(pairs, comparisons, strict=True):
            write_compared(folder / place, comparison, a, b)
            bar.advance()
    sides = [before, *(one.examined for one in learned)]
    spreads = []
    if len(learned) > 1:
        for base, *tuned in zip(*sides, strict=True):
            spreads.append(over_seeds(base.evaluation, [side.evaluation for side in tuned]))
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
        provenance=provenance(trainings[0].provenance.gpu),
    )
    pages = [f"{place.as_posix()}/report.html" for place, _, _ in pairs]
    write_report(folder / "report.html", record, evaluations, snapshot.manifest, pages)
    write_record(folder / "record.json", record)
    return record
