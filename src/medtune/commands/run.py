"""Run an experiment end to end (`medtune run [EXPERIMENT]`).

    clean data -> search -> evaluate the base -> LoRA fine-tune -> evaluate again -> report

Every evaluation is compared with a text search in the training questions, and the tuned model with
its base; so is what it still knows besides medicine.  A step whose inputs did not change is
skipped; a killed run resumes where it stopped.  A finished run loads no weights, searches for
nothing and draws no figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medtune.analysis.compare import compare_evaluations
from medtune.analysis.seed_spread import aggregate_seeds
from medtune.core.config import config_hash, to_toml
from medtune.core.errors import DataError
from medtune.core.experiment import Experiment
from medtune.core.predictions_io import Evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.protocols import AnswerModel
from medtune.core.provenance import collect_provenance, peak_memory
from medtune.core.records import ForgettingRecord, RunRecord, TrainingRecord
from medtune.core.run_folder import read_record, write_record, write_text
from medtune.core.stopwatch import Stopwatch, record_elapsed
from medtune.data.snapshot import Snapshot, SnapshotSplit, prepare_snapshot
from medtune.data.sources.sources import parse_data_ref
from medtune.data.trained_on import count_trained_on, question_hashes
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse, find_evaluation
from medtune.models.unloaded_model import UnloadedModel
from medtune.reports.comparison_folder import (
    ComparedModel,
    apply_holm_correction,
    write_comparison_folder,
)
from medtune.reports.run import write_report
from medtune.training.processes import join_processes
from medtune.workflows.distributed import lock_on_main, run_distributed, run_on_main
from medtune.workflows.finetune import (
    base_model,
    finetune_cached,
    resolve_trainable,
    tuned_model,
)
from medtune.workflows.forgetting import (
    FOLDER,
    GeneralExam,
    GeneralKnowledge,
    compare_general_knowledge,
)
from medtune.workflows.search_baseline import search_snapshot


@dataclass(frozen=True, slots=True)
class ExaminedModel:
    """The evaluations of a model, and what it knows besides medicine."""

    exams: list[ComparedModel]
    general: GeneralKnowledge


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A trained model with its evaluations."""

    place: str
    """Its folder, relative to the run folder."""
    training: TrainingRecord
    examined: ExaminedModel


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
        search = run_on_main(lambda: search_snapshot(experiment, snapshot, folder, progress))
        evidence = search.find_evidence(experiment)
        exams, apart = (
            [search.add_to_exam(exam, evidence) for exam in some] for some in (exams, apart)
        )

        model = base_model(experiment, source)
        general = GeneralExam.plan(experiment.prompt)
        before = _evaluate_model(model, exams, apart, general, "base", folder / "base", progress)
        run_on_main(watch.save)
        hashes = frozenset(question_hashes(snapshot.train.questions))
        after_general = GeneralExam.plan(experiment.prompt, hashes)

        def counted(some: Sequence[Exam]) -> list[Exam]:
            return [
                replace(exam, trained_on=count_trained_on(exam.questions, hashes)) for exam in some
            ]

        # Every seed is trained on the same questions.
        after_exams, after_apart = counted(exams), counted(apart)
        learned: list[EvaluatedModel] = []
        for place, one in experiment.list_trainings():
            training = finetune_cached(one, source, snapshot, folder / place, progress, evidence)
            model = tuned_model(one, source, folder / place)
            label = f"tuned, seed {one.seed}" if place else "tuned"
            stem = folder / place / "tuned"
            after = _evaluate_model(
                model, after_exams, after_apart, after_general, label, stem, progress
            )
            learned.append(EvaluatedModel(place, training, after))
            run_on_main(watch.save)
        return run_on_main(
            lambda: (
                _find_results(experiment, exams, before, learned, folder, progress)
                or _write_results(
                    experiment, snapshot, exams, before, learned, folder, watch, progress
                )
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
            yield Exam.from_experiment(
                experiment, method, split.questions, split.description, snapshot.train.questions
            )


def _evaluate_model(
    model: UnloadedModel,
    exams: Sequence[Exam],
    apart: Sequence[Exam],
    general: GeneralExam,
    label: str,
    stem: Path,
    progress: Progress,
) -> ExaminedModel:
    """Evaluate a model on the reported splits, the calibration split and the general questions.

    Every evaluation has its own folder, the name of `stem` plus its own, in `eval/` beside it or in
    `forgetting/`.  The model is loaded unless all of them are valid.
    """
    scored = [replace(exam, options_only=0) for exam in apart if exam.method != "generate"]
    planned = [(f"calibration-{exam.method}", exam) for exam in scored]
    planned += [(_exam_name(exam), exam) for exam in exams]
    places = [(stem.parent / "eval" / f"{stem.name}-{name}", exam) for name, exam in planned]
    apart_from_medicine = stem.parent / FOLDER / stem.name

    def work(shared: AnswerModel) -> tuple[list[Evaluation], GeneralKnowledge]:
        evaluations = [
            evaluate_or_reuse(shared, exam, label, STRICT_PARSER, place, progress)
            for place, exam in places
        ]
        return evaluations, general.measure(shared, label, apart_from_medicine, progress)

    def find() -> tuple[list[Evaluation], GeneralKnowledge] | None:
        found: list[Evaluation] = []
        for place, exam in places:
            one = find_evaluation(model, exam, label, STRICT_PARSER, place, NoProgress())
            if one is None:
                return None
            found.append(one)
        if (known := general.find(model, label, apart_from_medicine)) is None:
            return None
        progress.log_message(f"{label}: all evaluations are still valid")
        return found, known

    found, known = run_on_main(find) or run_distributed(model.load(), work)
    calibrations = {exam.method: one for exam, one in zip(scored, found, strict=False)}
    compared = [
        ComparedModel(place, one, calibrations.get(exam.method))
        for (place, exam), one in zip(places, found, strict=True)
    ]
    return ExaminedModel(compared[len(scored) :], known)


def _exam_name(exam: Exam) -> str:
    return f"{parse_data_ref(exam.data.source).slug}-{exam.method}"


def _find_results(
    experiment: Experiment,
    exams: Sequence[Exam],
    before: ExaminedModel,
    learned: Sequence[EvaluatedModel],
    folder: Path,
    progress: Progress,
) -> RunRecord | None:
    """Read the record if this version of medtune made it, and its pages, of these very results."""
    record = read_record(folder / "record.json", RunRecord)
    places = [Path(), *_comparison_folders(exams, learned)]
    if record is None or not all((folder / place / "report.html").is_file() for place in places):
        return None
    sides = [*before.exams, *(side for one in learned for side in one.examined.exams)]
    now = collect_provenance()
    same = (
        (record.provenance.medtune, record.provenance.commit) == (now.medtune, now.commit)
        and record.config_hash == config_hash(experiment)
        and record.trainings == tuple(one.training for one in learned)
        and record.evaluations == tuple(side.evaluation[0] for side in sides)
        and record.forgotten == _compare_with_base(before, learned)
    )
    if not same:
        return None
    progress.log_message(f"{folder / 'report.html'}: still valid")
    return record


def _compare_with_base(
    before: ExaminedModel, learned: Sequence[EvaluatedModel]
) -> tuple[ForgettingRecord, ...]:
    """Compare what every tuned model knows besides medicine with what its base knew."""
    return tuple(compare_general_knowledge(before.general, one.examined.general) for one in learned)


def _comparison_folders(exams: Sequence[Exam], learned: Sequence[EvaluatedModel]) -> list[Path]:
    """Return the folders of all comparisons, relative to the run folder."""
    return [Path(one.place) / "compare" / _exam_name(exam) for one in learned for exam in exams]


def _write_results(
    experiment: Experiment,
    snapshot: Snapshot,
    exams: Sequence[Exam],
    before: ExaminedModel,
    learned: Sequence[EvaluatedModel],
    folder: Path,
    watch: Stopwatch,
    progress: Progress,
) -> RunRecord:
    """Compare every tuned model with the base; write the report and the record."""
    pairs = [pair for one in learned for pair in zip(before.exams, one.examined.exams, strict=True)]
    comparisons = apply_holm_correction(
        [compare_evaluations(a.evaluation, b.evaluation) for a, b in pairs]
    )
    places = _comparison_folders(exams, learned)
    with progress.task("comparisons", len(pairs)) as bar:
        for place, (a, b), comparison in zip(places, pairs, comparisons, strict=True):
            write_comparison_folder(folder / place, comparison, a, b)
            bar.advance()
    sides = [before.exams, *(one.examined.exams for one in learned)]
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
        forgotten=_compare_with_base(before, learned),
        duration_s=watch.seconds,
        peak_memory_bytes=max(*(one.peak_memory_bytes for one in trainings), peak_memory()),
        provenance=collect_provenance(trainings[0].provenance.gpu),
    )
    pages = [f"{place.as_posix()}/report.html" for place in places]
    write_report(folder / "report.html", record, evaluations, snapshot.manifest, pages)
    write_record(folder / "record.json", record)
    return record
