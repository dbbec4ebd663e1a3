"""Render prompts with Llama 3's headers, as in the seed notebook's evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from medtune.core.protocols import Message
from medtune.models.chat_encoder import ChatEncoder


class Llama3Headers(ChatEncoder):
    """A chat encoder with Llama 3's headers, for a model that was not trained on them.

    Answers end as in the model's own template, on which it was trained.
    """

    def render(self, messages: Sequence[Message]) -> str:
        """Render the prompt as text, up to the start of the assistant's answer."""
        turns = (
            f"<|start_header_id|>{m.role}<|end_header_id|>\n\n{m.content}<|eot_id|>"
            for m in messages
        )
        return f"<|begin_of_text|>{''.join(turns)}<|start_header_id|>assistant<|end_header_id|>\n\n"
