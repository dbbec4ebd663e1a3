"""The default answer model: a search in the starter questions, calibrated and torch-free."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from medtune.core.choice import choose_option
from medtune.core.errors import FolderError, RetrievalError
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Question, content_hash
from medtune.core.run_folder import read_record, write_record
from medtune.core.schemas.guardrails import ServingCalibration
from medtune.data.load import load_split
from medtune.evaluation.score import score_options
from medtune.guardrails.policy import Policy
from medtune.models.builtin import cache_folder
from medtune.models.search_model import SearchModel
from medtune.retrieval.index import FolderIndex
from medtune.workflows.build_index import build_train_index

STARTER_SEARCH = "search:starter"
"""Name of the model."""
SOURCE = "starter:train"
LICENCE = "Apache-2.0"
CALIBRATION_FILE = "calibration.json"
CALIBRATION_SOURCE = f"{SOURCE}, each without its own passage"


def open_starter_search(
    policy: Policy, progress: Progress
) -> tuple[SearchModel, ServingCalibration]:
    """Open the search in the starter questions, with its calibration.

    The index lies in the cache; it is built in a second when it is missing, older or changed. The
    calibration is leave-one-out: every question is asked without its own passage, so that the
    confidence is that of a question which the index does not hold.

    Raises:
        FolderError: The index has to be built, and the cache cannot be written.
    """
    split = load_split(SOURCE, for_training=True)
    questions = list(split.questions)
    folder = cache_folder() / "starter-index"
    index = _open_index(questions, folder, progress)
    model = SearchModel(STARTER_SEARCH, index, None)
    rule, identity = policy.confidence, content_hash([model.describe().fingerprint, SOURCE])
    kept = read_record(folder / CALIBRATION_FILE, ServingCalibration)
    if kept is None or (kept.hash, kept.risk, kept.level) != (identity, rule.risk, rule.level):
        kept = _calibrate(model, questions, identity, rule.risk, rule.level)
        with suppress(FolderError):  # a cache that is read-only: fitted again at the next start
            write_record(folder / CALIBRATION_FILE, kept)
    return model, kept


def _open_index(questions: Sequence[Question], folder: Path, progress: Progress) -> FolderIndex:
    try:
        return build_train_index(questions, SOURCE, LICENCE, folder, progress)
    except RetrievalError:  # a changed file: all of it comes with the package
        shutil.rmtree(folder)
        return build_train_index(questions, SOURCE, LICENCE, folder, progress)


def _calibrate(
    model: SearchModel, questions: Sequence[Question], identity: str, risk: float, level: float
) -> ServingCalibration:
    from medtune.analysis.calibration import ScoredOptions  # scipy: half a second
    from medtune.analysis.serving_thresholds import fit_thresholds

    rows = {model.index.passage(row).id: row for row in range(model.index.manifest.passages)}
    table = np.zeros((len(questions), max(len(q.options) for q in questions)))
    chosen = []
    for at, question in enumerate(questions):
        others = model.without([rows[question.id]])
        ((probabilities, _),) = score_options(others, PromptStyle(), "letter", [question])
        table[at, : len(probabilities)] = probabilities
        chosen.append(choose_option(probabilities, question.stem, question.options))
    scored = ScoredOptions(
        table,
        np.array([question.answer for question in questions]),
        np.array([len(question.options) for question in questions]),
        np.array(chosen),
    )
    return fit_thresholds(
        scored,
        risk,
        level,
        subjects=sorted({q.subject for q in questions if q.subject}),
        source=CALIBRATION_SOURCE,
        identity=identity,
    )
