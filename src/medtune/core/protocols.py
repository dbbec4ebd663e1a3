"""Protocols of models and of parsers: what an evaluation asks of either.

Requests never carry the right answer.  A fake model that needs it gets it when it is created.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from medtune.core.records import ModelDescription
from medtune.core.token_trie import ScoredSequence


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """A request for the log-probability of each continuation of a chat."""

    id: str
    stem: str
    """The question's text, for models that do not read the chat."""
    options: tuple[str, ...]
    """Option texts in display order."""
    messages: tuple[Message, ...]
    """The chat up to, not including, the assistant's answer."""
    lead: str
    """Beginning that all answers share ("The answer is:"); given, not scored."""
    continuations: tuple[str, ...]
    """One per option: the text after the lead if the assistant gives that option."""


@dataclass(frozen=True, slots=True)
class ContinuationScore:
    """Log-probability and length of one continuation."""

    logprob: float
    """Sum of log-probabilities over the continuation's tokens, nats."""
    tokens: int
    bytes: int
    """UTF-8 bytes of the continuation, without the leading space."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A request for a free answer."""

    id: str
    stem: str
    options: tuple[str, ...]
    messages: tuple[Message, ...]
    choices: tuple[str, ...] | None = None
    """The only answers that may be given, one per option; None leaves the model free."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """Decoding settings of a generation."""

    max_new_tokens: int = 50
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """Sample from this many most likely tokens; 0 is all of them."""
    beams: int = 1
    """Number of beams; 1 is no beam search."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """A generated answer."""

    text: str
    tokens: int
    stopped: bool
    """The model ended its turn before the limit."""


class ModelIdentity(Protocol):
    """The part of a model that decides whether an earlier result is its own."""

    def render(self, messages: Sequence[Message]) -> str:
        """Return the exact prompt that the model reads, up to where its answer begins."""
        ...

    def describe(self) -> ModelDescription:
        """Return the identity of the weights and the precision of the arithmetic."""
        ...


@runtime_checkable
class AnswerModel(ModelIdentity, Protocol):
    """A model that can score options and generate text.

    Where a model is handed to medtune from Python, `score` and `describe` are enough for the
    methods letter and cloze (`models.own_model`).
    """

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation of every request, in request order."""
        ...

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        """Answer every request freely, in request order."""
        ...


@dataclass(frozen=True, slots=True)
class Example:
    """A supervised example: a prompt and its answer, and the options that the loss compares."""

    tokens: tuple[int, ...]
    """Prompt and answer, the end-of-turn token last."""
    prompt: int
    """Number of prompt tokens."""
    weight: float = 1.0
    """Weight in the loss."""
    ends: bool = True
    """Whether the loss of the answer covers the end-of-turn token as well."""
    options: tuple[ScoredSequence, ...] = ()
    """Every option behind its prompt, as an examination scores it, if the loss compares them."""
    lengths: tuple[int, ...] = ()
    """What the log-likelihood of each option is divided by."""
    right: int = 0
    """Index of the right option among `options`."""
    answer_share: float = 1.0
    """Share of the answer's own loss; the rest compares the options."""

    @property
    def longest(self) -> int:
        """Tokens of its longest sequence."""
        return max(len(self.tokens), *(len(option.tokens) for option in self.options), 0)


class ParsedAnswer(Protocol):
    """The option that a parser read from a free answer."""

    @property
    def chosen(self) -> int | None:
        """Index of the option; None when unparsed."""
        ...

    @property
    def reason(self) -> str:
        """Rule that read the answer, or why none could be read."""
        ...


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser of free answers, with its version."""

    version: int
    """Increased whenever the reading of some text changes; older results are then stale."""
    read: Callable[[str, Sequence[str]], ParsedAnswer]
    """(text, options) -> parsed answer."""
