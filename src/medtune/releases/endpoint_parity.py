"""The endpoint beside the model: does what is served answer as what was examined?"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Sequence
from typing import Any

import httpx2

from medtune.analysis.packed_parity import drift_of
from medtune.core.choice import choose
from medtune.core.errors import InputError
from medtune.core.intervals import wilson
from medtune.core.provenance import provenance
from medtune.core.records import Prediction, Question
from medtune.core.schemas.compression import SERVED, Budget, over_budget
from medtune.guardrails.policy import AFTER, NEEDED, Policy
from medtune.releases.gate_schema import ServedRecord
from medtune.serving.app import create_app
from medtune.serving.auth.authorize import Authorizer
from medtune.serving.dependencies import Services
from medtune.serving.inference.engine import Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.inference.request_batcher import MOST, model_thread
from medtune.serving.metrics import Metrics

PATIENCE_S = 3600.0
"""Nobody waits here but this process."""
OPEN = Policy(version="parity", order=(*NEEDED, *AFTER))
"""Only the guards that no policy can leave out: what others hold back could not be compared."""
LEAST = 1e-12
"""Below it a probability is taken for this: its logarithm has to exist."""
Served = tuple[float, ...] | None
"""Options' probabilities; None where the guards gave no answer."""


def served_beside(
    mind: Predictor,
    questions: Sequence[Question],
    offline: Sequence[Prediction],
    budget: Budget = SERVED,
) -> ServedRecord:
    """Ask the endpoint what the model was asked offline, through everything but the network.

    Args:
        mind: What is served; without calibration and policy of its own, which change what is shown.
        questions: Any; those that the guards hold back are left out and counted.
        offline: The model's predictions on the same questions, options as given.
        budget: How far they may be apart; of the loss nothing is known here.

    Raises:
        ModelError: The model fails.
        InputError: The guards hold back every question.
    """
    answers = asyncio.run(_answers(mind, questions))
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
    drift = drift_of([(_logs(before), _logs(after)) for _, before, after in pairs])
    same = sum(
        prediction.chosen == choose(answer, prediction.stem, prediction.options)
        for prediction, _, answer in pairs
    )
    agreement = wilson(same, len(pairs))
    return ServedRecord(
        agreement=agreement,
        held=len(questions) - len(pairs),
        mean_drift=drift.mean,
        drift_high=drift.high,
        max_drift=drift.largest,
        budget=budget,
        broken=over_budget(budget, agreement, drift.high, "nats"),
        provenance=provenance(),
    )


async def _answers(mind: Predictor, questions: Sequence[Question]) -> list[Served]:
    """Ask an endpoint of this process, over its HTTP interface."""
    secret, metrics = secrets.token_bytes(32), Metrics()
    engine = Engine(mind, None, secret, metrics, PATIENCE_S, model_thread())
    parts = Services(engine, None, Authorizer(lambda _: None), metrics, secret)
    app = create_app(parts, logs=False)
    here = httpx2.ASGITransport(app=app, client=("127.0.0.1", 1))
    asker = httpx2.AsyncClient(transport=here, base_url="http://127.0.0.1", timeout=PATIENCE_S)
    found: list[Served] = []
    async with app.router.lifespan_context(app), asker:
        for start in range(0, len(questions), MOST):
            asked = [_asked(question) for question in questions[start : start + MOST]]
            reply = await asker.post("/v1/answer/batch", json={"questions": asked})
            reply.raise_for_status()
            found += [_shown(answer) for answer in reply.json()["replies"]]
    return found


def _asked(question: Question) -> dict[str, Any]:
    return {"stem": question.stem, "options": question.options, "subject": question.subject}


def _shown(answer: dict[str, Any]) -> Served:
    shown = answer["probabilities"]
    return None if shown is None else tuple(shown)


def _logs(probabilities: Sequence[float]) -> list[float]:
    return [math.log(max(LEAST, value)) for value in probabilities]
