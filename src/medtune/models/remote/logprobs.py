"""What a server says about probabilities, read strictly: a number that is missing is an error.

Two shapes are known: OpenAI's chat shape (`content: [{token, logprob, top_logprobs}]`), which
llama-server also uses for completions, and the older one of completions (`tokens`,
`token_logprobs`, `top_logprobs`), which vLLM and others use.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from medtune.core.errors import RemoteError

ROUNDING = 1e-3
"""Nats by which a log-probability may lie above 0: servers take it of a rounded softmax."""
LEAST_LEFT = 1e-9
"""Probability that is always taken to be left over; below it, it is rounding."""
HAIR = 1e-6
"""Nats by which a letter that is not listed stays below the least listed one."""
SPACES = "\u2581\u0120"
"""How SentencePiece and GPT-2's vocabulary write a space, where a server shows raw tokens."""

Listed = list[tuple[str, float]]
"""Tokens with their log-probabilities."""
Entry = tuple[str, Any]
"""A token with what the server gives as its log-probability, unchecked."""


def letter_logprobs(listed: Listed, letters: Sequence[str]) -> tuple[tuple[float, ...], int]:
    """Read off the likeliest next tokens how likely each letter is.

    A letter's probability is the sum over its spellings: tokens that are the letter and white
    space ("A", " A"; not "a", not "A.").

    A letter that is not listed has at most the probability of the least listed token, and all
    such letters together have at most what the list leaves over.  Each gets the smaller of the
    two, the second one shared out evenly: an upper bound of their mass, under which no letter
    that is listed loses to one that is not.  Where no letter is listed, all get the same, so the
    choice is drawn by lot (`core.choice`) and means nothing; their mass, near 0, shows it.

    Returns:
        Log-probability of each letter, nats; and how many of them are such bounds.

    Raises:
        RemoteError: The list is empty, or adds up to more than 1.
    """
    if not listed:
        raise no_logprobs("the list of likeliest tokens is empty")
    total = math.fsum(math.exp(value) for _, value in listed)
    if total > 1 + ROUNDING:
        raise RemoteError(
            f"the server's likeliest tokens have a probability of {total:.3f} together",
            expected="natural logarithms of probabilities, each token once",
        )
    found: dict[str, list[float]] = {letter: [] for letter in letters}
    for token, value in listed:
        if (bare := token.strip().strip(SPACES)) in found:
            found[bare].append(math.exp(value))
    missing = sum(not spellings for spellings in found.values())
    floor = min(value for _, value in listed) - HAIR
    if missing:
        left = max(1 - total, LEAST_LEFT)
        floor = min(floor, math.log(left / missing))
    logs = (_log(math.fsum(found[letter])) if found[letter] else floor for letter in letters)
    return tuple(logs), missing


def likeliest(logprobs: Any) -> Listed:
    """List the likeliest first tokens of an answer, with their log-probabilities.

    Raises:
        RemoteError: The answer has none, or one is not a log-probability.
    """
    if not logprobs:
        raise no_logprobs("the answer holds none")
    try:
        if "content" in logprobs:
            first = logprobs["content"][0]["top_logprobs"]
            pairs = [(entry["token"], entry["logprob"]) for entry in first]
        else:
            pairs = list(logprobs["top_logprobs"][0].items())
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise no_logprobs("the likeliest tokens are missing") from error
    return [(str(token), checked(value)) for token, value in pairs]


def echoed(logprobs: Any) -> list[Entry]:
    """List every token of an answer with its log-probability, the echoed prompt's first.

    The prompt's very first token has none, so values are checked where they are used.

    Raises:
        RemoteError: The answer has no log-probabilities.
    """
    if not logprobs:
        raise no_echo("there are none at all")
    try:
        if "content" in logprobs:
            return [(str(entry["token"]), entry["logprob"]) for entry in logprobs["content"]]
        tokens, values = logprobs["tokens"], logprobs["token_logprobs"]
        return [(str(token), value) for token, value in zip(tokens, values, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise no_echo("they have no known shape") from error


def ending(entries: Sequence[Entry], text: str) -> list[Any]:
    """Find the tokens at the end that spell a text; the first may also hold what is before it.

    Returns:
        Their log-probabilities, unchecked.

    Raises:
        RemoteError: They spell something else: a character is cut across tokens, or the server
            shows raw tokens.
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


def checked(value: Any) -> float:
    """Return a log-probability, at most 0.

    Raises:
        RemoteError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= ROUNDING:
        raise RemoteError(f"the server gives {value!r} as a log-probability", expected="0 or less")
    if math.isinf(value):
        raise RemoteError("the server gives a log-probability that is not finite")
    return min(float(value), 0.0)


def no_logprobs(found: str) -> RemoteError:
    """Say that a server gives no log-probabilities of the likeliest tokens."""
    return RemoteError(
        f"a server that gives no log-probabilities: {found}",
        expected="top_logprobs beside the answer",
        fix="use --method generate, or a server that has them (docs/remote.md)",
    )


def no_echo(found: str) -> RemoteError:
    """Say that a server gives no log-probabilities of the prompt."""
    return RemoteError(
        f"a server that gives no log-probabilities of the prompt: {found}",
        expected="/completions that echoes the prompt with log-probabilities, as vLLM's; "
        "or llama-server, and the model's tokenizer named (@hub:ORG/NAME or @path:DIR)",
        fix="name the tokenizer, use --method letter, or take another server (docs/remote.md)",
    )


def _log(probability: float) -> float:
    """Take the logarithm of a sum of exponentials that may all have been too small to keep."""
    return min(0.0, math.log(max(probability, 1e-300)))
