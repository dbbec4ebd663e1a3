"""Another model's chat template, as the seed notebook's evaluation wrote it."""

from __future__ import annotations

from collections.abc import Sequence

from medtune.core.protocols import Message
from medtune.models.chat_encoder import ChatEncoder


class Llama3Headers(ChatEncoder):
    """Prompts with Llama 3's headers, for a model that never saw them.

    Answers end as the model's own template ends them: what it learned, it learned with that.
    """

    def render(self, messages: Sequence[Message]) -> str:
        """Write the prompt as text, up to where the assistant's answer begins."""
        turns = (
            f"<|start_header_id|>{m.role}<|end_header_id|>\n\n{m.content}<|eot_id|>"
            for m in messages
        )
        return f"<|begin_of_text|>{''.join(turns)}<|start_header_id|>assistant<|end_header_id|>\n\n"
