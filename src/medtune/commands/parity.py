"""Compare other models with an original (`medtune parity MODEL OTHER...`) by the parity gate.

All models answer the same questions, whatever runs them: a model quantized elsewhere, the same
weights on a server, the original of the embedded file.  Writes `record.json` and `parity.html`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medtune.core.experiment import ColumnMapping
from medtune.core.progress import Progress
from medtune.core.records import Method
from medtune.core.run_folder import lock_folder
from medtune.core.schemas.compression import Budget, ParityRecord
from medtune.data.load import load_split
from medtune.workflows.parity_gate import ParityGate


@dataclass(frozen=True, slots=True)
class ParityOptions:
    """Options of `medtune parity`."""

    model: str
    """The original."""
    others: tuple[str, ...]
    data: str
    budget: Budget
    method: Method | None = None
    """None is letter for a model trained on letters, else cloze."""
    limit: int | None = None
    columns: ColumnMapping = field(default_factory=ColumnMapping)


def parity(options: ParityOptions, folder: Path, progress: Progress) -> ParityRecord:
    """Compare models with the first.

    Raises:
        MedtuneError: The data, a model or the folder cannot be used.
    """
    split = load_split(options.data, options.columns, options.limit, progress)
    with lock_folder(folder):
        gate = ParityGate.evaluate_original(options.model, split, options.method, folder, progress)
        return gate.write_results(
            [gate.evaluate_candidate(name, name, options.budget) for name in options.others]
        )
