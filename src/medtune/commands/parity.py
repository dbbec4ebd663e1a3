"""`medtune parity MODEL OTHER...`: does another model stand in for the first?

The same questions to both, whatever runs them: a model quantized elsewhere, the same weights behind
a server, the Hub's original beside the embedded file.  Writes `record.json` and `parity.html`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medtune.core.experiment import ColumnMapping
from medtune.core.progress import Progress
from medtune.core.records import Method
from medtune.core.run_folder import locked
from medtune.core.schemas.compression import Budget, ParityRecord
from medtune.data.load import load_split
from medtune.workflows.parity_gate import ParityGate


@dataclass(frozen=True, slots=True)
class ParityOptions:
    """What the command line may say."""

    model: str
    """The original."""
    others: tuple[str, ...]
    data: str
    budget: Budget
    method: Method | None = None
    """None is letter for a model that was taught letters, else cloze."""
    limit: int | None = None
    columns: ColumnMapping = field(default_factory=ColumnMapping)


def parity(options: ParityOptions, folder: Path, progress: Progress) -> ParityRecord:
    """Hold models against the first.

    Raises:
        MedtuneError: The data, a model or the folder cannot be used.
    """
    split = load_split(options.data, options.columns, options.limit, progress)
    with locked(folder):
        gate = ParityGate.opened(options.model, split, options.method, folder, progress)
        return gate.closed([gate.hold(name, name, options.budget) for name in options.others])
