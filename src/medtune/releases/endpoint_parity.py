"""Measure the parity of the endpoint with the model offline."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

import httpx2

from medtune.analysis.packed_parity import measure_logprob_shift
from medtune.core.choice import choose_option
from medtune.core.errors import InputError
from medtune.core.intervals import wilson_interval
from medtune.core.option_logprobs import log_probabilities
from medtune.core.provenance import collect_provenance
from medtune.core.records import Prediction, Question
from medtune.core.schemas.compression import SERVED_BUDGET, Budget, budget_violations
from medtune.guardrails.policy import ANSWER_GUARDS, REQUIRED_GUARDS, Policy
from medtune.releases.gate_schema import ServedRecord
from medtune.serving.app import build_app
from medtune.serving.auth.authorize import Authorizer
from medtune.serving.dependencies import Services
from medtune.serving.inference.engine import Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.inference.request_batcher import MAX_BATCH_SIZE, create_model_executor
from medtune.serving.metrics import Metrics

MAX_WAIT_S = 3600.0
"""Longest wait in the queue: this process is the only client."""
PARITY_POLICY = Policy(version="parity", order=(*REQUIRED_GUARDS, *ANSWER_GUARDS))
"""A policy with the required guards only: questions that others hold back cannot be compared."""
ServedProbabilities = tuple[float, ...] | None
"""Probabilities of the options; None if the guards gave no answer."""


def measure_endpoint_parity(
    predictor: Predictor,
    questions: Sequence[Question],
    offline: Sequence[Prediction],
    budget: Budget = SERVED_BUDGET,
) -> ServedRecord:
    """Ask the endpoint in-process, and compare its answers with the model's offline ones.

    Args:
        predictor: The predictor, without calibration and with a minimal policy, since both
            change the shown answers.
        questions: Questions; those that the guards hold back are counted and left out.
        offline: The model's predictions on the same questions in the given option order.
        budget: Largest allowed differences; the one of the loss is not checked.

    Raises:
        ModelError: The model fails.
        InputError: The guards hold back every question.
    """
    answers = asyncio.run(_ask_endpoint(predictor, questions))
    pairs = [
        (prediction, prediction.probabilities, answer)
        for prediction, answer in zip(offline, answers, strict=True)
        if answer is not None and prediction.probabilities is not None
    ]
    if not pairs:
        raise InputError(
            f"the guards hold back all {len(questions)} questions",
            fix="freeze exam questions: medtune release freeze DATA",
        )
    drift = measure_logprob_shift(
        [(log_probabilities(before), log_probabilities(after)) for _, before, after in pairs]
    )
    same = sum(
        prediction.chosen == choose_option(answer, prediction.stem, prediction.options)
        for prediction, _, answer in pairs
    )
    agreement = wilson_interval(same, len(pairs))
    return ServedRecord(
        agreement=agreement,
        held=len(questions) - len(pairs),
        mean_drift=drift.mean,
        drift_high=drift.high,
        max_drift=drift.largest,
        budget=budget,
        broken=budget_violations(budget, agreement, drift.high, "nats"),
        provenance=collect_provenance(),
    )


async def _ask_endpoint(
    predictor: Predictor, questions: Sequence[Question]
) -> list[ServedProbabilities]:
    """Ask an in-process endpoint over its HTTP interface."""
    secret, metrics = secrets.token_bytes(32), Metrics()
    engine = Engine(predictor, None, secret, metrics, MAX_WAIT_S, create_model_executor())
    parts = Services(engine, None, Authorizer(lambda _: None), metrics, secret)
    app = build_app(parts, logs=False)
    here = httpx2.ASGITransport(app=app, client=("127.0.0.1", 1))
    asker = httpx2.AsyncClient(transport=here, base_url="http://127.0.0.1", timeout=MAX_WAIT_S)
    found: list[ServedProbabilities] = []
    async with app.router.lifespan_context(app), asker:
        for start in range(0, len(questions), MAX_BATCH_SIZE):
            asked = [
                _request_body(question) for question in questions[start : start + MAX_BATCH_SIZE]
            ]
            reply = await asker.post("/v1/answer/batch", json={"questions": asked})
            reply.raise_for_status()
            found += [_shown_probabilities(answer) for answer in reply.json()["replies"]]
    return found


def _request_body(question: Question) -> dict[str, Any]:
    return {"stem": question.stem, "options": question.options, "subject": question.subject}


def _shown_probabilities(answer: dict[str, Any]) -> ServedProbabilities:
    shown = answer["probabilities"]
    return None if shown is None else tuple(shown)
