"""Parse the log-probabilities of a server strictly: a missing number is an error.

Two shapes are supported: OpenAI's chat shape (`content: [{token, logprob, top_logprobs}]`), which
llama-server also uses for completions, and the older one of completions (`tokens`,
`token_logprobs`, `top_logprobs`), which vLLM and others use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medtune.core.errors import RemoteError

MAX_POSITIVE_LOGPROB = 1e-3
"""Largest accepted log-probability, nats: servers compute it from a rounded softmax."""
MIN_REMAINDER = 1e-9
"""Smallest remaining probability of unlisted tokens; anything below it is rounding."""
UNLISTED_MARGIN = 1e-6
"""Nats by which an unlisted letter is placed below the least likely listed token."""
SPACE_MARKERS = "\u2581\u0120"
"""Space characters of SentencePiece and GPT-2 vocabularies, in servers that send raw tokens."""

TopLogprobs = list[tuple[str, float]]
"""Tokens with their log-probabilities."""
TokenLogprob = tuple[str, Any]
"""A token with its log-probability from the server, unchecked."""


def compute_letter_logprobs(
    listed: TopLogprobs, letters: Sequence[str]
) -> tuple[tuple[float, ...], int]:
    """Compute the log-probability of each letter from the top next tokens.

    A letter's probability is the sum over its spellings: tokens that are the letter and white
    space ("A", " A"; not "a", not "A.").

    An unlisted letter has at most the probability of the least likely listed token, and all such
    letters together at most the remaining probability.  Each gets the smaller of the two, the
    remainder divided evenly: an upper bound, under which no listed letter loses to an unlisted
    one.  If no letter is listed, all get the same value, so the choice is random (`core.choice`)
    and meaningless; their total probability, near 0, shows it.

    Returns:
        Log-probability of each letter, nats; and the number of letters with only a bound.

    Raises:
        RemoteError: The list is empty, or adds up to more than 1.
    """
    if not listed:
        raise missing_logprobs_error("the list of likeliest tokens is empty")
    total = math.fsum(math.exp(value) for _, value in listed)
    if total > 1 + MAX_POSITIVE_LOGPROB:
        raise RemoteError(
            f"the server's likeliest tokens have a probability of {total:.3f} together",
            expected="natural logarithms of probabilities, each token once",
        )
    found: dict[str, list[float]] = {letter: [] for letter in letters}
    for token, value in listed:
        if (bare := token.strip().strip(SPACE_MARKERS)) in found:
            found[bare].append(math.exp(value))
    missing = sum(not spellings for spellings in found.values())
    floor = min(value for _, value in listed) - UNLISTED_MARGIN
    if missing:
        left = max(1 - total, MIN_REMAINDER)
        floor = min(floor, math.log(left / missing))
    logs = (_log(math.fsum(found[letter])) if found[letter] else floor for letter in letters)
    return tuple(logs), missing


def parse_top_logprobs(logprobs: Any) -> TopLogprobs:
    """Parse the top first tokens of an answer with their log-probabilities.

    Raises:
        RemoteError: There are none, or one is not a log-probability.
    """
    if not logprobs:
        raise missing_logprobs_error("the answer has none")
    try:
        if "content" in logprobs:
            first = logprobs["content"][0]["top_logprobs"]
            pairs = [(entry["token"], entry["logprob"]) for entry in first]
        else:
            pairs = list(logprobs["top_logprobs"][0].items())
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise missing_logprobs_error("the likeliest tokens are missing") from error
    return [(str(token), check_logprob(value)) for token, value in pairs]


def parse_echo(logprobs: Any) -> list[TokenLogprob]:
    """Parse every token of an echoed prompt and its answer, with log-probabilities.

    The first token of the prompt has none, so values are checked where they are used.

    Raises:
        RemoteError: The answer has no log-probabilities.
    """
    if not logprobs:
        raise missing_echo_error("there are none at all")
    try:
        if "content" in logprobs:
            return [(str(entry["token"]), entry["logprob"]) for entry in logprobs["content"]]
        tokens, values = logprobs["tokens"], logprobs["token_logprobs"]
        return [(str(token), value) for token, value in zip(tokens, values, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise missing_echo_error("they have no known shape") from error


def match_ending(entries: Sequence[TokenLogprob], text: str) -> list[Any]:
    """Find the last tokens that spell a text; the first of them may begin before the text.

    Returns:
        Their log-probabilities, unchecked.

    Raises:
        RemoteError: They spell another text: a character is split across tokens, or the server
            sends raw tokens.
    """
    spelt = ""
    values: list[Any] = []
    for token, value in reversed(entries):
        if len(spelt) >= len(text):
            break
        spelt = token + spelt
        values.insert(0, value)
    if not spelt.endswith(text):
        raise RemoteError(
            f"the server's tokens spell {spelt!r} where {text!r} was sent",
            expected="tokens that put together are the text",
            fix="name the model's tokenizer (@hub:ORG/NAME or @path:DIR): tokens are then counted",
        )
    return values


def check_logprob(value: Any) -> float:
    """Check a log-probability; return it, capped at 0.

    Raises:
        RemoteError: The value is no log-probability.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not value <= MAX_POSITIVE_LOGPROB
    ):
        raise RemoteError(f"the server gives {value!r} as a log-probability", expected="0 or less")
    if math.isinf(value):
        raise RemoteError("the server gives a log-probability that is not finite")
    return min(float(value), 0.0)


def missing_logprobs_error(found: str, server: str = "a server that") -> RemoteError:
    """Return the error for a server without log-probabilities of the top tokens."""
    return RemoteError(
        f"{server} gives no log-probabilities: {found}",
        expected="top_logprobs beside the answer",
        fix="use --method generate, or a server that has them (docs/remote.md)",
    )


def missing_echo_error(found: str) -> RemoteError:
    """Return the error for a server without log-probabilities of the prompt."""
    return RemoteError(
        f"a server that gives no log-probabilities of the prompt: {found}",
        expected="/completions that echoes the prompt with log-probabilities, as vLLM's; "
        "or llama-server, and the model's tokenizer named (@hub:ORG/NAME or @path:DIR)",
        fix="name the tokenizer, use --method letter, or take another server (docs/remote.md)",
    )


def _log(probability: float) -> float:
    """Return the logarithm of a probability that may have underflowed to 0."""
    return min(0.0, math.log(max(probability, 1e-300)))
