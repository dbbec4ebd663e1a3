"""Compare candidate models with an original on the same questions (the parity gate)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from medtune.analysis.packed_parity import measure_parity
from medtune.core.errors import ModelError
from medtune.core.predictions_io import RECORD_FILE, Evaluation
from medtune.core.progress import Progress
from medtune.core.prompt import method_for_form
from medtune.core.provenance import collect_provenance
from medtune.core.records import Method
from medtune.core.run_folder import slugify, write_record
from medtune.core.schemas.compression import Budget, Parity, ParityRecord
from medtune.data.load import Split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.open_model import open_model
from medtune.models.sources import measure_weights_size
from medtune.models.weights_card import PromptDefaults, resolve_prompt_defaults
from medtune.reports.parity import write_parity

PAGE = "parity.html"
ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class ParityGate:
    """A parity gate whose original model has been evaluated."""

    exam: Exam
    asked: PromptDefaults
    """Prompt settings of the original, used for every candidate as well."""
    reference: Evaluation
    reference_bytes: int | None
    folder: Path
    progress: Progress

    @classmethod
    def evaluate_original(
        cls,
        name: str,
        split: Split,
        method: Method | None,
        folder: Path,
        progress: Progress,
        *,
        dtype: str = "auto",
    ) -> Self:
        """Evaluate the original model.

        Args:
            name: Name of the original.
            split: The questions.
            method: letter or cloze; None is letter for a model trained on letters, else cloze.
            folder: Receives the evaluations, the record and the page.
            progress: Progress reports.
            dtype: Precision of the original. What was quantized is held against float32, or the
                original's own rounding would count against it where `auto` is bfloat16.

        Raises:
            ModelError: The model cannot be used, or the method is generate.
        """
        if method == "generate":
            raise ModelError(
                "free answers have no log-probabilities to compare",
                expected="--method letter or cloze",
            )
        asked = resolve_prompt_defaults(name)
        method = method or method_for_form(asked.target)
        exam = Exam.for_likelihood(split.questions, split.description, asked.style, method)
        model = open_model(
            name, style=asked.style, questions=split.questions, dtype=dtype, progress=progress
        )
        place = folder / "exams" / ORIGINAL
        sat = evaluate_or_reuse(model, exam, ORIGINAL, STRICT_PARSER, place, progress)
        return cls(exam, asked, sat, measure_weights_size(name), folder, progress)

    def evaluate_candidate(
        self, label: str, name: str, budget: Budget, dtype: str = "auto"
    ) -> Parity:
        """Evaluate a candidate on the same questions and compare it with the original.

        Args:
            label: Label in tables.
            name: Name of the candidate.
            budget: Largest accepted differences from the original.
            dtype: Precision of the candidate.

        Raises:
            ModelError: The model cannot be used.
        """
        model = open_model(name, questions=self.exam.questions, dtype=dtype, progress=self.progress)
        place = self.folder / "exams" / slugify(label)
        sat = evaluate_or_reuse(model, self.exam, label, STRICT_PARSER, place, self.progress)
        return measure_parity(label, self.reference, sat, budget, measure_weights_size(name))

    def write_results(self, rows: Sequence[Parity]) -> ParityRecord:
        """Write the record and the page."""
        record = ParityRecord(
            reference=self.reference[0],
            reference_bytes=self.reference_bytes,
            rows=tuple(rows),
            provenance=collect_provenance(),
        )
        write_parity(self.folder / PAGE, record)
        write_record(self.folder / RECORD_FILE, record)
        return record
