"""From a model's name to what answers questions: model, prompt, calibration, policy, guards."""

from __future__ import annotations

from pathlib import Path

from medtune.core.progress import Progress
from medtune.core.prompt import likelihood_of
from medtune.core.protocols import AnswerModel
from medtune.core.records import Method
from medtune.core.schemas.guardrails import ServingCalibration
from medtune.guardrails.classifier.learned import TextClassifier
from medtune.guardrails.policy import Policy
from medtune.models.open_model import open_model
from medtune.models.weights_card import ADAPTER, manner, refuse_unfit
from medtune.serving.inference.predictor import Predictor

TRAINED = ((ADAPTER, "adapter"), ("path:", "model"))
"""How what a run trained is opened, and where it lies in the run's folder."""


def with_calibration(
    model: str, calibration: Path | None, method: Method | None
) -> tuple[str, Path | None]:
    """Return a model's name and the evaluation of its calibration questions, if there is one.

    Args:
        model: A model's name, or the folder of a run, which has both.
        calibration: Folder of an evaluation; None takes a run's own, or goes without.
        method: letter or cloze; None takes either.
    """
    run = Path(model)
    trained = [(kind, run / name) for kind, name in TRAINED if (run / name).is_dir()]
    if not trained:
        return model, calibration
    found = sorted((run / "eval").glob("tuned-calibration-*"))
    wanted = [f for f in found if method is None or f.name.endswith(method)]
    own = wanted[0] if wanted else None
    kind, folder = trained[0]
    return f"{kind}{folder}", calibration or own


def mind_for(
    name: str,
    evaluation: Path | None,
    method: Method | None,
    policy: Policy,
    classifier: TextClassifier,
    progress: Progress,
    *,
    unfit: bool = False,
) -> Predictor:
    """Open a model with everything that decides its answers.

    Args:
        name: Of the model.
        evaluation: Of its calibration questions; None leaves it uncalibrated.
        method: None is letter for a model that was taught letters, else cloze.
        policy: How strict the guards are.
        classifier: The learned guard.
        progress: Where to report.
        unfit: Open a packed model even if it did not pass the parity gate.

    Raises:
        CheckFailed: The model is marked unfit.
        MedtuneError: Model or calibration cannot be used.
    """
    refuse_unfit(name, anyway=unfit)
    asked = manner(name)
    method = method or likelihood_of(asked.target)
    model = open_model(name, style=asked.style, progress=progress, light=True)
    calibration = None
    if evaluation is not None:
        calibration = _calibration(evaluation, model, method, policy)
    else:
        progress.say("not calibrated: nothing says how often this model's choice is right")
    return Predictor(
        model=model,
        style=asked.style,
        method=method,
        policy=policy,
        classifier=classifier,
        calibration=calibration,
        release=name,
    )


def _calibration(
    evaluation: Path, model: AnswerModel, method: Method, policy: Policy
) -> ServingCalibration:
    from medtune.analysis.serving_thresholds import calibrated  # scipy: half a second

    rule = policy.confidence
    return calibrated(evaluation, model.describe(), method, rule.risk, rule.level)
