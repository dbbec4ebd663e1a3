"""Scoring texts: the server reads prompt and text, and tells how likely each token was.

The way of OpenAI's older models and of vLLM: /completions with `echo` and `logprobs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medtune.core.errors import RemoteError
from medtune.core.protocols import ContinuationScore
from medtune.models.remote.api import Prompt, ServedModel
from medtune.models.remote.logprobs import Entry, checked, echoed, ending, no_echo

Answers = Sequence[tuple[list[int], int]]
"""Per text: ids of lead and text, and how many of them lie inside the lead."""


class EchoScorer:
    """Echoes of one server."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served
        self._fewest = 0

    def offered(self, prompt: list[int]) -> bool:
        """Try out whether the server echoes log-probabilities.

        Raises:
            RemoteError: It does not answer.
        """
        how = {"echo": True, "logprobs": 1, "temperature": 0, "max_tokens": 1}
        try:
            answer = self._served.complete(prompt, how)
        except RemoteError as error:
            if error.status is None:
                raise
            return False
        try:
            return len(echoed(answer.logprobs)) >= len(prompt)
        except RemoteError:
            return False

    def score_tokens(
        self, prompt: list[int], answers: Answers, texts: Sequence[str]
    ) -> tuple[ContinuationScore, ...]:
        """Score texts by ids: which tokens belong to a text is known, as in `Tree.grow`.

        Raises:
            RemoteError: The server fails, or does not echo log-probabilities.
        """
        scores = []
        for text, (ids, lead) in zip(texts, answers, strict=True):
            own = len(ids) - min(lead, len(ids) - 1)
            entries = self._entries([*prompt, *ids])
            scores.append(_scored([value for _, value in entries[-own:]], text))
        return tuple(scores)

    def score_texts(self, prompt: str, texts: Sequence[str]) -> tuple[ContinuationScore, ...]:
        """Score texts by their spelling: the last tokens, as many as make up the text.

        Raises:
            RemoteError: See `score_tokens`; or a text cannot be found in what was echoed.
        """
        return tuple(
            _scored(ending(self._entries(f"{prompt}{text}"), text), text) for text in texts
        )

    def _entries(self, prompt: Prompt) -> list[Entry]:
        """Ask for the log-probabilities of a prompt's own tokens, `[token]`."""
        how = {"echo": True, "logprobs": 1, "temperature": 0}
        try:
            answer = self._served.complete(prompt, {**how, "max_tokens": self._fewest})
        except RemoteError as error:
            if self._fewest or error.status not in {400, 422}:
                raise
            answer = self._served.complete(prompt, {**how, "max_tokens": 1})
            self._fewest = 1  # this server refuses to generate nothing
        entries = echoed(answer.logprobs)
        read = answer.prompt_tokens
        if read is None:
            raise RemoteError(
                f"{self._served.url} does not say how many tokens a prompt has",
                expected="usage.prompt_tokens in every answer",
            )
        if isinstance(prompt, list) and read != len(prompt):
            raise RemoteError(
                f"{self._served.url} reads {read} tokens where {len(prompt)} were sent",
                expected="the same",
                fix="check that the tokenizer named is the served model's",
            )
        if len(entries) < read:
            raise no_echo(f"{len(entries)} for {read} tokens")
        return entries[:read]


def _scored(values: Sequence[Any], text: str) -> ContinuationScore:
    """Add up a text's log-probabilities, once each is known to be one."""
    total = sum(checked(value) for value in values)
    return ContinuationScore(total, len(values), len(text.strip().encode()))
