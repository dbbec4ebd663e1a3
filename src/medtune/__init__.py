"""Fine-tune small language models on medical questions, and examine them honestly.

The names in `__all__` are promised; everything else may move. Each is loaded when it is first used:
`import medtune` alone reads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from medtune._version import __version__

if TYPE_CHECKING:
    from medtune.batch_audit.audit_batches import audit_batches as audit
    from medtune.commands.analyze import analyze
    from medtune.commands.compare import compare
    from medtune.commands.compress import compress
    from medtune.commands.evaluate import evaluate
    from medtune.commands.index import search_index
    from medtune.commands.serve import create_app
    from medtune.commands.train import finetune
    from medtune.core.errors import MedtuneError
    from medtune.core.experiment import Experiment
    from medtune.core.predictions_io import Evaluation
    from medtune.core.prompt import PromptStyle
    from medtune.core.protocols import AnswerModel
    from medtune.core.records import Question
    from medtune.data.load import load_questions
    from medtune.models.open_model import open_model
    from medtune.reports.comparison_folder import Comparison

__all__ = [
    "AnswerModel",
    "Comparison",
    "Evaluation",
    "Experiment",
    "MedtuneError",
    "PromptStyle",
    "Question",
    "__version__",
    "analyze",
    "audit",
    "compare",
    "compress",
    "create_app",
    "evaluate",
    "finetune",
    "load_questions",
    "open_model",
    "search_index",
]

_MODULES = {
    "AnswerModel": "core.protocols",
    "Comparison": "reports.comparison_folder",
    "Evaluation": "foreign_logs.read_log",
    "Experiment": "core.experiment",
    "MedtuneError": "core.errors",
    "PromptStyle": "core.prompt",
    "Question": "core.records",
    "analyze": "commands.analyze",
    "audit": "batch_audit.audit_batches:audit_batches",
    "compare": "commands.compare",
    "compress": "commands.compress",
    "create_app": "commands.serve",
    "evaluate": "commands.evaluate",
    "finetune": "commands.train",
    "load_questions": "data.load",
    "open_model": "models.open_model",
    "search_index": "commands.index",
}


def __getattr__(name: str) -> Any:
    """Return a public name, loaded from its module on first use."""
    if name not in _MODULES:
        raise AttributeError(f"module 'medtune' has no attribute {name!r}")
    module, _, there = _MODULES[name].partition(":")
    value = getattr(import_module(f"medtune.{module}"), there or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
