"""A sentence encoder: one vector per text, the mean of its tokens' last hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medtune.core.errors import ModelError, UnknownModelError, first_line
from medtune.core.progress import Progress
from medtune.hub.progress_bars import restore_progress_bars
from medtune.models.device import choose_device, choose_dtype
from medtune.models.open_index import check_encoder_name
from medtune.models.sources import resolve_model
from medtune.retrieval.schema import EncoderSettings

MAX_TOKENS = 128
"""Longer texts are cut; the encoders that this was made for were trained with 128 to 256."""
BATCH = 64


class SentenceEncoder:
    """A transformer whose hidden states are averaged over the tokens (Reimers and Gurevych 2019).

    Args:
        settings: Source, fingerprint and dimensions.
        network: Encoder of transformers.
        tokenizer: Its tokenizer.
    """

    def __init__(self, settings: EncoderSettings, network: Any, tokenizer: Any) -> None:
        self._settings, self._network, self._tokenizer = settings, network, tokenizer

    @classmethod
    @restore_progress_bars()
    def load(cls, name: str, dtype: str = "auto") -> SentenceEncoder:
        """Load an encoder.

        Args:
            name: hub:ORG/NAME[@REVISION] or path:DIR.
            dtype: Precision of the weights.

        Raises:
            UnknownModelError: There is no such model, or it is no encoder.
            HubError: The Hub cannot be reached and the model is not in its cache.
        """
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        check_encoder_name(name)
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        source = resolve_model(name)
        device = choose_device()
        try:
            tokenizer = AutoTokenizer.from_pretrained(source.folder)
            network = AutoModel.from_pretrained(source.folder, dtype=choose_dtype(dtype, device))
            dimensions = int(network.config.hidden_size)
        except ModelError:  # it is a ValueError, too
            raise
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise UnknownModelError(
                f"{name} cannot be loaded: {first_line(error)}",
                expected="a sentence encoder in transformers' format",
            ) from error
        settings = EncoderSettings(
            source=name, fingerprint=source.fingerprint, dimensions=dimensions
        )
        return cls(settings, network.to(device).eval(), tokenizer)

    @property
    def settings(self) -> EncoderSettings:
        """Return the source, the fingerprint and the dimensions of the encoder."""
        return self._settings

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], progress: Progress) -> NDArray[np.float16]:
        """Return one vector of length 1 per text, `[text, dimension]`."""
        vectors = np.empty((len(texts), self._settings.dimensions), dtype=np.float16)
        # Texts of one length together: little of a batch is padding.
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        with progress.task("encode", len(texts)) as task:
            for first in range(0, len(order), BATCH):
                rows = order[first : first + BATCH]
                vectors[rows] = self._encode_batch([texts[row] for row in rows])
                task.advance(len(rows))
        return vectors

    def _encode_batch(self, texts: list[str]) -> NDArray[np.float32]:
        inputs = self._tokenizer(
            texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        ).to(self._network.device)
        states = self._network(**inputs).last_hidden_state.float()
        kept = inputs["attention_mask"].unsqueeze(-1)
        means = (states * kept).sum(1) / kept.sum(1).clamp(min=1)
        unit = torch.nn.functional.normalize(means, dim=-1)
        return np.asarray(unit.cpu().numpy())
