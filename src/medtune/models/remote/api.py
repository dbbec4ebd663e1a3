"""Client of the OpenAI-compatible API: list models, chat, complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medtune.core.errors import RemoteError, TemplateError, UnknownModelError
from medtune.core.protocols import Message
from medtune.models.remote.http import NOT_OFFERED, Server
from medtune.models.remote.name import RemoteName

EXPECTED_MODERATION = "results, each with flagged and categories, true or false"
MAX_LISTED_MODELS = 20
"""Most models listed in an error message."""

Prompt = str | list[int]


@dataclass(frozen=True, slots=True)
class Answer:
    """Response to one prompt."""

    text: str
    finish: str | None
    """Finish reason: stop, length, ..."""
    logprobs: Any
    """Log-probabilities as sent; parsed by `models.remote.logprobs`."""
    prompt_tokens: int | None
    """Number of prompt tokens by the server; None if it does not say."""
    tokens: int | None
    """Number of generated tokens, likewise."""


class ServedModel:
    """One model on a server.

    Attributes:
        entry: Its entry in the server's list of models.
        root: Root URL of the server, for interfaces outside the OpenAI API.

    Raises:
        RemoteError: The server cannot be reached, or does not list its models.
        UnknownModelError: The server does not have this model, or has several and none is named.
    """

    def __init__(self, name: RemoteName, server: Server) -> None:
        self.url = name.url
        self.server = server
        entries = _list_entries(name, server.get(f"{name.url}/models"))
        self.entry = _find_entry(name, entries)
        self.root = name.root
        mine = _entry_names(self.entry)
        self._others = {other for e in entries for other in _entry_names(e)} - mine
        self._answers_as: str | None = None
        self._shows_template: bool | None = None

    @property
    def model_id(self) -> str:
        """Name of the model on its server."""
        return str(self.entry["id"])

    def check(self) -> None:
        """Check that the server is reachable, by its list of models.

        Raises:
            RemoteError: The server cannot be reached, or refuses.
        """
        self.server.get(f"{self.url}/models")

    def chat(self, messages: Sequence[Message], how: dict[str, Any]) -> Answer:
        """Request a chat completion, whose prompt the server renders.

        Raises:
            RemoteError: See `Server.post`; or the response has an unknown shape.
        """
        body = {"model": self.entry["id"], "messages": _message_dicts(messages), **how}
        return self._request_completion(f"{self.url}/chat/completions", body)

    def moderate(self, text: str) -> dict[str, bool]:
        """Request a moderation: return whether each category is flagged, and "flagged" itself.

        Raises:
            RemoteError: See `Server.post`; or the response has an unknown shape.
        """
        url = f"{self.url}/moderations"
        found = self.server.post(url, {"model": self.entry["id"], "input": text})
        try:
            result = found["results"][0]
            flags: dict[str, bool] = {**result["categories"], "flagged": result["flagged"]}
        except (KeyError, IndexError, TypeError) as error:
            raise _unknown_shape(url, found, EXPECTED_MODERATION) from error
        if not all(isinstance(is_flagged, bool) for is_flagged in flags.values()):
            raise _unknown_shape(url, found, EXPECTED_MODERATION)
        return flags

    def complete(self, prompt: Prompt, how: dict[str, Any]) -> Answer:
        """Request a completion of a prompt.

        Raises:
            RemoteError: See `chat`.
        """
        body = {"model": self.entry["id"], "prompt": prompt, **how}
        return self._request_completion(f"{self.url}/completions", body)

    def parallel_slots(self) -> int:
        """Return the number of parallel slots of a llama-server; 1 for other servers."""
        try:
            found = self.server.get(f"{self.root}/props").get("total_slots")
        except RemoteError as error:
            if error.status is None:
                raise
            return 1
        return found if isinstance(found, int) and found > 0 else 1

    def render_prompt(self, messages: Sequence[Message]) -> str | None:
        """Render a prompt with the server's template; None unless it is a llama-server.

        Raises:
            RemoteError: The server fails, or its template does.
        """
        if self._shows_template is None:
            try:
                self._apply_template([Message("user", "?")])
            except TemplateError:
                self._shows_template = False
            except RemoteError as error:
                # A 4xx status (no such page, wrong method, unknown key) means: not offered.
                if error.status is None or (error.status >= 500 and error.status != NOT_OFFERED):
                    raise
                self._shows_template = False
            else:
                self._shows_template = True
        return self._apply_template(messages) if self._shows_template else None

    def _apply_template(self, messages: Sequence[Message]) -> str:
        answer = self.server.post(
            f"{self.root}/apply-template", {"messages": _message_dicts(messages)}
        )
        if not isinstance(text := answer.get("prompt"), str):
            raise TemplateError(f"{self.root}/apply-template shows no prompt")
        return text

    def _request_completion(self, url: str, body: dict[str, Any]) -> Answer:
        found = self.server.post(url, body)
        self._check_model(found.get("model"))
        try:
            (choice,) = (c for c in found["choices"] if c.get("index", 0) == 0)
            # Only chats have a message; after a tool call or reasoning it may be empty.
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            usage = found.get("usage") or {}
            return Answer(
                text=str(text or ""),
                finish=choice.get("finish_reason"),
                logprobs=choice.get("logprobs"),
                prompt_tokens=usage.get("prompt_tokens"),
                tokens=usage.get("completion_tokens"),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise _unknown_shape(url, found, "one choice, with a text or a message") from error

    def _check_model(self, told: object) -> None:
        """Check that an answer is by the model that was asked, and by the same as before.

        A server may name it otherwise than in its list, such as by a date or a file.

        Raises:
            RemoteError: The answer is by another model.
        """
        if not isinstance(told, str) or not told:
            return
        asked, first = self.model_id, self._answers_as or told
        self._answers_as = first
        is_other = told in self._others and not told.startswith(asked)
        if is_other or told != first:
            raise RemoteError(
                f"{self.url}: asked for {asked!r}, {told!r} answers",
                expected=f"answers by one model, {(asked if is_other else first)!r}",
                fix="see whether somebody replaced the model, or a router chooses among several",
            )


def _list_entries(name: RemoteName, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the list of served models."""
    entries = found.get("data")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("id"), str) for entry in entries
    ):
        raise RemoteError(
            f"{name.url}/models lists no models",
            expected="a server that speaks OpenAI's API",
            fix="check the URL: most servers want it to end in /v1",
        )
    return entries


def _entry_names(entry: dict[str, Any]) -> set[str]:
    """Return the names of a served model."""
    return {entry["id"], *(entry.get("aliases") or ())}


def _find_entry(name: RemoteName, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Find a model in the list of served models."""
    # llama-server lists one model under several names; Ollama's tag is `latest` if none is named.
    asked = {name.model, f"{name.model}:latest"} if name.model else set()
    named = [e for e in entries if asked & _entry_names(e)]
    if named or (not name.model and len(entries) == 1):
        return dict((named or entries)[0])
    ids = sorted(entry["id"] for entry in entries)
    shown = ", ".join(ids[:MAX_LISTED_MODELS]) + (
        f" and {len(ids) - MAX_LISTED_MODELS} more" if ids[MAX_LISTED_MODELS:] else ""
    )
    what = f"no {name.model!r}" if name.model else f"{len(ids)} models, and none is named"
    raise UnknownModelError(
        f"{name.url} serves {what}",
        expected=f"one of {shown}" if ids else "a server that has a model loaded",
        fix=f"name it: remote:{name.url}#MODEL",
    )


def _unknown_shape(url: str, found: dict[str, Any], expected: str) -> RemoteError:
    return RemoteError(
        f"{url} answers with something else than OpenAI's API would: {str(found)[:80]}",
        expected=expected,
    )


def _message_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]
