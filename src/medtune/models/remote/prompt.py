"""Who writes the prompt of a model behind a server: medtune, the server in the open, or unseen."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from medtune.core.errors import TemplateError, UnknownModelError
from medtune.core.progress import Progress
from medtune.core.protocols import Message, ScoreRequest
from medtune.models.remote.api import Prompt, ServedModel
from medtune.models.sources import resolve

if TYPE_CHECKING:
    from medtune.models.chat_encoder import ChatEncoder

UNKNOWN_TEMPLATE = "(written by the server's own chat template, which is unknown here)"


class Prompts:
    """Writes prompts for one served model.

    Args:
        name: The model's, for messages.
        served: The model.
        encoder: Its chat template and tokenizer; None leaves both to the server.
    """

    def __init__(self, name: str, served: ServedModel, encoder: ChatEncoder | None) -> None:
        self.encoder = encoder
        self._name = name
        self._served = served
        # Fast tokenizers refuse to be borrowed by two threads at once.
        self._encoding = threading.Lock()

    def shown(self, messages: Sequence[Message]) -> str:
        """Write a prompt for reading; see `RemoteModel.render`."""
        if (text := self._rendered(messages)) is not None:
            return text
        lines = [f"{m.role}: {m.content}" for m in messages]
        return "\n".join([UNKNOWN_TEMPLATE, *lines, "assistant: "])

    def text(self, messages: Sequence[Message]) -> str:
        """Write a prompt for the server to continue.

        Raises:
            TemplateError: Nothing says how.
        """
        if (text := self._rendered(messages)) is not None:
            return text
        raise TemplateError(
            f"{self._name}: the prompt must be written here, and the server does not show its "
            "chat template",
            expected="the model's tokenizer, or a server with /apply-template (llama-server)",
            fix=f"name the tokenizer: {self._name}@hub:ORG/NAME, or @path:DIR",
        )

    def prompt(self, messages: Sequence[Message], lead: str = "") -> Prompt:
        """Write a prompt as ids where there is a tokenizer, else as text.

        Raises:
            TemplateError: See `text`.
        """
        if self.encoder is None:
            return self.text(messages) + lead
        return self.ids(messages, lead)

    def ids(self, messages: Sequence[Message], lead: str = "") -> list[int]:
        """Write a prompt as ids."""
        assert self.encoder is not None, "ids need a tokenizer"
        text = self.encoder.render(messages)
        with self._encoding:
            pieces = self.encoder.ids([text, lead] if lead else [text])
        return [token for piece in pieces for token in piece]

    def turns(self, request: ScoreRequest) -> list[tuple[list[int], int]]:
        """Encode the answers of a request: ids of each, and how many lie inside the lead."""
        assert self.encoder is not None, "ids need a tokenizer"
        turns = [request.lead + text for text in request.continuations]
        with self._encoding:
            return self.encoder.answers(turns, [request.lead] * len(turns))

    def _rendered(self, messages: Sequence[Message]) -> str | None:
        if self.encoder is not None:
            return self.encoder.render(messages)
        return self._served.prompt(messages)


def load_encoder(name: str, progress: Progress | None = None) -> ChatEncoder:
    """Load a model's tokenizer and chat template, not its weights.

    Raises:
        UnknownModelError: Nothing goes by that name, or it has no tokenizer.
        TemplateError: It has no usable chat template.
    """
    from transformers import AutoTokenizer

    from medtune.models.chat_encoder import ChatEncoder

    source = resolve(name, progress, weights=False)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.folder)
    except (OSError, ValueError, KeyError) as error:
        raise UnknownModelError(
            f"the tokenizer of {name} cannot be loaded: {str(error).splitlines()[0]}",
            expected="a model in transformers' format",
        ) from error
    return ChatEncoder(tokenizer)
