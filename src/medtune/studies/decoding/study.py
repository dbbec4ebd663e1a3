"""Run the decoding study (`medtune study decoding MODEL DATA`): cost and accuracy of decoding.

Greedy answers of several lengths, samples over temperature, top-p and top-k, beams, constrained
answers and likelihoods; sampled settings are repeated.  Every evaluation is a cell.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.progress import Progress
from medtune.data.load import load_split
from medtune.evaluation.exam import Exam
from medtune.models.weights_card import resolve_prompt_defaults
from medtune.studies.decoding.analysis import build_decoding_record
from medtune.studies.decoding.schema import SETTINGS, DecodingRecord, Setting
from medtune.studies.grid import StudyCell
from medtune.studies.grid_schema import GridState
from medtune.studies.runner import ModelStudy


class DecodingStudy(ModelStudy[DecodingRecord]):
    """The decoding study of one model on one split; `repeats` evaluations of a sampled setting."""

    name = "decoding"
    page = "decoding.html"

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        model: str,
        data: str,
        adapter: Path | None = None,
        limit: int | None = None,
        columns: ColumnMapping | None = None,
        repeats: int = 5,
        dtype: str = "auto",
    ) -> None:
        self._start = time.perf_counter()
        super().__init__(folder, progress, model, adapter, dtype)
        self._split = load_split(data, columns, limit, progress)
        self._asked = resolve_prompt_defaults(model, adapter)
        self.questions, self.style = self._split.questions, self._asked.style
        settings = SETTINGS
        if model.startswith("remote:"):
            settings = _drop_unsupported_settings(settings, progress)
        self._cell_names = {
            setting: [f"{setting.name}-{repeat}" for repeat in range(repeats)]
            if setting.is_sampled
            else [setting.name]
            for setting in settings
        }

    def list_cells(self) -> list[StudyCell]:
        """List the evaluations."""
        return [
            self.evaluation_cell(name, self._exam(setting, repeat), self._asked.label)
            for setting, names in self._cell_names.items()
            for repeat, name in enumerate(names)
        ]

    def build_record(self, state: GridState) -> DecodingRecord:
        """Compare the settings; the duration is that of a call that ran all evaluations."""
        whole = time.perf_counter() - self._start if state.fresh == state.cells else None
        found = {
            setting: [self.read_cell(name) for name in names]
            for setting, names in self._cell_names.items()
        }
        return build_decoding_record(found, state.cell_s, whole)

    def _exam(self, setting: Setting, repeat: int) -> Exam:
        exam = Exam.from_config(
            EvaluationConfig(options_only=0, constrained=setting.constrained),
            setting.method,
            self._split.questions,
            self._split.description,
            self._asked.style,
            self._asked.target,
            (),
        )
        return replace(exam, decoding=setting.to_decoding(seed=repeat))


def _drop_unsupported_settings(
    settings: Sequence[Setting], progress: Progress
) -> tuple[Setting, ...]:
    """Drop the settings that the API of servers does not support."""
    kept = tuple(s for s in settings if s.beams == 1 and not s.top_k and not s.constrained)
    progress.log_message(
        f"{len(settings) - len(kept)} settings are left out: servers know no beams, no top-k and "
        "no constrained answers"
    )
    return kept
