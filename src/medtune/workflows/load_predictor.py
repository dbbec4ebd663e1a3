"""Load a predictor by model name: model, prompt, calibration, policy and guards."""

from __future__ import annotations

from pathlib import Path

from medtune.core.errors import RetrievalError
from medtune.core.progress import Progress
from medtune.core.prompt import method_for_form
from medtune.core.protocols import AnswerModel
from medtune.core.records import Method
from medtune.core.schemas.guardrails import ServingCalibration
from medtune.guardrails.pipeline import Guards
from medtune.guardrails.policy import Policy
from medtune.models.model_argument import find_run, resolve_model_argument
from medtune.models.open_index import open_index
from medtune.models.open_model import open_model
from medtune.models.search_model import SearchModel
from medtune.models.weights_card import (
    PromptDefaults,
    find_card_folder,
    refuse_unfit,
    resolve_prompt_defaults,
)
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import MANIFEST_FILE, PassageIndex
from medtune.serving.inference.predictor import Predictor
from medtune.workflows.search_reference import INDEX_FOLDER
from medtune.workflows.starter_search import STARTER_SEARCH, open_starter_search


def find_calibration(
    model: str, calibration: Path | None, method: Method | None
) -> tuple[str, Path | None]:
    """Return the model name and the calibration evaluation, if there is one.

    Args:
        model: Name of a model, or a run folder, which contains both.
        calibration: Evaluation folder; None uses that of the run, if any.
        method: letter or cloze; None takes either.
    """
    name, run = resolve_model_argument(model), find_run(model)
    if run is None:
        return name, calibration
    found = sorted((run / "eval").glob("tuned-calibration-*"))
    wanted = [f for f in found if method is None or f.name.endswith(method)]
    return name, calibration or (wanted[0] if wanted else None)


def load_predictor(
    name: str,
    evaluation: Path | None,
    method: Method | None,
    guards: Guards,
    progress: Progress,
    *,
    unfit: bool = False,
    index: PassageIndex | None = None,
) -> Predictor:
    """Load a model with its prompt, guards, calibration and passages.

    Args:
        name: Name of the model; search:starter is the search in the starter questions.
        evaluation: Evaluation of its calibration questions; None leaves it uncalibrated.
        method: None is letter for a model trained on letters, else cloze.
        guards: The guards.
        progress: Progress reports.
        unfit: Load a quantized model even if it did not pass the parity gate.
        index: Passages to show with answers, and in the prompts of a model that was trained open
            book; None takes those of a search model or of the model's run.

    Raises:
        CheckFailed: The model is marked unfit.
        MedtuneError: Model or calibration cannot be used.
    """
    refuse_unfit(name, anyway=unfit)
    asked = resolve_prompt_defaults(name)
    method = method or method_for_form(asked.target)
    model: AnswerModel
    calibration = None
    if name == STARTER_SEARCH:
        model, calibration = open_starter_search(guards.policy, progress)
    else:
        model = open_model(
            name, style=asked.style, progress=progress, light=True, retrieval=asked.retrieval
        )
    index = index or own_index(model)
    open_book = None
    if asked.retrieval.is_open_book:
        index = index or _open_run_index(name, asked)
        open_book = EvidenceFinder(index, asked.retrieval)
    if evaluation is not None:
        calibration = _load_calibration(evaluation, model, method, guards.policy)
    elif calibration is None:
        progress.log_message("not calibrated: the accuracy at a given confidence is unknown")
    return Predictor(
        model=model,
        style=asked.style,
        method=method,
        guards=guards,
        calibration=calibration,
        release=name,
        index=index,
        open_book=open_book,
    )


def _open_run_index(name: str, asked: PromptDefaults) -> PassageIndex:
    """Open the index that a model was trained with, which its run has beside the weights.

    Raises:
        RetrievalError: There is none, or it is another one.
    """
    weights = find_card_folder(name)
    folder = weights.resolve().parent / INDEX_FOLDER if weights is not None else None
    found = open_index(folder) if folder and (folder / MANIFEST_FILE).is_file() else None
    if found is None or found.manifest.hash != asked.index_hash:
        raise RetrievalError(
            f"{name} reads passages, and "
            + (f"{folder} is another index" if found else "no index is beside it"),
            expected=f"the index {(asked.index_hash or '')[:12]}, as in training",
            fix="name an index: --index DIR",
        )
    return found


def own_index(model: AnswerModel) -> PassageIndex | None:
    """Return the passages that a model answers from; None for a model that is no search."""
    return model.index if isinstance(model, SearchModel) else None


def _load_calibration(
    evaluation: Path, model: AnswerModel, method: Method, policy: Policy
) -> ServingCalibration:
    from medtune.analysis.serving_thresholds import calibrate_from_folder  # scipy: half a second

    rule = policy.confidence
    return calibrate_from_folder(evaluation, model.describe(), method, rule.risk, rule.level)
