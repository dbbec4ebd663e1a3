"""Read an evaluation from the log of another harness, or from a folder that medtune wrote."""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import PredictionsError
from medtune.core.experiment import ColumnMapping
from medtune.core.predictions_io import LOG_READERS, RECORD_FILE, Evaluation
from medtune.core.records import content_hash
from medtune.core.run_folder import as_path, slugify
from medtune.foreign_logs.document import DocumentFields
from medtune.foreign_logs.lm_eval_files import is_lm_eval_folder
from medtune.foreign_logs.read_inspect import is_inspect_log, read_inspect_log
from medtune.foreign_logs.read_lm_eval import list_lm_eval_evaluations, read_lm_eval_log

LOGS = "a results folder or samples file of lm_eval --log_samples, or an Inspect log (.eval, .json)"
SUFFIXES = (".jsonl", ".json", ".gz")


def list_evaluations(path: Path) -> list[str | None]:
    """Return the names of the evaluations in a log; None is the only one of an Inspect log.

    Raises:
        PredictionsError: It is no log.
    """
    return [None] if _is_inspect(path) else [*list_lm_eval_evaluations(path)]


def read_evaluation_log(
    path: Path | str,
    task: str | None = None,
    *,
    columns: ColumnMapping | None = None,
    metric: str | None = None,
    filter_name: str | None = None,
) -> Evaluation:
    """Read an evaluation from a log of lm-evaluation-harness or Inspect.

    Args:
        path: A results folder, a samples file or a log file.
        task: Name of the task or group; None where the log has one.
        columns: Columns of the dataset's rows; those with usual names are found.
        metric: lm-evaluation-harness: the metric that says which answers are right, such as
            acc_norm; None is the task's first.
        filter_name: lm-evaluation-harness: the filter that read generated answers.

    Raises:
        PredictionsError: It is no log, damaged, of another type of task or of another version, or
            has several tasks.
    """
    path = as_path(path)
    fields = DocumentFields.from_mapping(columns) if columns is not None else None
    if _is_inspect(path):
        return read_inspect_log(path, task, fields)
    return read_lm_eval_log(path, task, fields, metric, filter_name)


def read_evaluation_or_log(path: Evaluation | Path | str) -> Evaluation:
    """Read an evaluation folder of medtune, or else a log; an evaluation is returned as it is.

    Raises:
        PredictionsError: It is neither, or is damaged.
    """
    return path if isinstance(path, Evaluation) else Evaluation.load(path)


def is_log(path: Path) -> bool:
    """Return whether a path may be a log of another harness."""
    if path.is_dir():
        return not (path / RECORD_FILE).exists() and is_lm_eval_folder(path)
    return path.is_file() and (is_inspect_log(path) or path.name.endswith(SUFFIXES))


LOG_READERS.append((is_log, read_evaluation_log))


def log_folder_name(log: Path) -> str:
    """Return a name for the folder of a log's evaluation, which no other log's has."""
    place = log.resolve()
    return slugify(*place.parts[-2:], content_hash(str(place))[:8])[-160:]


def _is_inspect(path: Path) -> bool:
    if not path.exists():
        raise PredictionsError(f"{path} does not exist", expected=LOGS)
    if path.is_dir():
        return False
    if is_inspect_log(path):
        return True
    if not path.name.endswith(SUFFIXES):
        raise PredictionsError(f"{path} is no log", expected=LOGS)
    return False
