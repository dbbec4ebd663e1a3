"""A small server that speaks OpenAI's API, over a language that is a hash: for exact parity."""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

from tests.running_server import QuietHandler, QuietServer, running

from medtune.core.protocols import Message
from medtune.models.chat_encoder import ChatEncoder

VOCABULARY = (*"ABCDEFGHIJ", *(f" {letter}" for letter in "ABCD"), "The", "\n", "a", "A.", " I")
LEFT = 0.1
"""Probability of all tokens outside the vocabulary."""


def noise(*parts: str) -> float:
    """Draw a number from 0 to 1 that depends on some texts alone."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def pieces(text: str) -> list[str]:
    """Cut a text into tokens: words with the space before them, and single other characters."""
    return re.findall(r" ?\w+|[^\w]", text)


def logprob(context: str, token: str) -> float:
    """Say how likely a token is after a text, nats."""
    return -0.1 - 8 * noise(context, token)


def next_tokens(context: str, vocabulary: Sequence[str] = VOCABULARY) -> dict[str, float]:
    """Give every token of the vocabulary its log-probability after a text, likeliest first."""
    weights = {token: math.exp(6 * noise(context, token)) for token in vocabulary}
    total = sum(weights.values()) / (1 - LEFT)
    logs = {token: math.log(weight / total) for token, weight in weights.items()}
    return dict(sorted(logs.items(), key=lambda item: -item[1]))


def template(messages: Sequence[dict[str, str]]) -> str:
    """Write a chat as this model reads it."""
    return "".join(f"<{m['role']}>{m['content']}</>\n" for m in messages) + "<assistant>"


class WordEncoder:
    """Stands in for a ChatEncoder: ids are numbers of words, given out as they come."""

    def __init__(self) -> None:
        self.words: list[str] = []

    @classmethod
    def as_encoder(cls) -> ChatEncoder:
        return cast(ChatEncoder, cls())

    def render(self, messages: Sequence[Message]) -> str:
        return template([{"role": m.role, "content": m.content} for m in messages])

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self._id(word) for word in pieces(text)] for text in texts]

    def encode_answers(
        self, texts: Sequence[str], leads: Sequence[str]
    ) -> list[tuple[list[int], int]]:
        inside = [len(pieces(lead)) for lead in leads]
        return list(zip(self.encode_texts(texts), inside, strict=True))

    def _id(self, word: str) -> int:
        if word not in self.words:
            self.words.append(word)
        return self.words.index(word)


@dataclass(frozen=True)
class Fault:
    """One bad answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    """Close the connection without a word."""
    wait_s: float = 0.0


@dataclass
class OpenAiServer:
    """What the server does; tests change it as they go."""

    models: list[dict[str, Any]] = field(default_factory=lambda: [{"id": "fake", "created": 1}])
    vocabulary: Sequence[str] = VOCABULARY
    encoder: WordEncoder | None = None
    """Whose ids it understands."""
    key: str = ""
    """Asked for, if there is one."""
    chat_shape: bool = False
    """Completions, too, have log-probabilities in the shape of chats, as llama-server's."""
    echoes: bool = True
    least: int = 0
    """Fewest tokens that may be asked for."""
    slots: int | None = None
    """Prompts at once, if it tells, as llama-server does."""
    dictates: bool = False
    """Takes a bias on one token for an order, and reports what it was without, as llama-server."""
    leaks: bool = False
    """Reports it with the bias."""
    disobeys: bool = False
    shows_template: bool = False
    counts: bool = True
    """Answers tell their numbers of tokens."""
    answers_as: str = ""
    """The model that answers say they are of, if they do."""
    lists_most: int = 1000
    """Most likeliest tokens that it lists, whatever is asked for."""
    adds_choice: bool = False
    """Another choice comes before the first."""
    pages: dict[str, Any] = field(default_factory=dict)
    """Objects of its own interface, by path."""
    faults: list[Fault] = field(default_factory=list)
    """Given out one by one, before anything works."""
    replies: list[Any] = field(default_factory=list)
    """Objects given out one by one in place of answers."""
    slow: bool = False
    """Take longer over what came first, so that answers overtake each other."""
    at_once: int = 0
    """POSTs under way."""
    most_at_once: int = 0
    dies_after: int | None = None
    requests: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    """(path, body, headers with small letters) of all POSTs."""
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def name(self) -> str:
        return f"remote:{self.url}#fake"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [body for _, body, _ in self.requests]

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/apply-template" and self.shows_template:
            return 200, {"prompt": template(body["messages"])}
        if path == "/v1/chat/completions":
            return 200, self._finish(self._chat(body))
        if path == "/v1/completions":
            if body["max_tokens"] < self.least:
                return 400, {"error": {"message": f"max_tokens is below {self.least}"}}
            return 200, self._finish(self._complete(body))
        return 404, {"error": {"message": "no such page"}}

    def _finish(self, answer: dict[str, Any]) -> dict[str, Any]:
        if self.adds_choice:
            (choice,) = answer["choices"]
            answer["choices"] = [{**choice, "index": 1, "logprobs": None}, choice]
        return {**answer, "model": self.answers_as} if self.answers_as else answer

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = template(body["messages"])
        choice: dict[str, Any] = self._generated(prompt, body["max_tokens"])
        choice["message"] = {"role": "assistant", "content": choice.pop("text")}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [self._step(prompt, body["top_logprobs"])]}
        return {"choices": [choice], **self._usage(pieces(prompt), body)}

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = body["prompt"]
        if isinstance(prompt, list):
            assert self.encoder is not None
            tokens = [self.encoder.words[i] for i in prompt]
        else:
            tokens = pieces(prompt)
        text = "".join(tokens)
        choice = self._generated(text, body["max_tokens"])
        if body.get("echo") and self.echoes:
            before = ["".join(tokens[:i]) for i in range(len(tokens))]
            values: list[float | None] = [None]
            values += [logprob(b, t) for b, t in zip(before[1:], tokens[1:], strict=True)]
            if body["max_tokens"]:
                tokens, values = [*tokens, " more"], [*values, -1.0]
            choice["logprobs"] = {"tokens": tokens, "token_logprobs": values}
        elif "logprobs" in body and self.dictates:
            choice["logprobs"] = {"content": [self._dictated(text, body)]}
        elif "logprobs" in body and self.chat_shape:
            choice["logprobs"] = {"content": [self._step(text, body["logprobs"])]}
        elif "logprobs" in body:
            top = self._likeliest(text, body["logprobs"])
            first = next(iter(top))
            choice["logprobs"] = {
                "tokens": [first],
                "token_logprobs": [top[first]],
                "top_logprobs": [top],
            }
        read = tokens[: len(prompt)] if isinstance(prompt, list) else pieces(prompt)
        return {"choices": [choice], **self._usage(read, body)}

    def _likeliest(self, context: str, most: int) -> dict[str, float]:
        found = next_tokens(context, self.vocabulary)
        return dict(list(found.items())[: min(most, self.lists_most)])

    def _step(self, context: str, top: int) -> dict[str, Any]:
        found = self._likeliest(context, top)
        listed = [{"token": token, "logprob": value} for token, value in found.items()]
        return {**listed[0], "top_logprobs": listed}

    def _dictated(self, context: str, body: dict[str, Any]) -> dict[str, Any]:
        assert self.encoder is not None
        [numbers] = self.encoder.encode_texts(["A B C D"])
        listed = sorted(
            ({"id": i, "logprob": logprob(context, self.encoder.words[i])} for i in numbers),
            key=lambda entry: -entry["logprob"],
        )
        [[token, bias]] = body.get("logit_bias", [[listed[0]["id"], 0]])
        value = 0.0 if bias and self.leaks else logprob(context, self.encoder.words[token])
        token += self.disobeys and bias > 0
        return {"id": token, "logprob": value, "top_logprobs": listed[: body["logprobs"]]}

    def _generated(self, prompt: str, most: int) -> dict[str, Any]:
        words = free_answer(prompt).split(" ")
        stopped = len(words) <= most
        text = " ".join(words[:most])
        return {"index": 0, "text": text, "finish_reason": "stop" if stopped else "length"}

    def _usage(self, read: Sequence[str], body: dict[str, Any]) -> dict[str, Any]:
        if not self.counts:
            return {}
        return {"usage": {"prompt_tokens": len(read), "completion_tokens": body["max_tokens"]}}


def free_answer(prompt: str) -> str:
    """Say what the model answers freely."""
    return f"The answer is {'ABCD'[int(4 * noise(prompt))]}"


class _Http(QuietServer):
    def __init__(self, state: OpenAiServer) -> None:
        super().__init__(_Handler)
        self.state = state
        self.lock = threading.Lock()


class _Handler(QuietHandler, BaseHTTPRequestHandler):
    server: _Http

    def do_GET(self) -> None:
        if not self._fails(0):
            found: dict[str, Any] | None = None
            if self.path == "/v1/models":
                found = {"data": self.server.state.models}
            elif self.path == "/props" and self.server.state.slots is not None:
                found = {"total_slots": self.server.state.slots}
            elif self.path in self.server.state.pages:
                found = self.server.state.pages[self.path]
            self._send(404 if found is None else 200, found or {})

    def do_POST(self) -> None:
        state = self.server.state
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.server.lock:
            place = len(state.requests)
            state.requests.append((self.path, body, headers))
            reply = state.replies.pop(0) if state.replies else None
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
        try:
            if self._fails(place):
                return
            if state.slow:
                time.sleep(0.02 * (5 - place % 5))
            found = (200, reply) if reply is not None else state.answer(self.path, body)
        finally:
            # Before the answer leaves: its reader may ask again at once.
            with self.server.lock:
                state.at_once -= 1
        self._send(*found)

    def _fails(self, place: int) -> bool:
        state = self.server.state
        with self.server.lock:
            fault = state.faults.pop(0) if state.faults else None
        dead = state.dies_after is not None and place >= state.dies_after
        if dead or (fault is not None and fault.drop):
            self.close_connection = True
            return True
        if fault is not None:
            time.sleep(fault.wait_s)
            self.write(fault.status, fault.body, fault.headers)
            return True
        given = self.headers.get("authorization", "")
        if state.key and given != f"Bearer {state.key}":
            self._send(401, {"error": {"message": f"wrong key: {given}"}})
            return True
        return False

    def _send(self, status: int, found: Any) -> None:
        self.write(status, json.dumps(found).encode(), {})


@contextmanager
def serving(state: OpenAiServer) -> Iterator[OpenAiServer]:
    """Run a server on a free port of this machine."""
    with running(_Http(state)) as state.port:
        yield state
