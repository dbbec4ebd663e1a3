"""Scoring texts on llama-server, which does not echo: every token is dictated, in its own request.

A bias of +1000 on one token makes the server generate it, and the log-probability that it reports
is the one from before any bias.  That is how llama-server works, not what OpenAI's API says, so it
is tried out before it is relied on.  The server keeps what it has read of a prompt, so a request
costs about one token.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from medtune.core.protocols import ContinuationScore
from medtune.models.remote.api import ServedModel
from medtune.models.remote.logprobs import checked, no_echo
from medtune.models.remote.score_by_echo import Answers

BIAS = 1000
NEAR = 0.1
"""Nats within which two readings of one number agree; caches and batches shift it a little."""


class TokenScorer:
    """Dictations to one server.

    Args:
        served: The model.
        prompt: Some prompt, to try it out on.

    Raises:
        RemoteError: The server fails, or does not take dictation.
    """

    def __init__(self, served: ServedModel, prompt: list[int]) -> None:
        self._served = served
        # More questions at once than the server has slots would throw each other out of them.
        self._slots = threading.BoundedSemaphore(served.slots())
        self._try_out(prompt)

    def score_tokens(
        self, prompt: list[int], answers: Answers, texts: Sequence[str]
    ) -> tuple[ContinuationScore, ...]:
        """Score texts by ids.

        Raises:
            RemoteError: The server fails.
        """
        scores = []
        with self._slots:
            for text, (ids, lead) in zip(texts, answers, strict=True):
                own = range(min(lead, len(ids) - 1), len(ids))
                total = sum(self._dictate([*prompt, *ids[:place]], ids[place]) for place in own)
                scores.append(ContinuationScore(total, len(own), len(text.strip().encode())))
        return tuple(scores)

    def _try_out(self, prompt: list[int]) -> None:
        """Dictate the second likeliest token: a biased number would be near 0, as for no other."""
        listed = self._first(prompt, {"logprobs": 2}).get("top_logprobs")
        try:
            second = sorted(listed or [], key=lambda entry: -checked(entry["logprob"]))[1]
            token, expected = second["id"], checked(second["logprob"])
        except (KeyError, IndexError, TypeError) as error:
            raise no_echo("no echo, and tokens that have no numbers") from error
        if abs(self._dictate(prompt, token) - expected) > NEAR:
            raise no_echo("no echo, and a bias on a token shows in its log-probability")

    def _dictate(self, prompt: list[int], token: int) -> float:
        first = self._first(prompt, {"logprobs": 1, "logit_bias": [[token, BIAS]]})
        if first.get("id") != token:
            raise no_echo("no echo, and it does not write the token that a bias dictates")
        return checked(first.get("logprob"))

    def _first(self, prompt: list[int], how: dict[str, Any]) -> dict[str, Any]:
        """Ask for one token and what is said about it."""
        answer = self._served.complete(prompt, {"max_tokens": 1, "temperature": 0, **how})
        try:
            return dict(answer.logprobs["content"][0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise no_echo("no echo, and tokens in another shape than llama-server's") from error
