"""Compare other models with an original (`medtune parity MODEL OTHER...`) by the parity gate.

All models answer the same questions, whatever runs them: a model quantized elsewhere, the same
weights on a server, the original of the embedded file.  Writes `record.json` and `parity.html`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medtune.core.experiment import ColumnMapping
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
) -> ParityRecord:
    """Compare models with the first.

    Without a method it is letter for a model trained on letters, else cloze.

    Raises:
        MedtuneError: The data, a model or the folder cannot be used.
    """
    split = load_split(data, columns, limit, progress)
    with lock_folder(folder):
        gate = ParityGate.evaluate_original(model, split, method, folder, progress)
        return gate.write_results([gate.evaluate_candidate(name, name, budget) for name in others])
