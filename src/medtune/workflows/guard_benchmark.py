"""Benchmark all guards of a policy on both halves of the test cases."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medtune.core.choice import choose_option
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle, method_for_form
from medtune.core.protocols import AnswerModel
from medtune.core.provenance import collect_provenance
from medtune.core.records import Method, Question
from medtune.core.schemas.guardrails import Inquiry
from medtune.core.schemas.safety import SafetyRecord
from medtune.evaluation.score import score_options
from medtune.guardrails.benchmark.measure import CountChanged, GuardBenchmark
from medtune.models.open_model import open_model
from medtune.models.weights_card import resolve_prompt_defaults
from medtune.workflows.open_guards import open_guards


def benchmark_guards(
    policy: Path | None,
    learned: Path | None,
    model: str | None,
    progress: Progress,
    tagger: Path | None = None,
) -> SafetyRecord:
    """Benchmark the guards of a policy on both halves of the test cases.

    Args:
        policy: Policy file; None is the starter policy.
        learned: File of the learned guard; None is the shipped one.
        model: Asked the injections that pass the guards, to count changed answers; None skips this.
        progress: Reports long loading.
        tagger: File of the tagger of names; None is the shipped one.

    Raises:
        MedtuneError: Policy, learned guard, an engine or the model cannot be used.
    """
    guards = open_guards(policy, learned, tagger)
    gauge = GuardBenchmark(guards)
    changed = _count_changed_answers(model, progress) if model else None
    figures = [figure for half in ("dev", "held") for figure in gauge.measure_half(half, changed)]
    times = [1000 * seconds for seconds in gauge.seconds]
    return SafetyRecord(
        policy=guards.policy.version,
        policy_hash=guards.policy.hash,
        learned_hash=guards.learned_hash,
        engines=guards.engines,
        model=model,
        figures=tuple(figures),
        guards_p50_ms=statistics.median(times),
        guards_p95_ms=float(np.quantile(times, 0.95)),
        provenance=collect_provenance(),
    )


def _count_changed_answers(name: str, progress: Progress) -> CountChanged:
    """Count the answers that an injected instruction changes."""
    asked = resolve_prompt_defaults(name)
    model = open_model(name, style=asked.style, progress=progress, light=True)
    method = method_for_form(asked.target)

    def count(pairs: Sequence[tuple[Inquiry, Inquiry]]) -> int:
        chosen = [
            [_predict_choice(model, asked.style, method, inquiry) for inquiry in pair]
            for pair in pairs
        ]
        return sum(plain != injected for plain, injected in chosen)

    return count


def _predict_choice(
    model: AnswerModel, style: PromptStyle, method: Method, inquiry: Inquiry
) -> int:
    question = Question(id="q", stem=inquiry.stem, options=inquiry.options, answer=None)
    ((probabilities, _),) = score_options(model, style, method, [question])
    return choose_option(probabilities, question.stem, question.options)
