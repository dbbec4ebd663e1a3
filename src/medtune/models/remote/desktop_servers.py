"""Recognize Ollama and LM Studio, which speak a part of OpenAI's API only.

Both list their models in no more detail than OpenAI does, but have interfaces of their own that
tell the weights' digest or quantization.  Neither takes token ids nor echoes a prompt, so that
texts cannot be scored; Ollama has log-probabilities of chats from 0.12.11 on, LM Studio has none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medtune.core.errors import RemoteError
from medtune.models.remote.api import ServedModel

BARE_FIELDS = {"id", "object", "created", "owned_by"}
"""Fields of a listed model on servers that tell no more than OpenAI; others are not asked."""
OLLAMA_LOGPROBS = (0, 12, 11)
"""First version of Ollama that gives log-probabilities of chats."""


@dataclass(frozen=True, slots=True)
class DesktopServer:
    """Ollama or LM Studio."""

    name: str
    """Name and version, for messages."""
    logprobs: str
    """Why it gives no log-probabilities; "" if it does."""
    identity: dict[str, Any] = field(default_factory=dict)
    """What it tells about the weights, for the fingerprint."""

    def refuse_texts(self, model: str) -> RemoteError:
        """Return the error for texts to be scored."""
        return RemoteError(
            f"{model}: {self.name} cannot score texts: it neither echoes a prompt nor takes tokens",
            expected="--method letter or --method generate",
            fix="take them, or open the model's own file: path:FILE.gguf (docs/remote.md)",
        )

    def refuse_tokenizer(self, model: str) -> RemoteError:
        """Return the error for a tokenizer in the model's name."""
        return RemoteError(
            f"{model}: {self.name} takes no token ids, so a tokenizer is of no use",
            fix=f"leave the tokenizer out: {model.rpartition('@')[0]}",
        )


def recognize_server(served: ServedModel) -> DesktopServer | None:
    """Recognize the server of a model; None if it is neither Ollama nor LM Studio."""
    if not set(served.entry) <= BARE_FIELDS:
        return None
    version = _ask(served, "/api/version").get("version")
    if isinstance(version, str):
        own = _find(_ask(served, "/api/tags").get("models"), "name", served.entry["id"])
        return DesktopServer(
            f"Ollama {version}",
            "" if _parse_version(version) >= OLLAMA_LOGPROBS else "it does from 0.12.11 on",
            {key: own[key] for key in ("digest",) if key in own},
        )
    own = _find(_ask(served, "/api/v0/models").get("data"), "id", served.entry["id"])
    if "quantization" in own or "compatibility_type" in own:
        told = ("publisher", "arch", "compatibility_type", "quantization")
        identity = {key: own[key] for key in told if key in own}
        return DesktopServer("LM Studio", "its API has none for chats", identity)
    return None


def _ask(served: ServedModel, path: str) -> dict[str, Any]:
    """Return the answer of a server's own interface; empty if it has none."""
    try:
        return served.server.get(f"{served.root}{path}")
    except RemoteError as error:
        if error.status is None and error.__cause__ is not None:
            raise  # the server is gone
        return {}


def _find(entries: Any, key: str, value: str) -> dict[str, Any]:
    listed = entries if isinstance(entries, list) else []
    return next((e for e in listed if isinstance(e, dict) and e.get(key) == value), {})


def _parse_version(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; a suffix such as -rc1 is ignored."""
    parts = version.partition("-")[0].split(".")
    return tuple(int(part) if part.isdecimal() else 0 for part in parts)
