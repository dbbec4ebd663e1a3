"""Describe a local model and render its prompts without loading its weights.

A step that is finished is found by these; only a step that has to run loads the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from medtune.core.errors import TemplateError
from medtune.core.experiment import RetrievalConfig
from medtune.core.prompt import PromptStyle, prompt_fingerprint
from medtune.core.protocols import Message
from medtune.core.records import ModelDescription
from medtune.hub.progress_bars import restore_progress_bars
from medtune.models.chat_encoder import ChatEncoder
from medtune.models.device import choose_device, precision_name
from medtune.models.light.decoder import supports_folder
from medtune.models.light.tokenizer import ChatTokenizer
from medtune.models.local.loader import translate_load_errors
from medtune.models.local.local_model import LocalModel
from medtune.models.memory import count_parameters
from medtune.models.sources import ModelSource
from medtune.models.weights_card import (
    check_prompt_hash,
    find_adapter_weights,
    hash_file_cached,
    read_adapter_card,
    read_optional_card,
    read_quantized_card,
)


@dataclass(frozen=True)
class UnloadedModel:
    """A local model, with or without an adapter, before its weights are loaded.

    Its description and its prompts come from the files beside the weights.  Where transformers
    counts the parameters of an architecture otherwise, or writes its prompts otherwise, they differ
    from those of the loaded model; a step is then not found by them, and the model is loaded.
    """

    source: ModelSource
    """A model with a folder."""
    dtype: str = "auto"
    attention: str = "auto"
    adapter: Path | None = None
    style: PromptStyle | None = None
    """The prompt style to be used, which is checked against the adapter's; None skips that."""
    light: bool = False
    """See `LocalModel.load`; an adapter needs transformers."""
    retrieval: RetrievalConfig | None = None
    """Passages of the prompts, checked with the style.  None is a closed book, which weights that
    were trained open book refuse; kind "none" is a closed book on purpose."""

    @restore_progress_bars()
    def load(self) -> LocalModel:
        """Load the model.

        Raises:
            ModelError: The model or the adapter cannot be used; see `LocalModel.load`.
        """
        light = self.light and self.adapter is None
        base = LocalModel.load(self.source, self.dtype, self.attention, light)
        read = read_adapter_card if self.adapter else read_optional_card
        card = read(self.adapter or self._folder)
        trained = card.retrieval if card is not None else None
        used = self._hash_prompt(base, trained) if self.style is not None else None
        if self.adapter is None:
            if card is not None and trained is not None and used is not None:
                check_prompt_hash(card, self._folder, used)
            return base
        from medtune.models.adapters import lora

        return lora.load_adapter(base, self.adapter, used)

    def _hash_prompt(self, base: LocalModel, trained: RetrievalConfig | None) -> str:
        """Hash the prompt; of a book that is closed on purpose, as if passages were as trained."""
        assert self.style is not None, "without a style there is no prompt to hash"
        closed_on_purpose = self.retrieval is not None and not self.retrieval.is_open_book
        shown = trained if closed_on_purpose else self.retrieval
        return prompt_fingerprint(self.style, base.render, shown and shown.prompt_settings)

    def describe(self) -> ModelDescription:
        """Describe the weights and the precision in which they will be loaded.

        Raises:
            ModelError: A card, the configuration or a file of weights cannot be read.
        """
        return self._description

    def render(self, messages: Sequence[Message]) -> str:
        """Render a prompt exactly as the model will read it."""
        return self._encoder.render(messages)

    @cached_property
    def _description(self) -> ModelDescription:
        folder, device = self._folder, choose_device()
        packed = read_quantized_card(folder)
        files = [*folder.glob("*.safetensors")]
        adapter = find_adapter_weights(self.adapter) if self.adapter is not None else None
        if adapter is not None:
            files.append(adapter)
        with translate_load_errors(self.source):
            return ModelDescription(
                source=self.source.name,
                fingerprint=self.source.fingerprint,
                adapter=hash_file_cached(adapter) if adapter is not None else None,
                parameters=(packed and packed.parameters) or count_parameters(folder, files),
                dtype=str(packed.scheme) if packed else precision_name(self.dtype, device),
                device=device.type,
            )

    @cached_property
    def _encoder(self) -> ChatEncoder:
        """Its chat template, read with transformers only if the light tokenizer cannot."""
        with translate_load_errors(self.source):
            if supports_folder(self._folder):
                with suppress(TemplateError):
                    return ChatEncoder(ChatTokenizer(self._folder))
            from transformers import AutoTokenizer

            return ChatEncoder(AutoTokenizer.from_pretrained(self._folder))

    @property
    def _folder(self) -> Path:
        assert self.source.folder is not None, "a fake has no weights to load"
        return self.source.folder
