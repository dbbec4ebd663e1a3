"""Plan `run`, `prepare` or `train` of an experiment for `--dry-run`; writes nothing.

Data that are not prepared yet are prepared in a temporary folder, so that counts are exact.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from medtune.core.errors import HubError
from medtune.core.experiment import Experiment
from medtune.core.progress import NoProgress, Progress
from medtune.core.schemas.plan import PlanRecord, StepState
from medtune.data.snapshot import Snapshot, SnapshotSplit, find_snapshot, prepare_snapshot
from medtune.data.sources.sources import parse_data_ref
from medtune.evaluation.exam import Exam
from medtune.models.memory import BYTES_PER_WEIGHT, FULL_TRAINING
from medtune.models.unloaded_model import UnloadedModel
from medtune.training.finished import TRAINING_RECORD_FILE
from medtune.workflows.dry_run import (
    PlanBuilder,
    add_evaluation,
    is_evaluated,
    is_model_here,
    nothing_downloaded,
)
from medtune.workflows.finetune import base_model, find_training, resolve_trainable, tuned_model
from medtune.workflows.forgetting import FOLDER, GeneralExam
from medtune.workflows.job_costs import RUN_S, SHORT_QUESTION, START_S, mean_characters
from medtune.workflows.search_baseline import LEAKS_FILE

EXAMPLES_PER_S = 2000
"""Questions that are cleaned and decontaminated in a second (results/prepare_speed.json)."""
SEARCHES_PER_S = 200
"""Questions that a text search answers in a second (results/search_speed.json)."""


def plan_experiment(
    command: str, experiment: Experiment, folder: Path, progress: Progress
) -> PlanRecord:
    """Plan `run`, `prepare` or `train` of an experiment.

    Args:
        command: Name of the command.
        experiment: The experiment.
        folder: Folder of the run.
        progress: Progress reports.

    Raises:
        MedtuneError: The data or the model cannot be used.
    """
    plan = PlanBuilder(command, folder, RUN_S if command == "run" else START_S)
    with nothing_downloaded(), tempfile.TemporaryDirectory(prefix="medtune-plan-") as scratch:
        base = None if command == "prepare" else _find_base(experiment, plan, progress)
        snapshot = _plan_data(plan, experiment, folder, Path(scratch))
        if command == "run":
            _plan_search(plan, experiment, snapshot, folder)
            _plan_exams(plan, experiment, snapshot, base, folder / "eval" / "base", "base")
            _plan_general(plan, experiment, base, folder / FOLDER / "base", "base")
        if command != "prepare":
            if experiment.retrieval.is_open_book and folder.is_dir():
                plan.notes.append(
                    "open book: whether a training or an evaluation is reused is found when it runs"
                )
            for place, one in experiment.list_trainings():
                where = folder / place
                done = _plan_training(plan, one, snapshot, base, where)
                tuned = None
                if done and base is not None:
                    tuned = tuned_model(one, base.source, where)
                if command == "run":
                    stem, label = (
                        where / "eval" / "tuned",
                        f"tuned {one.seed}" if place else "tuned",
                    )
                    _plan_exams(plan, one, snapshot, tuned, stem, label, base)
                    _plan_general(plan, one, tuned, where / FOLDER / "tuned", label, base)
        if command == "run":
            plan.add("report", "to do", 1, "files", writes=[str(folder / "report.html")])
    return plan.build()


def _find_base(
    experiment: Experiment, plan: PlanBuilder, progress: Progress
) -> UnloadedModel | None:
    """Return the base model without loading it; None if it is not on this machine."""
    if not is_model_here(experiment.model.source, plan):
        return None
    try:
        return base_model(experiment, resolve_trainable(experiment, progress))
    except HubError:
        plan.notes.append(f"{experiment.model.source} is not on this machine: it is downloaded")
        return None


def _plan_data(
    plan: PlanBuilder, experiment: Experiment, folder: Path, scratch: Path
) -> Snapshot | None:
    data, place = experiment.data, folder / "data"
    sources = (data.train, *data.evaluate)
    try:
        found = find_snapshot(data, experiment.seed, place)
        snapshot = found or prepare_snapshot(data, experiment.seed, scratch, NoProgress())
    except HubError:
        plan.notes.append("the data are not on this machine: they are downloaded")
        plan.add("data", "to do", None, "questions", None, sources, [str(place)])
        return None
    count = sum(split.description.n for split in snapshot.manifest.splits)
    state: StepState = "reused" if found is not None else "to do"
    plan.add("data", state, count, "questions", count / EXAMPLES_PER_S, sources, [str(place)])
    return snapshot


def _plan_search(
    plan: PlanBuilder, experiment: Experiment, snapshot: Snapshot | None, folder: Path
) -> None:
    slugs = [parse_data_ref(source).slug for source in experiment.data.evaluate]
    places = [folder / "eval" / f"search-{slug}" for slug in slugs]
    count = sum(len(s.questions) for s in snapshot.evaluated) if snapshot is not None else None
    done = all((place / LEAKS_FILE).is_file() for place in places)
    seconds = None if count is None else count / SEARCHES_PER_S
    reads = [experiment.retrieval.index] if experiment.retrieval.index else []
    writes = [str(folder / "index"), *map(str, places)]
    plan.add(
        "text search", "reused" if done else "to do", count, "questions", seconds, reads, writes
    )


def _plan_exams(
    plan: PlanBuilder,
    experiment: Experiment,
    snapshot: Snapshot | None,
    model: UnloadedModel | None,
    stem: Path,
    label: str,
    base: UnloadedModel | None = None,
) -> None:
    """Plan the evaluations of one model.

    Args:
        plan: The plan.
        experiment: The experiment.
        snapshot: Its data; None if they are not here.
        model: The model; None if it is not here, or not trained yet.
        stem: Beginning of the folders of the evaluations.
        label: Name of the model.
        base: The base of a model that is not trained yet, whose costs are the same.
    """
    settings = experiment.evaluation
    splits: list[tuple[str, SnapshotSplit | None]] = [
        (parse_data_ref(source).slug, None) for source in experiment.data.evaluate
    ]
    if snapshot is not None:
        found = [(parse_data_ref(s.description.source).slug, s) for s in snapshot.evaluated]
        splits = [
            *found,
            *([("calibration", snapshot.calibration)] if snapshot.calibration else []),
        ]
    for name, split in splits:
        for method in settings.methods:
            if name == "calibration" and method == "generate":
                continue
            place = stem.with_name(f"{stem.name}-{name}-{method}")
            done = False
            if split is not None and model is not None and not experiment.retrieval.is_open_book:
                assert snapshot is not None, "it has the split"
                exam = Exam.from_experiment(
                    experiment,
                    method,
                    split.questions,
                    split.description,
                    snapshot.train.questions,
                )
                if name == "calibration":
                    exam = replace(exam, options_only=0)
                done = is_evaluated(model, exam, place)
            questions = split.questions if split is not None else None
            add_evaluation(
                plan, f"{label}: {name}, {method}", model or base, method, questions, settings,
                place, done,
            )  # fmt: skip


def _plan_training(
    plan: PlanBuilder,
    experiment: Experiment,
    snapshot: Snapshot | None,
    base: UnloadedModel | None,
    folder: Path,
) -> bool:
    """Plan a training; return whether it is finished."""
    settings = experiment.training
    writes = [str(folder / settings.artefact_folder), str(folder / TRAINING_RECORD_FILE)]
    done = False
    if snapshot is not None and base is not None and not experiment.retrieval.is_open_book:
        done = find_training(experiment, base, snapshot, folder, NoProgress()) is not None
    train = snapshot.train.questions if snapshot is not None else None
    examples = len(train) * settings.epochs if train is not None else None
    if settings.steps is not None:
        examples = settings.steps * settings.batch_size
    costs, seconds = plan.costs(base) if not done else None, None
    if costs is not None and base is not None:
        kept = FULL_TRAINING if settings.method == "full" else base.describe().dtype
        plan.memory.append(costs.training_memory(BYTES_PER_WEIGHT.get(kept or "", 4.0)))
        if examples is not None:
            characters = mean_characters(train) if train is not None else SHORT_QUESTION
            seconds = costs.training_seconds(examples, characters)
    label = f"training, seed {experiment.seed}" if folder.parent.name == "seeds" else "training"
    state: StepState = "reused" if done else "to do"
    plan.add(label, state, examples, "examples", seconds, [experiment.model.source], writes)
    return done


def _plan_general(
    plan: PlanBuilder,
    experiment: Experiment,
    model: UnloadedModel | None,
    stem: Path,
    label: str,
    base: UnloadedModel | None = None,
) -> None:
    """Plan the general questions and the plain texts of one model; see `_plan_exams`."""
    general = GeneralExam.plan(experiment.prompt)
    places = general.places(stem)
    done = (
        model is not None
        and all(is_evaluated(model, exam, place) for exam, place in places)
        and general.find_text_loss(model, stem) is not None
    )
    costs = plan.costs(model or base) if not done else None
    seconds = None
    if costs is not None:
        seconds = sum(
            costs.evaluation_seconds(e.method, len(e.questions), mean_characters(e.questions))
            for e in general.exams
        )
        length = sum(len(text.text) for text in general.texts) / len(general.texts)
        seconds += costs.evaluation_seconds("cloze", len(general.texts), length)
    count = sum(len(exam.questions) for exam in general.exams) + len(general.texts)
    writes = [str(place) for _, place in places]
    state: StepState = "reused" if done else "to do"
    plan.add(f"{label}: general knowledge", state, count, "questions", seconds, (), writes)
