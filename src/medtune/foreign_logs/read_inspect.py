"""Read evaluations from Inspect logs (`.eval`, `.json`), by inspect_ai's own reader."""

from __future__ import annotations

import json
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any

from medtune.core.errors import PredictionsError
from medtune.core.predictions_io import Evaluation
from medtune.core.records import (
    EPOCH_MARK,
    LETTERS,
    MAX_OPTIONS,
    LogOrigin,
    Outcome,
    Prediction,
    content_hash,
)
from medtune.foreign_logs.document import DocumentFields
from medtune.foreign_logs.imported_evaluation import describe_model, make_imported_evaluation

SOURCE_PREFIX = "inspect:"
LOG_VERSION = 2
"""Newest version of Inspect's log format that was checked (inspect_ai 0.3.285)."""
SUPPORTED = "a log of a multiple_choice() task, as inspect_ai 0.3 writes them"
VALUES = {"C": True, "I": False, "N": False, "P": False, 1: True, 0: False}


def is_inspect_log(path: Path) -> bool:
    """Return whether a file is an Inspect log, by its name or its first keys."""
    if path.suffix == ".eval":
        return True
    if path.suffix != ".json" or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(4000)
    return b'"status"' in head and b'"eval"' in head


def read_inspect_log(
    path: Path, task: str | None = None, fields: DocumentFields | None = None
) -> Evaluation:
    """Read an evaluation of a multiple-choice task.

    Every epoch of a question is a prediction; those of one question are a group, since they are
    not independent.

    Raises:
        PredictionsError: The log is damaged, of another type of task or of another version, or
            inspect_ai is not installed.
    """
    log = _read_log(path)
    spec = log.eval
    if task is not None and task not in (spec.task, spec.task.rpartition("/")[2]):
        raise PredictionsError(f"{path} is of the task {spec.task!r}", expected=task)
    samples = log.samples or []
    if not samples:
        raise PredictionsError(
            f"{path} has no samples (status: {log.status})",
            expected=SUPPORTED,
            fix="run the evaluation again with samples in the log",
        )
    fields = fields or DocumentFields()
    scorer = _find_scorer(path, log)
    epochs = max(sample.epoch for sample in samples)
    predictions, excluded = [], Counter[str]()
    for sample in samples:
        score = (sample.scores or {}).get(scorer)
        # NaN is Inspect's Score.unscored(), which its metrics leave out as well.
        if score is None or score.value != score.value:
            excluded["error in the harness" if sample.error else "not scored"] += 1
            continue
        predictions.append(_make_prediction(path, sample, scorer, epochs > 1, fields))
    if not predictions:
        raise PredictionsError(f"{path} has no scored sample", expected=SUPPORTED)
    accuracy = sum(p.outcome is Outcome.CORRECT for p in predictions) / len(predictions)
    notes = _notes(log, samples, excluded)
    notes += _check_accuracy(path, log, scorer, accuracy, len(predictions))
    prompts = sorted(_hash_prompt(sample) for sample in samples)
    name = spec.task.rpartition("/")[2]
    version = (spec.packages or {}).get("inspect_ai")
    origin = LogOrigin(
        harness="inspect_ai",
        version=str(version) if version else None,
        task=name,
        task_version=str(spec.task_version),
        metric=scorer,
        log=path.name,
        created=str(spec.created),
        notes=tuple(notes),
    )
    return make_imported_evaluation(
        predictions,
        origin=origin,
        source=f"{SOURCE_PREFIX}{name}",
        model=describe_model(str(spec.model)),
        method="generate",
        normalization=None,
        prompt_hash=content_hash(prompts),
        shots=None,
        excluded=excluded,
    )


def _read_log(path: Path) -> Any:
    try:
        from inspect_ai.log import read_eval_log
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "inspect_ai":
            raise
        raise PredictionsError(
            f"{path} is an Inspect log, and inspect_ai is not installed",
            fix="pip install inspect_ai",
        ) from error
    if not path.is_file():
        raise PredictionsError(f"{path} does not exist", expected=SUPPORTED)
    try:
        if path.suffix == ".json":
            version = json.loads(path.read_text(encoding="utf-8")).get("version", LOG_VERSION)
            _refuse_version(path, version)
        log = read_eval_log(
            str(path.resolve()), resolve_attachments=True, exclude_fields={"events", "store"}
        )
    except PredictionsError:
        raise
    except PermissionError as error:
        raise PredictionsError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:
        raise _damaged(path, error) from error
    _refuse_version(path, log.version)
    return log


def _damaged(path: Path, error: Exception) -> PredictionsError:
    first = str(error).partition("\n")[0]
    return PredictionsError(
        f"{path} is cut off, or no Inspect log: {type(error).__name__} {first}",
        expected=SUPPORTED,
        fix="copy the file again; a run that was killed: inspect log recover",
    )


def _refuse_version(path: Path, version: object) -> None:
    if not isinstance(version, int) or not 1 <= version <= LOG_VERSION:
        raise PredictionsError(
            f"{path} is of version {version} of Inspect's log format, which is not known here",
            expected=f"version 1 to {LOG_VERSION}",
        )


def _find_scorer(path: Path, log: Any) -> str:
    """Return the scorer whose verdicts are read: choice(), or the only one."""
    samples = log.samples
    if not any(sample.choices for sample in samples):
        raise PredictionsError(f"{path} is of a task without choices", expected=SUPPORTED)
    names = dict.fromkeys(name for sample in samples for name in (sample.scores or {}))
    if "choice" in names:
        return "choice"
    if not names:
        why = f": {str(log.error.message).partition('(')[0]}" if log.error else ""
        raise PredictionsError(
            f"{path} has no scored sample (status: {log.status}{why})",
            expected="a run that was scored",
            fix="run it again: inspect eval-retry LOG",
        )
    if len(names) != 1:
        raise PredictionsError(
            f"{path} was scored by {', '.join(names) or 'nothing'}", expected="the scorer choice()"
        )
    return str(next(iter(names)))


def _make_prediction(
    path: Path, sample: Any, scorer: str, several_epochs: bool, fields: DocumentFields
) -> Prediction:
    place = f"{path}: sample {sample.id}"
    options = tuple(str(choice).strip() for choice in sample.choices or ())
    if not 2 <= len(options) <= MAX_OPTIONS:
        raise PredictionsError(
            f"{place} has {len(options)} choices", expected=f"2 to {MAX_OPTIONS}"
        )
    targets = [sample.target] if isinstance(sample.target, str) else list(sample.target)
    right = [_letter_index(target, options) for target in targets]
    if len(right) != 1 or right[0] is None:
        raise PredictionsError(
            f"{place} has the target {sample.target!r}", expected="one letter of its choices"
        )
    score = sample.scores[scorer]
    if not isinstance(score.value, str | int | float) or score.value not in VALUES:
        raise PredictionsError(
            f"{place} was scored {score.value!r} by {scorer}", expected="C or I, or 1 or 0"
        )
    correct = VALUES[score.value]
    answer = right[0]
    chosen = answer if correct else _letter_index(score.answer or "", options)
    reason = f"read by Inspect's {scorer}" if chosen is not None else "Inspect read no option"
    if score.answer and chosen is None:
        reason = f"Inspect read {score.answer!r}"
    if chosen == answer and not correct:
        chosen, reason = None, f"Inspect read {score.answer!r}, which {scorer} does not accept"
    if sample.limit is not None:
        reason += f"; stopped by its {sample.limit.type} limit"
    stop = sample.output.stop_reason if sample.output and sample.output.choices else None
    outcome = Outcome.CORRECT if correct else Outcome.WRONG
    doc = sample.metadata or {}
    return Prediction(
        id=f"{sample.id}{EPOCH_MARK}{sample.epoch}" if several_epochs else str(sample.id),
        stem=_stem(sample),
        subject=fields.find_subject(doc),
        group=str(sample.id) if several_epochs else None,
        options=options,
        answer=answer,
        chosen=chosen,
        outcome=Outcome.UNPARSED if chosen is None else outcome,
        text=sample.output.completion if sample.output else None,
        stopped=stop == "stop" if stop not in (None, "unknown") else None,
        reason=reason,
    )


def _stem(sample: Any) -> str:
    if isinstance(sample.input, str):
        return sample.input
    return "\n".join(message.text for message in sample.input if message.role == "user")


def _hash_prompt(sample: Any) -> str:
    asked = [[m.role, m.text] for m in sample.messages if m.role in ("system", "user")]
    return sha256(json.dumps(asked or _stem(sample)).encode()).hexdigest()


def _letter_index(text: str, options: tuple[str, ...]) -> int | None:
    short = text.strip()
    if len(short) == 1 and short.upper() in LETTERS[: len(options)]:
        return LETTERS.index(short.upper())
    return options.index(short) if short in options else None


def _notes(log: Any, samples: list[Any], excluded: Counter[str]) -> list[str]:
    notes = []
    planned = log.results.total_samples if log.results else log.eval.dataset.samples
    if log.status != "success":
        notes.append(
            f"the run did not finish (status: {log.status}): {len(samples)} samples of "
            f"{planned if planned is not None else 'an unknown number'} are in the log."
        )
    if log.invalidated:
        notes.append("the log was marked as invalid in Inspect.")
    if errors := excluded.get("error in the harness"):
        notes.append(f"{errors} samples ended in an error and are left out.")
    if unscored := excluded.get("not scored"):
        notes.append(f"{unscored} samples were not scored and are left out.")
    stopped = Counter(sample.limit.type for sample in samples if sample.limit is not None)
    notes += [
        f"{count} answers were stopped by their {kind} limit." for kind, count in stopped.items()
    ]
    return notes


def _check_accuracy(path: Path, log: Any, scorer: str, accuracy: float, n: int) -> list[str]:
    """Compare the accuracy with the log's own.

    Raises:
        PredictionsError: They differ.
    """
    scores = [
        score for score in (log.results.scores if log.results else []) if score.name == scorer
    ]
    values = [score.metrics["accuracy"].value for score in scores if "accuracy" in score.metrics]
    if not values:
        return ["the log has no accuracy of its own to compare with."]
    if all(abs(value - accuracy) > 1e-12 for value in values):
        reducers = ", ".join(str(score.reducer) for score in scores if score.reducer)
        raise PredictionsError(
            f"{path}: the log says accuracy {values[0]!r}, its {n} samples {accuracy!r}",
            expected="the mean over samples and epochs"
            + (f"; its epochs are reduced by {reducers}" if reducers else ""),
        )
    return []
