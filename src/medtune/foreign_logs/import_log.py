"""Import the log of another harness as evaluations (`medtune import LOG`).

Writes one evaluation folder for every task, or for a group of tasks: `predictions.jsonl` and
`record.json`, as `medtune evaluate` writes them.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.experiment import ColumnMapping
from medtune.core.predictions_io import refuse_overwrite, write_evaluation
from medtune.core.progress import Progress
from medtune.core.provenance import collect_provenance
from medtune.core.run_folder import lock_folder, slugify
from medtune.foreign_logs.read_log import list_evaluations, read_evaluation_log
from medtune.foreign_logs.schema import ImportRecord


def import_log(
    log: Path,
    out: Path | None,
    progress: Progress,
    *,
    task: str | None = None,
    columns: ColumnMapping | None = None,
    metric: str | None = None,
    filter_name: str | None = None,
) -> ImportRecord:
    """Import all evaluations of a log, or that of one task or group.

    Without `out`, an evaluation is written to a folder under runs/eval that is named after the
    log; several evaluations are written to one folder each.

    Raises:
        PredictionsError: The log cannot be read; nothing is written.
        FolderError: A folder contains another evaluation, or cannot be written.
    """
    names = [task] if task is not None else list_evaluations(log)
    found = [
        read_evaluation_log(log, name, columns=columns, metric=metric, filter_name=filter_name)
        for name in names
    ]
    root = out or Path("runs") / "eval" / slugify("imported", *log.resolve().parts[-2:])[-160:]
    folders = []
    for name, (record, predictions) in zip(names, found, strict=True):
        folder = root / slugify(name or record.data.source) if len(found) > 1 else root
        with lock_folder(folder):
            refuse_overwrite(folder, record.inputs)
            write_evaluation(folder, record, predictions)
        progress.log_message(f"{record.data.source}: {record.counts.n:,} questions in {folder}")
        folders.append(str(folder))
    return ImportRecord(
        log=str(log),
        evaluations=tuple(record for record, _ in found),
        folders=tuple(folders),
        provenance=collect_provenance(),
    )
