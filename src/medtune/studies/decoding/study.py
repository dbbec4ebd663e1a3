"""Run the decoding study (`medtune study decoding MODEL DATA`): cost and accuracy of decoding.

Greedy answers of several lengths, samples over temperature, top-p and top-k, beams, constrained
answers and likelihoods; sampled settings are repeated.  Every evaluation is a cell with its own
folder.  Writes `record.json` and `decoding.html`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.predictions_io import RECORD_FILE, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import FormName, PromptStyle
from medtune.core.protocols import AnswerModel
from medtune.core.run_folder import write_record
from medtune.data.load import Split, load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.open_model import open_model
from medtune.models.weights_card import PromptDefaults, resolve_prompt_defaults
from medtune.studies.decoding.analysis import build_decoding_record
from medtune.studies.decoding.page import write_decoding
from medtune.studies.decoding.schema import SETTINGS, DecodingRecord, Setting
from medtune.studies.grid import StudyCell, run_cells
from medtune.studies.grid_schema import GridState, WorkerCounts

PAGE = "decoding.html"


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """Options of `medtune study decoding`."""

    model: str
    data: str
    adapter: Path | None = None
    limit: int | None = None
    columns: ColumnMapping = field(default_factory=ColumnMapping)
    style: PromptStyle | None = None
    """None uses the style of the adapter, or the default."""
    repeats: int = 5
    """Number of evaluations of each sampled setting."""
    settings: tuple[Setting, ...] = SETTINGS
    dtype: str = "auto"
    label: str | None = None
    form: FormName | None = None
    """Form of free answers; None uses the form the adapter was trained on, else letters."""


def run_decoding(
    options: DecodingOptions, folder: Path, hands: WorkerCounts, progress: Progress
) -> DecodingRecord | GridState:
    """Run the decoding study of one model on one split.

    Returns:
        The study record; or the progress, while other shards have cells left.

    Raises:
        MedtuneError: The model, the data or the folder cannot be used.
    """
    start = time.perf_counter()
    options = _drop_unsupported_settings(options, progress)
    work = _Work(options, progress)
    cells = work.list_cells()
    worker = partial(_run_worker, options, folder, replace(hands, workers=1))
    state = run_cells("decoding", cells, folder, hands, progress, worker)
    if state.left:
        return state
    whole = time.perf_counter() - start if state.fresh == state.cells else None
    found = {
        setting: [
            read_evaluation(folder / "cells" / name)
            for name in (_cell_name(setting, r) for r in range(_repeat_count(setting, options)))
        ]
        for setting in options.settings
    }
    record = build_decoding_record(found, state.cell_s, whole)
    write_decoding(folder / PAGE, record)
    write_record(folder / RECORD_FILE, record)
    return record


def _drop_unsupported_settings(options: DecodingOptions, progress: Progress) -> DecodingOptions:
    """Drop the settings that the API of servers does not support."""
    if not options.model.startswith("remote:"):
        return options
    kept = tuple(s for s in options.settings if s.beams == 1 and not s.top_k and not s.constrained)
    progress.log_message(
        f"{len(options.settings) - len(kept)} settings are left out: servers know no beams, no "
        "top-k and no constrained answers"
    )
    return replace(options, settings=kept)


def _run_worker(options: DecodingOptions, folder: Path, hands: WorkerCounts) -> None:
    work = _Work(options, NoProgress())
    run_cells("decoding", work.list_cells(), folder, hands, NoProgress())


class _Work:
    """The study's questions and model, loaded when the first cell needs them."""

    def __init__(self, options: DecodingOptions, progress: Progress) -> None:
        self._options = options
        self._progress = progress

    def list_cells(self) -> list[StudyCell]:
        """List the evaluations."""
        cells = []
        for setting in self._options.settings:
            for repeat in range(_repeat_count(setting, self._options)):
                exam = self._exam(setting, repeat)
                inputs = exam.hash_inputs(self._model, STRICT_PARSER.version)
                cells.append(
                    StudyCell(_cell_name(setting, repeat), inputs, partial(self._evaluate, exam))
                )
        return cells

    def _evaluate(self, exam: Exam, place: Path) -> None:
        evaluate_or_reuse(
            self._model, exam, self._prompt_defaults.label, STRICT_PARSER, place, self._progress
        )

    def _exam(self, setting: Setting, repeat: int) -> Exam:
        config = EvaluationConfig(options_only=0, constrained=setting.constrained)
        split, asked = self._split, self._prompt_defaults
        exam = Exam.from_config(
            config,
            setting.method,
            split.questions,
            split.description,
            asked.style,
            asked.target,
            (),
        )
        return replace(exam, decoding=setting.to_decoding(seed=repeat))

    @cached_property
    def _split(self) -> Split:
        o = self._options
        return load_split(o.data, o.columns, o.limit, self._progress)

    @cached_property
    def _prompt_defaults(self) -> PromptDefaults:
        o = self._options
        return resolve_prompt_defaults(o.model, o.adapter, o.style, o.form, o.label)

    @cached_property
    def _model(self) -> AnswerModel:
        o = self._options
        return open_model(
            o.model,
            questions=self._split.questions,
            adapter=o.adapter,
            style=self._prompt_defaults.style,
            dtype=o.dtype,
            progress=self._progress,
        )


def _repeat_count(setting: Setting, options: DecodingOptions) -> int:
    return options.repeats if setting.is_sampled else 1


def _cell_name(setting: Setting, repeat: int) -> str:
    return f"{setting.name}-{repeat}" if setting.is_sampled else setting.name
