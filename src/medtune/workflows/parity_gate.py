"""The parity gate: an original, and what is to stand in for it, answer the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from medtune.analysis.packed_parity import Sat, parity
from medtune.core.errors import ModelError
from medtune.core.predictions_io import RECORD
from medtune.core.progress import Progress
from medtune.core.prompt import likelihood_of
from medtune.core.provenance import provenance
from medtune.core.records import Method
from medtune.core.run_folder import slug, write_record
from medtune.core.schemas.compression import Budget, Parity, ParityRecord
from medtune.data.load import Split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.models.open_model import open_model
from medtune.models.sources import weights_on_disk
from medtune.models.weights_card import PromptDefaults, manner
from medtune.reports.parity import write_parity

PAGE = "parity.html"
ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class ParityGate:
    """An examination that the original has sat."""

    exam: Exam
    asked: PromptDefaults
    """How the original is asked; everything that stands in for it is asked so too."""
    reference: Sat
    reference_bytes: int | None
    folder: Path
    progress: Progress

    @classmethod
    def opened(
        cls, name: str, split: Split, method: Method | None, folder: Path, progress: Progress
    ) -> Self:
        """Examine the original.

        Args:
            name: Of the model.
            split: The questions.
            method: letter or cloze; None is letter for a model that was taught letters, else cloze.
            folder: Where examinations, record and page go.
            progress: Where to report.

        Raises:
            ModelError: The model cannot be used, or free answers are asked for.
        """
        if method == "generate":
            raise ModelError(
                "free answers have no log-probabilities to compare",
                expected="--method letter or cloze",
            )
        asked = manner(name)
        method = method or likelihood_of(asked.target)
        exam = Exam.plain(split.questions, split.description, asked.style, method)
        model = open_model(name, style=asked.style, questions=split.questions, progress=progress)
        place = folder / "exams" / ORIGINAL
        sat = examined(model, exam, ORIGINAL, STRICT, place, progress)
        return cls(exam, asked, sat, weights_on_disk(name), folder, progress)

    def hold(self, label: str, name: str, budget: Budget) -> Parity:
        """Let another model sit the same examination.

        Args:
            label: For tables.
            name: Of the model.
            budget: How far it may be from the original.

        Raises:
            ModelError: The model cannot be used.
        """
        model = open_model(name, questions=self.exam.questions, progress=self.progress)
        place = self.folder / "exams" / slug(label)
        sat = examined(model, self.exam, label, STRICT, place, self.progress)
        return parity(label, self.reference, sat, budget, weights_on_disk(name))

    def closed(self, rows: Sequence[Parity]) -> ParityRecord:
        """Write the record and the page."""
        record = ParityRecord(
            reference=self.reference[0],
            reference_bytes=self.reference_bytes,
            rows=tuple(rows),
            provenance=provenance(),
        )
        write_parity(self.folder / PAGE, record)
        write_record(self.folder / RECORD, record)
        return record
