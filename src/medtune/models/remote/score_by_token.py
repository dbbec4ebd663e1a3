"""Score texts token by token on llama-server, which does not echo.

A logit bias of +1000 forces the server to generate a token, and the reported log-probability is the
one before the bias.  This is how llama-server works, not part of the OpenAI API, so it is probed
first.  The server caches the prompt, so a request costs about one token.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from medtune.core.protocols import ContinuationScore
from medtune.models.remote.api import ServedModel
from medtune.models.remote.logprobs import check_logprob, missing_echo_error
from medtune.models.remote.score_by_echo import EncodedAnswers

BIAS = 1000
LOGPROB_TOLERANCE = 0.1
"""Tolerance between two readings of one number, nats; caches and batches shift it a little."""


class TokenScorer:
    """Scorer of one server by forced tokens.

    Args:
        served: The served model.
        prompt: A prompt for the probe.

    Raises:
        RemoteError: The server fails, or cannot be forced to a token.
    """

    def __init__(self, served: ServedModel, prompt: list[int]) -> None:
        self._served = served
        # With more requests than slots, prompts would evict each other from the server's cache.
        self._slots = threading.BoundedSemaphore(served.parallel_slots())
        self._probe(prompt)

    def score_tokens(
        self, prompt: list[int], answers: EncodedAnswers, texts: Sequence[str]
    ) -> tuple[ContinuationScore, ...]:
        """Score texts by token ids.

        Raises:
            RemoteError: The server fails.
        """
        scores = []
        with self._slots:
            for text, (ids, lead) in zip(texts, answers, strict=True):
                own = range(min(lead, len(ids) - 1), len(ids))
                total = sum(self._force_token([*prompt, *ids[:place]], ids[place]) for place in own)
                scores.append(ContinuationScore(total, len(own), len(text.strip().encode())))
        return tuple(scores)

    def _probe(self, prompt: list[int]) -> None:
        """Force the second likeliest token: a log-probability after the bias would be near 0."""
        listed = self._request_token(prompt, {"logprobs": 2}).get("top_logprobs")
        try:
            second = sorted(listed or [], key=lambda entry: -check_logprob(entry["logprob"]))[1]
            token, expected = second["id"], check_logprob(second["logprob"])
        except (KeyError, IndexError, TypeError) as error:
            raise missing_echo_error("no echo, and tokens that have no numbers") from error
        if abs(self._force_token(prompt, token) - expected) > LOGPROB_TOLERANCE:
            raise missing_echo_error("no echo, and a bias on a token shows in its log-probability")

    def _force_token(self, prompt: list[int], token: int) -> float:
        first = self._request_token(prompt, {"logprobs": 1, "logit_bias": [[token, BIAS]]})
        if first.get("id") != token:
            raise missing_echo_error(
                "no echo, and it does not write the token that a bias dictates"
            )
        return check_logprob(first.get("logprob"))

    def _request_token(self, prompt: list[int], how: dict[str, Any]) -> dict[str, Any]:
        """Request one token with its log-probabilities."""
        answer = self._served.complete(prompt, {"max_tokens": 1, "temperature": 0, **how})
        try:
            return dict(answer.logprobs["content"][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise missing_echo_error(
                "no echo, and tokens in another shape than llama-server's"
            ) from error
