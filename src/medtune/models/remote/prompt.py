"""Build the prompts of a model on a server, with medtune's or the server's chat template."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medtune.core.errors import TemplateError, UnknownModelError, first_line
from medtune.core.progress import Progress
from medtune.core.protocols import Message, ScoreRequest
from medtune.models.gguf_file import find_gguf_path, load_gguf_tokenizer, read_gguf
from medtune.models.remote.api import Prompt, ServedModel
from medtune.models.sources import resolve_model

if TYPE_CHECKING:
    from medtune.models.chat_encoder import ChatEncoder

UNKNOWN_TEMPLATE = "(written by the server's own chat template, which is unknown here)"


class Prompts:
    """Prompt builder of one served model.

    Args:
        name: Model name in messages.
        served: The served model.
        encoder: Its chat template and tokenizer; None leaves both to the server.
    """

    def __init__(self, name: str, served: ServedModel, encoder: ChatEncoder | None) -> None:
        self.encoder = encoder
        self._name = name
        self._served = served
        # Fast tokenizers cannot be used by two threads at once.
        self._encoding = threading.Lock()

    def render_for_display(self, messages: Sequence[Message]) -> str:
        """Render a prompt for display; see `RemoteModel.render`."""
        if (text := self._render_if_known(messages)) is not None:
            return text
        lines = [f"{m.role}: {m.content}" for m in messages]
        return "\n".join([UNKNOWN_TEMPLATE, *lines, "assistant: "])

    def render_text(self, messages: Sequence[Message]) -> str:
        """Render a prompt as text for the completions endpoint.

        Raises:
            TemplateError: The chat template is unknown.
        """
        if (text := self._render_if_known(messages)) is not None:
            return text
        raise TemplateError(
            f"{self._name}: the prompt must be written here, and the server does not show its "
            "chat template",
            expected="the model's tokenizer, or a server with /apply-template (llama-server)",
            fix=f"name the tokenizer: {self._name}@hub:ORG/NAME, or @path:DIR",
        )

    def build_prompt(self, messages: Sequence[Message], lead: str = "") -> Prompt:
        """Build a prompt as ids if there is a tokenizer, else as text.

        Raises:
            TemplateError: See `render_text`.
        """
        if self.encoder is None:
            return self.render_text(messages) + lead
        return self.encode_prompt(messages, lead)

    def encode_prompt(self, messages: Sequence[Message], lead: str = "") -> list[int]:
        """Encode a prompt as ids."""
        assert self.encoder is not None, "ids need a tokenizer"
        text = self.encoder.render(messages)
        with self._encoding:
            pieces = self.encoder.encode_texts([text, lead] if lead else [text])
        return [token for piece in pieces for token in piece]

    def encode_answers(self, request: ScoreRequest) -> list[tuple[list[int], int]]:
        """Encode the answers of a request: their ids, and how many lie inside the lead."""
        assert self.encoder is not None, "ids need a tokenizer"
        turns = [request.lead + text for text in request.continuations]
        with self._encoding:
            return self.encoder.encode_answers(turns, [request.lead] * len(turns))

    def _render_if_known(self, messages: Sequence[Message]) -> str | None:
        if self.encoder is not None:
            return self.encoder.render(messages)
        return self._served.render_prompt(messages)


def load_encoder(name: str, progress: Progress | None = None) -> ChatEncoder:
    """Load a model's tokenizer and chat template, not its weights.

    Raises:
        UnknownModelError: There is no such model, or it has no tokenizer.
        TemplateError: It has no usable chat template.
    """
    from transformers import AutoTokenizer

    from medtune.models.chat_encoder import ChatEncoder

    if (path := find_gguf_path(name)) is not None:
        return ChatEncoder(load_gguf_tokenizer(read_gguf(path).path))
    source = resolve_model(name, progress, weights=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
    except (OSError, ValueError, KeyError) as error:
        raise UnknownModelError(
            f"the tokenizer of {name} cannot be loaded: {first_line(error)}",
            expected="a model in transformers' format",
        ) from error
    return ChatEncoder(tokenizer)
