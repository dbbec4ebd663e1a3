"""Compare other models with an original (`medtune parity MODEL OTHER...`) by the parity gate.

All models answer the same questions, whatever runs them: a model quantized elsewhere, the same
weights on a server, the original of the embedded file.  Writes `record.json` and `parity.html`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.experiment import ColumnMapping, DtypeName
from medtune.core.model_names import label_with_dtype
from medtune.core.progress import Progress
from medtune.core.records import Method
from medtune.core.run_folder import lock_folder
from medtune.core.schemas.compression import Budget, ParityRecord
from medtune.data.load import load_split
from medtune.workflows.parity_gate import ParityGate


def parity(
    model: str,
    others: Sequence[str],
    data: str,
    folder: Path,
    progress: Progress,
    *,
    budget: Budget,
    method: Method | None = None,
    limit: int | None = None,
    columns: ColumnMapping | None = None,
    dtype: DtypeName = "auto",
) -> ParityRecord:
    """Compare models with the first.

    Without a method it is letter for a model trained on letters, else cloze.  `dtype` is the
    precision of the others; the first is opened as `auto` does.

    Raises:
        MedtuneError: The data, a model or the folder cannot be used.
    """
    split = load_split(data, columns, limit, progress)
    with lock_folder(folder):
        gate = ParityGate.evaluate_original(model, split, method, folder, progress)
        rows = [
            gate.evaluate_candidate(label_with_dtype(name, dtype), name, budget, dtype)
            for name in others
        ]
        return gate.write_results(rows)
