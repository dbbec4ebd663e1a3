"""Plan a command for `--dry-run`: its steps, what is reused, and what it costs; writes nothing.

Nothing is downloaded or converted: where a model or a dataset is not on this machine, the plan
says so, and leaves open what depends on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from medtune._version import __version__
from medtune.core.errors import HubError, ModelError, PredictionsError
from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.model_names import MIX_PREFIX, SEARCH_PREFIX
from medtune.core.predictions_io import RECORD_FILE, read_evaluation
from medtune.core.progress import NoProgress
from medtune.core.prompt import FormName, method_for_form
from medtune.core.protocols import ModelIdentity
from medtune.core.records import EvaluationRecord, Method, Question
from medtune.core.run_folder import read_valid_record
from medtune.core.schemas.compression import Scheme
from medtune.core.schemas.plan import MachineSpeed, PlannedStep, PlanRecord, StepState
from medtune.data.load import Split, load_split
from medtune.evaluation.exam import Exam, ExamShard
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.models import builtin
from medtune.models.memory import BYTES_PER_WEIGHT, available_memory
from medtune.models.open_model import find_unloaded_model, open_model
from medtune.models.weights_card import (
    CARD_FILE,
    read_optional_card,
    resolve_prompt_defaults,
    split_adapter,
)
from medtune.workflows.job_costs import (
    ERROR_FACTOR,
    START_S,
    JobCosts,
    mean_characters,
    measure_speed,
)

WRITTEN_PER_S = 7_000_000
"""Weights that are written in a second, as in the conversion of the embedded model (20 s)."""


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
            memory_available_bytes=available_memory(),
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
    shard: str | None = None,
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
        shard: Which part of the questions is evaluated; None is all of them.

    Raises:
        MedtuneError: The model or the data cannot be used.
    """
    place = folder or Path("runs", "eval")
    plan = PlanBuilder("evaluate", place)
    with nothing_downloaded():
        identity = find_model(model, adapter, dtype, plan)
        split = find_split(data, columns, limit, plan)
        done = False
        if split is not None and shard is not None:
            part = ExamShard.parse(shard, len(split.questions))
            split = replace(split, questions=split.questions[part.places])
            plain = False
        if split is not None and identity is not None and plain:
            asked = resolve_prompt_defaults(model, adapter, None, form, None, None)
            exam = Exam.from_config(
                settings, method, split.questions, split.description, asked.style, asked.target, ()
            )
            inputs = exam.hash_inputs(identity, STRICT_PARSER.version)
            places = [folder] if folder else sorted(place.glob(f"*-{inputs[:8]}"))
            finished = [found for found in places if is_evaluated(identity, exam, found)]
            place, done = (finished or [place])[0], bool(finished)
        # Where there is no result at all, none is reused.
        if not plain and ((place / RECORD_FILE).is_file() if folder else place.is_dir()):
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
        method: Method of the evaluations; None is letter for a model trained on letters or not
            trained here, else cloze.
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
        asked = method or method_for_form(resolve_prompt_defaults(name, adapter).target)
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
