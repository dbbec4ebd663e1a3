"""`medtune study decoding MODEL DATA`: what a way to answer costs, and what it gives.

Greedy answers of several lengths, samples over temperature, top-p and top-k, beams, constrained
answers and likelihoods; what samples is asked several times.  Every examination is a cell with a
folder of its own.  Writes `record.json` and `decoding.html`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

from medtune.core.experiment import ColumnMapping, EvaluationConfig
from medtune.core.predictions_io import RECORD, read_evaluation
from medtune.core.progress import NoProgress, Progress
from medtune.core.prompt import Form, PromptStyle
from medtune.core.protocols import AnswerModel
from medtune.core.run_folder import write_record
from medtune.data.load import Split, load_split
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT
from medtune.evaluation.run_exam import examined
from medtune.models.open_model import open_model
from medtune.models.weights_card import PromptDefaults, manner
from medtune.studies.decoding.analysis import judge
from medtune.studies.decoding.page import write_decoding
from medtune.studies.decoding.schema import SETTINGS, DecodingRecord, Setting
from medtune.studies.grid import StudyCell, go_through
from medtune.studies.grid_schema import GridState, WorkerCounts

PAGE = "decoding.html"


@dataclass(frozen=True, slots=True)
class DecodingOptions:
    """What the command line may say."""

    model: str
    data: str
    adapter: Path | None = None
    limit: int | None = None
    columns: ColumnMapping = field(default_factory=ColumnMapping)
    style: PromptStyle | None = None
    """None takes the adapter's own, or the default."""
    repeats: int = 5
    """Examinations of what samples."""
    settings: tuple[Setting, ...] = SETTINGS
    dtype: str = "auto"
    label: str | None = None
    form: Form | None = None
    """How free answers are asked for; None takes what the adapter was trained on, else letters."""


def decoding(
    options: DecodingOptions, folder: Path, hands: WorkerCounts, progress: Progress
) -> DecodingRecord | GridState:
    """Study one model on one split.

    Returns:
        The study; or how far it is, while other shards have work to do.

    Raises:
        MedtuneError: The model, the data or the folder cannot be used.
    """
    start = time.perf_counter()
    options = _offered(options, progress)
    work = _Work(options, progress)
    cells = work.cells()
    worker = partial(_worker, options, folder, replace(hands, workers=1))
    state = go_through("decoding", cells, folder, hands, progress, worker)
    if state.left:
        return state
    whole = time.perf_counter() - start if state.fresh == state.cells else None
    found = {
        setting: [
            read_evaluation(folder / "cells" / name)
            for name in (_name(setting, r) for r in range(_repeats(setting, options)))
        ]
        for setting in options.settings
    }
    record = judge(found, state.cell_s, whole)
    write_decoding(folder / PAGE, record)
    write_record(folder / RECORD, record)
    return record


def _offered(options: DecodingOptions, progress: Progress) -> DecodingOptions:
    """Leave out what the API of servers does not know."""
    if not options.model.startswith("remote:"):
        return options
    kept = tuple(s for s in options.settings if s.beams == 1 and not s.top_k and not s.constrained)
    progress.say(
        f"{len(options.settings) - len(kept)} settings are left out: servers know no beams, no "
        "top-k and no constrained answers"
    )
    return replace(options, settings=kept)


def _worker(options: DecodingOptions, folder: Path, hands: WorkerCounts) -> None:
    work = _Work(options, NoProgress())
    go_through("decoding", work.cells(), folder, hands, NoProgress())


class _Work:
    """The study's questions and model, opened when the first cell needs them."""

    def __init__(self, options: DecodingOptions, progress: Progress) -> None:
        self._options = options
        self._progress = progress

    def cells(self) -> list[StudyCell]:
        """List the examinations."""
        cells = []
        for setting in self._options.settings:
            for repeat in range(_repeats(setting, self._options)):
                exam = self._exam(setting, repeat)
                inputs = exam.inputs(self._model, STRICT.version)
                cells.append(StudyCell(_name(setting, repeat), inputs, partial(self._sit, exam)))
        return cells

    def _sit(self, exam: Exam, place: Path) -> None:
        examined(self._model, exam, self._asked.label, STRICT, place, self._progress)

    def _exam(self, setting: Setting, repeat: int) -> Exam:
        config = EvaluationConfig(options_only=0, constrained=setting.constrained)
        split, asked = self._split, self._asked
        exam = Exam.planned(
            config,
            setting.method,
            split.questions,
            split.description,
            asked.style,
            asked.target,
            (),
        )
        return replace(exam, decoding=setting.decoding(seed=repeat))

    @cached_property
    def _split(self) -> Split:
        o = self._options
        return load_split(o.data, o.columns, o.limit, self._progress)

    @cached_property
    def _asked(self) -> PromptDefaults:
        o = self._options
        return manner(o.model, o.adapter, o.style, o.form, o.label)

    @cached_property
    def _model(self) -> AnswerModel:
        o = self._options
        return open_model(
            o.model,
            questions=self._split.questions,
            adapter=o.adapter,
            style=self._asked.style,
            dtype=o.dtype,
            progress=self._progress,
        )


def _repeats(setting: Setting, options: DecodingOptions) -> int:
    return options.repeats if setting.sampled else 1


def _name(setting: Setting, repeat: int) -> str:
    return f"{setting.name}-{repeat}" if setting.sampled else setting.name
