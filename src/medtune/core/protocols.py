"""The seam: what an exam asks of any model, whatever runs it.

Requests carry only what a candidate may see.  The key (which option is right) never passes
here; a fake that must know it is handed the key when it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from medtune.core.records import ModelDescription


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Ask for the log-probability of each continuation of a chat."""

    id: str
    """The question's id."""
    options: tuple[str, ...]
    """Option texts in display order."""
    messages: tuple[Message, ...]
    """The chat up to, not including, the assistant's answer."""
    lead: str
    """Words with which every answer opens ("The answer is:"); given, not scored."""
    continuations: tuple[str, ...]
    """One per option: what follows the lead when the assistant gives that option."""


@dataclass(frozen=True, slots=True)
class ContinuationScore:
    """How likely one continuation is."""

    logprob: float
    """Sum over the continuation's tokens, nats."""
    tokens: int
    """How many tokens that sum has."""
    bytes: int
    """UTF-8 bytes of the continuation, the space before it not counted."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Ask for a free answer."""

    id: str
    options: tuple[str, ...]
    messages: tuple[Message, ...]
    choices: tuple[str, ...] | None = None
    """The only answers that may be given, one per option; None leaves the model free."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to generate."""

    max_new_tokens: int = 50
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """Sample from so many likeliest tokens; 0 is all of them."""
    beams: int = 1
    """Answers followed side by side; 1 is none."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """A free answer."""

    text: str
    tokens: int
    stopped: bool
    """The model ended its turn before the limit."""


class AnswerModel(Protocol):
    """Anything that can score options or generate text."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation of every request, in request order."""
        ...

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Answer every request freely, in request order."""
        ...

    def render(self, messages: Sequence[Message]) -> str:
        """Show the exact text that the model reads, up to where its answer begins."""
        ...

    def describe(self) -> ModelDescription:
        """Say which weights these are, and in what arithmetic."""
        ...


@dataclass(frozen=True, slots=True)
class Example:
    """One supervised example: a prompt, and the answer that the loss looks at."""

    tokens: tuple[int, ...]
    """Prompt and answer, the end-of-turn token last."""
    prompt: int
    """How many of them are the prompt."""
    choices: tuple[int, ...] = ()
    """Where the loss is to look at the letters alone: the token of each option's letter."""
    weight: float = 1.0
    """Of its tokens in the loss."""
    ends: bool = True
    """Whether the loss looks at the end-of-turn token as well."""
