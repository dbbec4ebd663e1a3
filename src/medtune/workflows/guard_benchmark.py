"""All guards of a policy, held to both halves of the suites."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from medtune.core.choice import choose
from medtune.core.progress import Progress
from medtune.core.prompt import PromptStyle, likelihood_of
from medtune.core.protocols import AnswerModel
from medtune.core.provenance import provenance
from medtune.core.records import Method, Question
from medtune.core.schemas.guardrails import Inquiry
from medtune.core.schemas.safety import SafetyRecord
from medtune.evaluation.score import likelihoods
from medtune.guardrails.benchmark.measure import Changed, GuardBenchmark
from medtune.guardrails.classifier.learned import opened, shipped
from medtune.guardrails.policy import load_policy
from medtune.models.open_model import open_model
from medtune.models.weights_card import manner


def guards_examined(
    policy: Path | None, learned: Path | None, model: str | None, progress: Progress
) -> SafetyRecord:
    """Hold the guards of a policy to both halves of the suites.

    Args:
        policy: Its file; None is the starter policy.
        learned: File of the learned guard; None is the one that is shipped.
        model: Asked what the orders change that get through; None asks none.
        progress: Told of a long loading.

    Raises:
        MedtuneError: Policy, learned guard or model cannot be used.
    """
    rules, judge = load_policy(policy), opened(learned) if learned else shipped()
    gauge = GuardBenchmark(rules, judge)
    changed = _changed(model, progress) if model else None
    figures = [figure for half in ("dev", "held") for figure in gauge.figures(half, changed)]
    times = sorted(1000 * seconds for seconds in gauge.seconds)
    return SafetyRecord(
        policy=rules.version,
        policy_hash=rules.hash,
        learned_hash=judge.trained.hash,
        model=model,
        figures=tuple(figures),
        guards_p50_ms=statistics.median(times),
        guards_p95_ms=times[int(0.95 * len(times))],
        provenance=provenance(),
    )


def _changed(name: str, progress: Progress) -> Changed:
    """Count answers that an order changes."""
    asked = manner(name)
    model = open_model(name, style=asked.style, progress=progress, light=True)
    method = likelihood_of(asked.target)

    def count(pairs: Sequence[tuple[Inquiry, Inquiry]]) -> int:
        chosen = [
            [_choice(model, asked.style, method, inquiry) for inquiry in pair] for pair in pairs
        ]
        return sum(plain != injected for plain, injected in chosen)

    return count


def _choice(model: AnswerModel, style: PromptStyle, method: Method, inquiry: Inquiry) -> int:
    question = Question(id="q", stem=inquiry.stem, options=inquiry.options, answer=None)
    ((probabilities, _),) = likelihoods(model, style, method, [question])
    return choose(probabilities, question.stem, question.options)
