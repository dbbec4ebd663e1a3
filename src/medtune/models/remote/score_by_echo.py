"""Score texts by echo: the server returns the log-probability of every prompt token.

vLLM and OpenAI's older models offer this: /completions with `echo` and `logprobs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medtune.core.errors import RemoteError
from medtune.core.protocols import ContinuationScore
from medtune.models.remote.api import Prompt, ServedModel
from medtune.models.remote.logprobs import (
    TokenLogprob,
    check_logprob,
    match_ending,
    missing_echo_error,
    parse_echo,
)

EncodedAnswers = Sequence[tuple[list[int], int]]
"""For each text: ids of lead and text, and how many of them lie inside the lead."""


class EchoScorer:
    """Scorer of one server by echo."""

    def __init__(self, served: ServedModel) -> None:
        self._served = served
        self._fewest = 0

    def supports_echo(self, prompt: list[int]) -> bool:
        """Probe whether the server echoes log-probabilities.

        Raises:
            RemoteError: The server does not respond.
        """
        how = {"echo": True, "logprobs": 1, "temperature": 0, "max_tokens": 1}
        try:
            answer = self._served.complete(prompt, how)
        except RemoteError as error:
            if error.status is None:
                raise
            return False
        try:
            return len(parse_echo(answer.logprobs)) >= len(prompt)
        except RemoteError:
            return False

    def score_tokens(
        self, prompt: list[int], answers: EncodedAnswers, texts: Sequence[str]
    ) -> tuple[ContinuationScore, ...]:
        """Score texts by token ids.

        Raises:
            RemoteError: The server fails, or does not echo log-probabilities.
        """
        scores = []
        for text, (ids, lead) in zip(texts, answers, strict=True):
            own = len(ids) - min(lead, len(ids) - 1)
            entries = self._echo_prompt([*prompt, *ids])
            scores.append(_sum_score([value for _, value in entries[-own:]], text))
        return tuple(scores)

    def score_texts(self, prompt: str, texts: Sequence[str]) -> tuple[ContinuationScore, ...]:
        """Score texts by their spelling: by the last tokens that spell the text.

        Raises:
            RemoteError: See `score_tokens`; or a text is not found in the echo.
        """
        return tuple(
            _sum_score(match_ending(self._echo_prompt(f"{prompt}{text}"), text), text)
            for text in texts
        )

    def _echo_prompt(self, prompt: Prompt) -> list[TokenLogprob]:
        """Request the log-probabilities of a prompt's own tokens, `[token]`."""
        how = {"echo": True, "logprobs": 1, "temperature": 0}
        try:
            answer = self._served.complete(prompt, {**how, "max_tokens": self._fewest})
        except RemoteError as error:
            if self._fewest or error.status not in {400, 422}:
                raise
            answer = self._served.complete(prompt, {**how, "max_tokens": 1})
            self._fewest = 1  # this server refuses max_tokens 0
        entries = parse_echo(answer.logprobs)
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
            raise missing_echo_error(f"{len(entries)} for {read} tokens")
        return entries[:read]


def _sum_score(values: Sequence[Any], text: str) -> ContinuationScore:
    """Check and sum the log-probabilities of a text."""
    total = sum(check_logprob(value) for value in values)
    return ContinuationScore(total, len(values), len(text.strip().encode()))
