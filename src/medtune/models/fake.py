"""Torch-free fake models of known behaviour, to test the evaluation itself.

- ``oracle`` knows every answer, by content: it never depends on the order of the options.
- ``constant`` always gives the first letter.
- ``biased`` knows little and leans towards earlier letters.
- ``noisy`` scores an option by its text and the question's id, in any order: consistent chance.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from medtune.core.choice import choose_option
from medtune.core.protocols import (
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    Message,
    ScoreRequest,
)
from medtune.core.records import ModelDescription

MAX_LOGIT = 8.0
"""Largest logit of any fake."""


class FakeModel:
    """An AnswerModel without weights.

    Args:
        kind: oracle, constant, biased or noisy.
        key: Text of the right option by question id, for the oracle.
        ids: Question id by `make_options_key`, as endpoint requests have other ids.
    """

    def __init__(
        self, kind: str, key: Mapping[str, str], ids: Mapping[str, str] | None = None
    ) -> None:
        self.kind = kind
        self._key, self._ids = key, ids or {}

    def describe(self) -> ModelDescription:
        """Describe the fake model."""
        name = f"fake:{self.kind}"
        return ModelDescription(
            source=name, fingerprint=name, parameters=0, dtype="none", device="none"
        )

    def render(self, messages: Sequence[Message]) -> str:
        """Render the chat as plain text."""
        return "\n".join(f"{m.role}: {m.content}" for m in messages) + "\nassistant: "

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        """Score every continuation; the probabilities of one request's options add up to 1."""
        return [self._scores(request) for request in requests]

    def generate(
        self,
        requests: Sequence[GenerateRequest],
        decoding: Decoding,  # noqa: ARG002 - a fake decodes one way
    ) -> list[Generation]:
        """Generate a sentence that names the likeliest option."""
        out = []
        for request in requests:
            identity = self._identity(request)
            best = choose_option(self._logits(identity, request.options), identity, request.options)
            text = f"The answer is: {request.options[best]}"
            if request.choices is not None:
                text = request.choices[best]
            out.append(Generation(text, len(text.split()), True))
        return out

    def _scores(self, request: ScoreRequest) -> tuple[ContinuationScore, ...]:
        logits = self._logits(self._identity(request), request.options)
        # An option that is scored alone, behind its own passages, has no others to be shared with.
        total = math.log(sum(map(math.exp, logits))) if len(logits) > 1 else MAX_LOGIT
        return tuple(
            ContinuationScore(logit - total, 1, max(1, len(text.strip().encode())))
            for logit, text in zip(logits, request.continuations, strict=True)
        )

    def _identity(self, request: ScoreRequest | GenerateRequest) -> str:
        if request.id in self._key:
            return request.id
        return self._ids.get(make_options_key(request.options), request.id)

    def _logits(self, identity: str, options: Sequence[str]) -> list[float]:
        if self.kind == "oracle":
            return [MAX_LOGIT * (text == self._key.get(identity)) for text in options]
        if self.kind == "constant":
            return [MAX_LOGIT * (place == 0) for place in range(len(options))]
        noise = [_option_noise(identity, text) for text in options]
        if self.kind == "noisy":
            return noise
        knows = [0.5 * (text == self._key.get(identity)) for text in options]
        return [n + k - 1.5 * place for place, (n, k) in enumerate(zip(noise, knows, strict=True))]


def make_options_key(options: Sequence[str]) -> str:
    """Return a key of a question's options that does not depend on their order."""
    return "\0".join(sorted(options))


def _option_noise(identity: str, text: str) -> float:
    """Draw a number from 0 to 2 that depends on the question's identity and the option's text."""
    digest = hashlib.sha256(f"{identity}\0{text}".encode()).digest()
    return 2 * int.from_bytes(digest[:8], "big") / 2**64
