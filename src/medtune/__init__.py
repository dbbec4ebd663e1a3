"""Fine-tune small language models on medical questions, and examine them honestly.

The names in `__all__` are promised; everything else may move. Each is loaded when it is first used:
`import medtune` alone reads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medtune._version import __version__

if TYPE_CHECKING:
    from medtune.analysis.compare import compare_evaluations
    from medtune.core.config import load_experiment
    from medtune.core.errors import MedtuneError
    from medtune.core.experiment import Experiment
    from medtune.core.prompt import PromptStyle
    from medtune.core.protocols import AnswerModel
    from medtune.core.records import ComparisonRecord, EvaluationRecord, Prediction, Question
    from medtune.data.load import load_split
    from medtune.evaluation.exam import Exam
    from medtune.evaluation.run_exam import evaluate_model
    from medtune.models.open_model import open_model

__all__ = [
    "AnswerModel",
    "ComparisonRecord",
    "EvaluationRecord",
    "Exam",
    "Experiment",
    "MedtuneError",
    "Prediction",
    "PromptStyle",
    "Question",
    "__version__",
    "compare_evaluations",
    "evaluate_model",
    "load_experiment",
    "load_split",
    "open_model",
]

_MODULES = {
    "AnswerModel": "core.protocols",
    "ComparisonRecord": "core.records",
    "EvaluationRecord": "core.records",
    "Exam": "evaluation.exam",
    "Experiment": "core.experiment",
    "MedtuneError": "core.errors",
    "Prediction": "core.records",
    "PromptStyle": "core.prompt",
    "Question": "core.records",
    "compare_evaluations": "analysis.compare",
    "evaluate_model": "evaluation.run_exam",
    "load_experiment": "core.config",
    "load_split": "data.load",
    "open_model": "models.open_model",
}


def __getattr__(name: str) -> Any:
    """Return a public name, loaded from its module on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'medtune' has no attribute {name!r}")
    value = getattr(import_module(f"medtune.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
