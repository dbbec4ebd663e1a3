"""Passages of open-book training prompts: found once for every question, and kept in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow

from medtune.core.experiment import RetrievalConfig
from medtune.core.records import Question, SplitDescription, content_hash
from medtune.core.run_folder import write_atomic
from medtune.retrieval.evidence import EvidenceFinder, Passages

VERSION = 1
"""Version of the rules by which passages are left out; another one makes older files stale."""
_INPUTS = b"inputs"
_TEXTS = pyarrow.list_(pyarrow.large_string())
_SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.large_string()),
        ("options", _TEXTS),
        ("passages", pyarrow.list_(_TEXTS)),
    ]
)


@dataclass(frozen=True)
class TrainingPassages:
    """Passages of the training questions, none of which gives its question away."""

    settings: RetrievalConfig
    index_hash: str
    """Hash of the passage index."""
    inputs: str
    """Hash of what determines the passages; see `hash_training_passages`."""
    _table: pyarrow.Table
    _rows: dict[str, int]

    @classmethod
    def read(
        cls, path: Path, evidence: EvidenceFinder, data: SplitDescription
    ) -> TrainingPassages | None:
        """Read the passages of a train split; None if the file has none, or those of others.

        Args:
            path: File that `write_training_passages` wrote; it is mapped into memory.
            evidence: The finder of the passages.
            data: Description of the train split.
        """
        inputs = hash_training_passages(evidence, data)
        try:
            table = pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()
        except (OSError, pyarrow.ArrowInvalid):
            return None
        if (table.schema.metadata or {}).get(_INPUTS) != inputs.encode():
            return None
        rows = {name: row for row, name in enumerate(table.column("id").to_pylist())}
        return cls(evidence.settings, evidence.index.manifest.hash, inputs, table, rows)

    def find(self, question: Question) -> Passages:
        """Return the passages of every option, in the order in which the options are shown.

        Args:
            question: A question of the train split, its options in any order.

        Returns:
            `[option][rank]`; shared passages are the same for all options.
        """
        row = self._rows[question.id]
        options = self._table.column("options")[row].as_py()
        passages = self._table.column("passages")[row].as_py()
        by_option = {text: tuple(read) for text, read in zip(options, passages, strict=True)}
        return tuple(by_option[option] for option in question.options)


def hash_training_passages(evidence: EvidenceFinder, data: SplitDescription) -> str:
    """Hash what determines the passages of a train split; 64 hex digits."""
    settings, index = evidence.settings.prompt_settings, evidence.index.manifest.hash
    return content_hash([VERSION, settings, index, sorted(evidence.excluded), data.hash])


def write_training_passages(
    path: Path, inputs: str, found: Iterable[tuple[Question, Passages]]
) -> None:
    """Write the passages of every question of a train split, atomically.

    Args:
        path: The file.
        inputs: Hash of what determines the passages.
        found: The questions with the passages of their options, in the options' given order.

    Raises:
        FolderError: The file cannot be written.
    """
    rows = [
        {"id": question.id, "options": question.options, "passages": passages}
        for question, passages in found
    ]
    schema = _SCHEMA.with_metadata({_INPUTS: inputs.encode()})
    table = pyarrow.Table.from_pylist(rows, schema=schema)

    def write(handle: object) -> None:
        with pyarrow.ipc.new_file(handle, schema) as writer:
            writer.write_table(table)

    write_atomic(path, write)
