"""The few requests of OpenAI's API that are needed, their answers taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medtune.core.errors import RemoteError, TemplateError, UnknownModelError
from medtune.core.protocols import Message
from medtune.models.remote.http import NOT_OFFERED, Server
from medtune.models.remote.name import RemoteName

SHOWN = 20
"""Most models that an error lists."""

Prompt = str | list[int]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one prompt."""

    text: str
    finish: str | None
    """Why it ended: stop, length, ..."""
    logprobs: Any
    """As sent; read by `remote_logprobs`."""
    prompt_tokens: int | None
    """As the server counted them; None where it does not."""
    tokens: int | None
    """Generated ones, likewise."""


class ServedModel:
    """One model on a server.

    Attributes:
        entry: What the server's list of models says about it.

    Raises:
        RemoteError: The server cannot be reached, or does not list its models.
        UnknownModelError: It does not serve this model, or several where none is named.
    """

    def __init__(self, name: RemoteName, server: Server) -> None:
        self.url = name.url
        self.server = server
        self.entry = _find(name, server.get(f"{name.url}/models"))
        self._root = name.root
        self._shows_template: bool | None = None

    def check(self) -> None:
        """Ask for the list of models again.

        Raises:
            RemoteError: The server cannot be reached, or refuses.
        """
        self.server.get(f"{self.url}/models")

    def chat(self, messages: Sequence[Message], how: dict[str, Any]) -> Answer:
        """Let the server write the prompt and answer it.

        Raises:
            RemoteError: See `Server.post`; or the answer has not the usual shape.
        """
        body = {"model": self.entry["id"], "messages": _plain(messages), **how}
        return self._ask(f"{self.url}/chat/completions", body)

    def complete(self, prompt: Prompt, how: dict[str, Any]) -> Answer:
        """Let the server continue a prompt.

        Raises:
            RemoteError: See `chat`.
        """
        body = {"model": self.entry["id"], "prompt": prompt, **how}
        return self._ask(f"{self.url}/completions", body)

    def slots(self) -> int:
        """Ask how many prompts the server works on at once; only llama-server says so, else 1."""
        try:
            found = self.server.get(f"{self._root}/props").get("total_slots")
        except RemoteError as error:
            if error.status is None:
                raise
            return 1
        return found if isinstance(found, int) and found > 0 else 1

    def prompt(self, messages: Sequence[Message]) -> str | None:
        """Let the server show its prompt; only llama-server does.  None if it does not.

        Raises:
            RemoteError: The server fails, or its template does.
        """
        if self._shows_template is None:
            try:
                self._apply([Message("user", "?")])
            except TemplateError:
                self._shows_template = False
            except RemoteError as error:
                # A client's fault (no such page, wrong method, a key for pages unknown) is a no.
                if error.status is None or (error.status >= 500 and error.status != NOT_OFFERED):
                    raise
                self._shows_template = False
            else:
                self._shows_template = True
        return self._apply(messages) if self._shows_template else None

    def _apply(self, messages: Sequence[Message]) -> str:
        answer = self.server.post(f"{self._root}/apply-template", {"messages": _plain(messages)})
        if not isinstance(text := answer.get("prompt"), str):
            raise TemplateError(f"{self._root}/apply-template shows no prompt")
        return text

    def _ask(self, url: str, body: dict[str, Any]) -> Answer:
        found = self.server.post(url, body)
        try:
            choice = found["choices"][0]
            # Only chats have a message; a model that calls a tool or thinks may leave it empty.
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            usage = found.get("usage") or {}
            return Answer(
                text=str(text or ""),
                finish=choice.get("finish_reason"),
                logprobs=choice.get("logprobs"),
                prompt_tokens=usage.get("prompt_tokens"),
                tokens=usage.get("completion_tokens"),
            )
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise RemoteError(
                f"{url} answers with something else than OpenAI's API would: {str(found)[:80]}",
                expected="choices, each with a text or a message",
            ) from error


def _find(name: RemoteName, found: dict[str, Any]) -> dict[str, Any]:
    """Find a model in the list of those that are served."""
    entries = found.get("data")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("id"), str) for entry in entries
    ):
        raise RemoteError(
            f"{name.url}/models lists no models",
            expected="a server that speaks OpenAI's API",
            fix="check the URL: most servers want it to end in /v1",
        )
    # llama-server calls one model by several names.
    named = [e for e in entries if name.model in {e["id"], *(e.get("aliases") or ())}]
    if named or (not name.model and len(entries) == 1):
        return dict((named or entries)[0])
    ids = sorted(entry["id"] for entry in entries)
    shown = ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if ids[SHOWN:] else "")
    what = f"no {name.model!r}" if name.model else f"{len(ids)} models, and none is named"
    raise UnknownModelError(
        f"{name.url} serves {what}",
        expected=f"one of {shown}" if ids else "a server that has a model loaded",
        fix=f"name it: remote:{name.url}#MODEL",
    )


def _plain(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]
