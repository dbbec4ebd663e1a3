"""Plan a command for `--dry-run`: its steps, what is reused, and what it costs; writes nothing.

Data that are not prepared yet are prepared in a temporary folder, so that counts are exact.
Nothing is downloaded or converted: where a model or a dataset is not on this machine, the plan
says so, and leaves open what depends on it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil

from medtune._version import __version__
from medtune.core.errors import HubError, ModelError, PredictionsError
from medtune.core.experiment import ColumnMapping, EvaluationConfig, Experiment
from medtune.core.model_names import MIX_PREFIX, SEARCH_PREFIX
from medtune.core.predictions_io import RECORD_FILE, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import FormName
from medtune.core.protocols import ModelIdentity
from medtune.core.records import EvaluationRecord, Method, Question
from medtune.core.run_folder import read_valid_record
from medtune.core.schemas.compression import Scheme
from medtune.core.schemas.plan import MachineSpeed, PlannedStep, PlanRecord, StepState
from medtune.data.load import Split, load_split
from medtune.data.snapshot import Snapshot, SnapshotSplit, find_snapshot, prepare_snapshot
from medtune.data.sources.sources import parse_data_ref
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.models import builtin
from medtune.models.open_model import find_unloaded_model, open_model
from medtune.models.unloaded_model import UnloadedModel
from medtune.models.weights_card import (
    CARD_FILE,
    read_optional_card,
    resolve_prompt_defaults,
    split_adapter,
)
from medtune.training.finished import TRAINING_RECORD_FILE
from medtune.workflows.finetune import base_model, find_training, resolve_trainable, tuned_model
from medtune.workflows.forgetting import FOLDER, GeneralExam
from medtune.workflows.job_costs import (
    ERROR_FACTOR,
    RUN_S,
    SHORT_QUESTION,
    START_S,
    JobCosts,
    mean_characters,
    measure_speed,
)
from medtune.workflows.search_baseline import LEAKS_FILE

EXAMPLES_PER_S = 2000
"""Questions that are cleaned and decontaminated in a second (results/prepare_speed.json)."""
SEARCHES_PER_S = 200
"""Questions that a text search answers in a second (results/search_speed.json)."""
WRITTEN_PER_S = 7_000_000
"""Weights that are written in a second, as in the conversion of the embedded model (20 s)."""
BYTES_PER_WEIGHT = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "nf4": 0.6}


@dataclass
class PlanBuilder:
    """Steps of a plan, as they are found."""

    command: str
    folder: Path
    """Folder that the command writes to."""
    fixed_s: float = START_S
    """Loading, and pages, beside the steps."""
    steps: list[PlannedStep] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _speed: MachineSpeed | None = None

    def add(
        self,
        name: str,
        state: StepState,
        count: int | None,
        unit: str = "questions",
        seconds: float | None = 0.0,
        reads: Sequence[str] = (),
        writes: Sequence[str] = (),
    ) -> None:
        """Add a step; one that is reused takes no time."""
        self.steps.append(
            PlannedStep.model_validate(
                {
                    "name": name,
                    "state": state,
                    "count": count,
                    "unit": unit,
                    "seconds": 0.0 if state == "reused" else seconds,
                    "reads": tuple(reads),
                    "writes": tuple(writes),
                }
            )
        )

    def costs(self, model: ModelIdentity | None) -> JobCosts | None:
        """Return the costs of jobs with a model; None if they are not known.

        They are unknown on an accelerator, for a model on a server, and for one that is not here.
        """
        if model is None or not (described := model.describe()).parameters:
            return None
        self._speed = self._speed or measure_speed(described.dtype or "auto")
        return JobCosts(self._speed, described.parameters) if self._speed is not None else None

    def build(self) -> PlanRecord:
        """Return the plan."""
        times = [step.seconds for step in self.steps]
        known = [seconds for seconds in times if seconds is not None]
        return PlanRecord(
            command=self.command,
            folder=str(self.folder),
            steps=tuple(self.steps),
            seconds=sum(known) + self.fixed_s if len(known) == len(times) else None,
            error_factor=ERROR_FACTOR,
            memory_bytes=max(self.memory, default=None),
            memory_available_bytes=psutil.virtual_memory().available,
            notes=tuple(dict.fromkeys(self.notes)),
        )


@contextmanager
def nothing_downloaded() -> Iterator[None]:
    """Keep the Hub's libraries, if they are not loaded yet, from downloading anything."""
    names = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
    former = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in former.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def is_model_here(name: str, plan: PlanBuilder) -> bool:
    """Return whether a model needs no conversion first; a note says so if it does."""
    embedded = name == f"embedded:{builtin.NAME}"
    if embedded and not builtin.converted_folder().is_dir() and builtin.find_gguf() is not None:
        plan.notes.append(f"{name} is converted first, once, in about 20 s")
        return False
    return True


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


def is_evaluated(model: ModelIdentity, exam: Exam, folder: Path) -> bool:
    """Return whether a folder has this very evaluation; nothing is written."""
    inputs = exam.hash_inputs(model, STRICT_PARSER.version)
    if read_valid_record(folder / RECORD_FILE, EvaluationRecord, inputs) is None:
        return False
    try:
        read_evaluation(folder)
    except PredictionsError:
        return False
    return True


def add_evaluation(
    plan: PlanBuilder,
    name: str,
    model: ModelIdentity | None,
    method: Method,
    questions: Sequence[Question] | None,
    settings: EvaluationConfig,
    folder: Path,
    done: bool,
    reads: Sequence[str] = (),
) -> None:
    """Add an evaluation to a plan.

    Args:
        plan: The plan.
        name: Name of the step.
        model: The model; None if nothing is known about its costs.
        method: Method of the evaluation.
        questions: The questions; None if they are not here.
        settings: Settings of the evaluation.
        folder: Folder that it is written to.
        done: Whether the folder has it.
        reads: What it reads.
    """
    costs, seconds = plan.costs(model) if not done else None, None
    if costs is not None and model is not None:
        width = BYTES_PER_WEIGHT.get(model.describe().dtype or "", 4.0)
        plan.memory.append(costs.evaluation_memory(width))
        if questions is not None:
            seconds = costs.evaluation_seconds(
                method,
                len(questions),
                mean_characters(questions),
                settings.options_only,
                settings.orders,
                settings.shots,
            )
    count = len(questions) if questions is not None else None
    state: StepState = "reused" if done else "to do"
    plan.add(name, state, count, "questions", seconds, reads, [str(folder)])


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
    elif experiment.retrieval.is_open_book:
        plan.notes.append(
            "open book: whether a training or an evaluation is reused is found when it runs"
        )
    train = snapshot.train.questions if snapshot is not None else None
    examples = len(train) * settings.epochs if train is not None else None
    if settings.steps is not None:
        examples = settings.steps * settings.batch_size
    costs, seconds = plan.costs(base) if not done else None, None
    if costs is not None and base is not None:
        width = BYTES_PER_WEIGHT.get(base.describe().dtype or "", 4.0)
        plan.memory.append(costs.training_memory(width, settings.method == "full"))
        if examples is not None:
            characters = mean_characters(train) if train is not None else SHORT_QUESTION
            seconds = costs.training_seconds(examples, characters)
    label = f"training, seed {experiment.seed}" if folder.parent.name == "seeds" else "training"
    state: StepState = "reused" if done else "to do"
    plan.add(label, state, examples, "examples", seconds, [experiment.model.source], writes)
    return done


def plan_evaluation(
    model: str,
    data: str,
    folder: Path | None,
    *,
    method: Method,
    settings: EvaluationConfig,
    adapter: Path | None = None,
    limit: int | None = None,
    columns: ColumnMapping | None = None,
    dtype: str = "auto",
    form: FormName | None = None,
    plain: bool = True,
) -> PlanRecord:
    """Plan `evaluate` of one model on one split.

    Args:
        model: Name of the model.
        data: Name of the split.
        folder: Folder of the evaluation; None is one under runs/eval.
        method: Method of the evaluation.
        settings: Settings of the evaluation.
        adapter: Folder of an adapter.
        limit: Number of questions; None asks all.
        columns: Mapping of the columns of a file.
        dtype: Dtype of the model.
        form: Answer form of free answers.
        plain: Whether there are neither passages nor worked examples nor a perturbation. An
            earlier result of other evaluations is found when the command runs.

    Raises:
        MedtuneError: The model or the data cannot be used.
    """
    place = folder or Path("runs", "eval")
    plan = PlanBuilder("evaluate", place)
    with nothing_downloaded():
        identity = find_model(model, adapter, dtype, plan)
        split = find_split(data, columns, limit, plan)
        done = False
        if split is not None and identity is not None and plain:
            asked = resolve_prompt_defaults(model, adapter, None, form, None, None)
            exam = Exam.from_config(
                settings, method, split.questions, split.description, asked.style, asked.target, ()
            )
            inputs = exam.hash_inputs(identity, STRICT_PARSER.version)
            places = [folder] if folder else sorted(place.glob(f"*-{inputs[:8]}"))
            finished = [found for found in places if is_evaluated(identity, exam, found)]
            place, done = (finished or [place])[0], bool(finished)
        if not plain:
            plan.notes.append("whether an earlier result is reused is found when it runs")
        add_evaluation(
            plan,
            f"{model}, {method}",
            identity,
            method,
            split.questions if split is not None else None,
            settings,
            place,
            done,
            reads=[model, data],
        )
        if not done and model.startswith(("fake:", SEARCH_PREFIX)):
            plan.steps[-1] = plan.steps[-1].model_copy(update={"seconds": 1.0})
    if folder is None and not done:
        plan.notes.append("the folder is named after everything that determines the result")
    return plan.build()


def find_model(
    name: str, adapter: Path | None, dtype: str, plan: PlanBuilder
) -> ModelIdentity | None:
    """Return a model without loading it; None if it is not here, or cannot be described unasked.

    Raises:
        ModelError: There is no such model, or the adapter cannot be used.
    """
    if not is_model_here(name, plan):
        return None
    try:
        if (unloaded := find_unloaded_model(name, adapter, dtype, NoProgress())) is not None:
            return unloaded
        if name.startswith("fake:"):
            return open_model(name, adapter=adapter)
    except HubError:
        plan.notes.append(f"{name} is not on this machine: it is downloaded")
    return None


def find_split(
    data: str, columns: ColumnMapping | None, limit: int | None, plan: PlanBuilder
) -> Split | None:
    """Return a split; None if it is not on this machine.

    Raises:
        DataError: The split cannot be used.
    """
    try:
        return load_split(data, columns, limit, NoProgress())
    except HubError:
        plan.notes.append(f"{data} is not on this machine: it is downloaded")
        return None


def plan_compression(
    model: str,
    schemes: Sequence[Scheme],
    data: str,
    folder: Path,
    *,
    adapter: Path | None = None,
    method: Method | None = None,
    limit: int | None = None,
    columns: ColumnMapping | None = None,
) -> PlanRecord:
    """Plan `compress`: one folder for each scheme, and an evaluation of each and of the original.

    Args:
        model: Name of the model.
        schemes: The quantization schemes.
        data: Questions of the parity gate.
        folder: Folder that it writes to.
        adapter: Folder of an adapter.
        method: Method of the evaluations; None is the one that the model was taught.
        limit: Number of questions; None asks all.
        columns: Mapping of the columns of a file.

    Raises:
        MedtuneError: The model or the data cannot be used.
    """
    plan = PlanBuilder("compress", folder)
    name, adapter = split_adapter(model, adapter)
    with nothing_downloaded():
        identity = find_model(name, adapter, "float32", plan)
        if identity is None or not identity.describe().parameters:
            check_compressible(name)
        split = find_split(data, columns, limit, plan)
        questions = split.questions if split is not None else None
        asked = method or "cloze"
        settings = EvaluationConfig(options_only=0)
        costs = plan.costs(identity)
        for scheme in ("original", *schemes):
            place = folder / scheme
            if scheme != "original":
                card = read_optional_card(place) if (place / CARD_FILE).is_file() else None
                made = card is not None and card.scheme == scheme and card.medtune == __version__
                weights = costs.parameters / WRITTEN_PER_S if costs is not None else None
                state: StepState = "reused" if made else "to do"
                plan.add(f"write {scheme}", state, 1, "files", weights, [model], [str(place)])
            add_evaluation(
                plan, f"evaluate {scheme}, {asked}", identity, asked, questions, settings, place,
                done=False, reads=[data],
            )  # fmt: skip
    return plan.build()


def check_compressible(name: str) -> None:
    """Refuse a model without weights.

    Raises:
        ModelError: It has none here.
    """
    if name.startswith(("fake:", "remote:", SEARCH_PREFIX, MIX_PREFIX)):
        raise ModelError(f"{name} has no weights to quantize", expected="a real model")
