"""Read evaluations from the logs of lm-evaluation-harness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import Evaluation
from medtune.core.records import (
    LogOrigin,
    ModelDescription,
    Outcome,
    Prediction,
    content_hash,
)
from medtune.foreign_logs.document import DocumentFields
from medtune.foreign_logs.imported_evaluation import describe_model, make_imported_evaluation
from medtune.foreign_logs.lm_eval_files import LmEvalRun, find_run
from medtune.foreign_logs.lm_eval_samples import TaskPredictions, read_task

SOURCE_PREFIX = "lm-eval:"
"""Prefix of the name of imported questions: the task follows."""


def list_lm_eval_evaluations(path: Path) -> list[str]:
    """Return the names of the evaluations of a log: groups, and tasks in no group.

    Raises:
        PredictionsError: It is no log.
    """
    return list(find_run(path).evaluations)


def read_lm_eval_log(
    path: Path,
    task: str | None = None,
    fields: DocumentFields | None = None,
    metric: str | None = None,
    filter_name: str | None = None,
) -> Evaluation:
    """Read an evaluation of one task, or of all tasks of a group.

    Args:
        path: A results folder, a results file or a samples file.
        task: Name of the task or group; None where the log has one.
        fields: Columns of the dataset's rows.
        metric: Metric that says which answers are right; None is the task's first.
        filter_name: Filter that read generated answers; None is the task's first.

    Raises:
        PredictionsError: The log is damaged, of another type of task, or has several tasks.
    """
    run = find_run(path)
    name, tasks = _select_tasks(run, task)
    fields = fields or DocumentFields()
    found = [
        read_task(
            run,
            one,
            fields,
            metric=metric,
            filter_name=filter_name,
            subject=_subject(run, name, one),
        )
        for one in tasks
    ]
    _refuse_mixed(name, tasks, found)
    predictions = [p for part in found for p in part.predictions]
    if len({p.id for p in predictions}) < len(predictions) and len(tasks) > 1:
        predictions = [
            p.model_copy(update={"id": f"{one}:{p.id}"})
            for one, part in zip(tasks, found, strict=True)
            for p in part.predictions
        ]
    first = found[0]
    notes = [*_written_by(run), *run.notes, *(note for part in found for note in part.notes)]
    notes += _group_notes(run, name, first, predictions)
    version = run.find("lm_eval_version")
    shots = run.find("n-shot", tasks[0])
    origin = LogOrigin(
        harness="lm-evaluation-harness",
        version=str(version) if version is not None else None,
        task=name,
        task_version=_text(run.find("versions", name) or run.find("versions", tasks[0])),
        metric=first.metric,
        filter=first.filter,
        log=path.name,
        created=_created(run),
        notes=tuple(dict.fromkeys(notes)),
    )
    return make_imported_evaluation(
        predictions,
        origin=origin,
        source=f"{SOURCE_PREFIX}{name}",
        model=_describe_model(run),
        method=first.method,
        normalization=first.normalization,
        prompt_hash=content_hash(sorted(h for part in found for h in part.prompts)),
        shots=shots if isinstance(shots, int) else None,
    )


def _select_tasks(run: LmEvalRun, task: str | None) -> tuple[str, list[str]]:
    evaluations = run.evaluations
    if task is None:
        if len(evaluations) == 1:
            return next(iter(evaluations.items()))
        raise PredictionsError(
            f"{run.path} holds {len(evaluations)} tasks: {', '.join(evaluations)}",
            expected="one",
            fix="name one with --task, name its samples file, or `medtune import` them all",
        )
    if task in evaluations:
        return task, evaluations[task]
    if tasks := run.leaves_of(task):
        return task, tasks
    raise PredictionsError(
        f"{run.path} has no samples of {task!r}", expected=f"one of {', '.join(evaluations)}"
    )


def _refuse_mixed(name: str, tasks: Sequence[str], found: Sequence[TaskPredictions]) -> None:
    kinds = {
        (part.method, part.metric, part.filter): task
        for part, task in zip(found, tasks, strict=True)
    }
    if len(kinds) > 1:
        said = "; ".join(
            f"{task} by {method} and {metric}" for (method, metric, _), task in kinds.items()
        )
        raise PredictionsError(
            f"the tasks of the group {name} are of several kinds: {said}",
            expected="one method and one metric",
            fix="read its tasks one by one with --task",
        )


def _subject(run: LmEvalRun, name: str, task: str) -> str | None:
    """Return the subject that a subtask's name tells, such as anatomy for mmlu_anatomy."""
    outer = name
    if name == task:
        outer = next(
            (group for group, names in (run.find("group_subtasks") or {}).items() if task in names),
            "",
        )
    if not outer or not task.startswith(f"{outer}_"):
        return None
    return task.removeprefix(f"{outer}_").replace("_", " ")


def _describe_model(run: LmEvalRun) -> ModelDescription:
    settings: dict[str, Any] = run.find("config") or {}
    name = run.find("model_name") or _name_from_arguments(settings.get("model_args"))
    dtype = settings.get("model_dtype")
    count = settings.get("model_num_parameters")
    return describe_model(
        _text(name),
        fingerprint=_text(settings.get("model_sha")),
        parameters=count if isinstance(count, int) else None,
        dtype=str(dtype).removeprefix("torch.") if dtype else None,
        device=_text(settings.get("device")),
    )


def _name_from_arguments(arguments: object) -> str | None:
    pairs = arguments
    if isinstance(arguments, str):
        pairs = dict(part.partition("=")[::2] for part in arguments.split(","))
    if isinstance(pairs, dict):
        return next((str(pairs[k]) for k in ("peft", "pretrained", "model") if k in pairs), None)
    return None


def _created(run: LmEvalRun) -> str | None:
    seconds = run.find("date")
    if isinstance(seconds, int | float):
        with suppress(ValueError, OverflowError, OSError):  # no time that a calendar has
            return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    return run.date


def _group_notes(
    run: LmEvalRun, name: str, first: TaskPredictions, predictions: Sequence[Prediction]
) -> list[str]:
    """Return a note where a group's own figure is not the mean over its questions."""
    logged = run.find("results", name, f"{first.metric},{first.filter or 'none'}")
    mean = sum(p.outcome is Outcome.CORRECT for p in predictions) / len(predictions)
    # The harness adds up the means of the tasks, times their sizes: the last digit may differ.
    if not isinstance(logged, int | float) or math.isclose(logged, mean, rel_tol=1e-12):
        return []
    return [
        f"the harness gives the group {name} {first.metric} {logged!r}: it does not weight its "
        f"tasks by their size, as the mean over all questions here does ({mean!r})."
    ]


def _written_by(run: LmEvalRun) -> list[str]:
    writer = run.find("written_by")
    return [f"the log was written by {writer}, in the harness's shape."] if writer else []


def _text(value: object) -> str | None:
    return str(value) if value not in (None, "") else None
