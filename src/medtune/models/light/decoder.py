"""A Llama-like decoder on torch alone: all that a small model needs to score answers.

transformers runs every model, but to import it takes three seconds and 150 MB, which is more than a
packed model of this size takes itself.  The three kernels (norm, rotation, attention) are those
that medtune also puts into transformers' models; here stands how they follow each other.  Free
answers are still written by transformers, which is loaded at the first of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from medtune.core.schemas.compression import Scheme
from medtune.models.kernels.attention import attend
from medtune.models.kernels.rms_norm import RmsNorm
from medtune.models.kernels.rotary import rotate
from medtune.models.light.quantized_model import layer_of, table_of

KNOWN = ("llama", "qwen2")
"""transformers' model types that are built so."""
Take = Callable[[str], nn.Module]
"""Makes the dense layer of a name."""


@dataclass(slots=True)
class LayerCache:
    """Keys and values of one layer, `[batch, head, token, width]`."""

    keys: Tensor
    values: Tensor


class Cache:
    """What was read before.

    Args:
        pairs: Keys and values by layer.
    """

    def __init__(self, pairs: Sequence[tuple[Tensor, Tensor]] = ()) -> None:
        self.layers = [LayerCache(keys, values) for keys, values in pairs]

    def update(self, keys: Tensor, values: Tensor, at: int) -> tuple[Tensor, Tensor]:
        """Add tokens to a layer; return all of it."""
        if at == len(self.layers):
            self.layers.append(LayerCache(keys, values))
        else:
            kept = self.layers[at]
            kept.keys = torch.cat([kept.keys, keys], dim=2)
            kept.values = torch.cat([kept.values, values], dim=2)
        return self.layers[at].keys, self.layers[at].values


class Decoder(nn.Module):
    """A model with as much of a transformers model's face as scoring looks at.

    Args:
        folder: With config.json and the weights.
        file: Name of the weights; they are mapped into memory, not read.
        scheme: By which they were packed; None for weights as they were trained.
        dtype: Of everything that is not in integers.
        whole: Opens the same model by transformers, to write free answers.
    """

    def __init__(
        self,
        folder: Path,
        file: str,
        scheme: Scheme | None,
        dtype: torch.dtype,
        whole: Callable[[], Any],
    ) -> None:
        from safetensors.torch import load_file

        super().__init__()
        self.config = read_config(folder)
        self.dtype = dtype
        self._whole = whole
        state = load_file(folder / file)
        self._parameters_read = sum(tensor.numel() for tensor in state.values())
        take = partial(_layer, state, scheme=scheme, dtype=dtype)
        self.stack = DecoderStack(self.config, state, take, dtype)
        # A head that shares the table's weights was not written again.
        own = "lm_head.weight" in state
        self.head = take("lm_head" if own else "model.embed_tokens")

    def num_parameters(self) -> int:
        """Count the weights; of a packed model its card knows better."""
        return self._parameters_read

    def get_decoder(self) -> DecoderStack:
        """All but the head."""
        return self.stack

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.head

    def generate(self, **how: Any) -> Tensor:
        """Write tokens, by transformers; see there."""
        tokens: Tensor = self._written_by.generate(**how)
        return tokens

    @cached_property
    def _written_by(self) -> Any:
        return self._whole()


class DecoderStack(nn.Module):
    """Embedding, layers and the last norm."""

    def __init__(
        self, config: Any, state: dict[str, Tensor], take: Take, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            DecoderLayer(config, state, take, f"model.layers.{at}.", dtype)
            for at in range(config.num_hidden_layers)
        )
        name = "model.embed_tokens"
        self.table: nn.Module = (
            table_of(state, name, dtype)
            if f"{name}.scale" in state
            else nn.Embedding.from_pretrained(state[f"{name}.weight"].to(dtype))  # type: ignore[no-untyped-call]
        )
        self.norm = Norm(state["model.norm.weight"].to(dtype), config.rms_norm_eps)
        theta = config.rope_parameters["rope_theta"]
        powers = torch.arange(0, config.head_dim, 2).float() / config.head_dim
        self.register_buffer("turns", theta**-powers)

    turns: Tensor
    """`[width / 2]`: radians a token by which each pair of a head is rotated."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool = False,
        **others: Any,
    ) -> SimpleNamespace:
        """Read tokens, `[batch, position]`; see `AnswerHead.states`."""
        del use_cache  # a cache that is given is used
        x = self.table(input_ids)
        if position_ids is None:
            assert past_key_values is None or not past_key_values.layers, "positions go on"
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        angles = position_ids.unsqueeze(-1) * self.turns
        angles = torch.cat([angles, angles], dim=-1)
        where = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        for at, block in enumerate(self.blocks):
            x = block(x, where, attention_mask, past_key_values, at, **others)
        return SimpleNamespace(last_hidden_state=self.norm(x))


class DecoderLayer(nn.Module):
    """One layer: attention and a gated product, each behind a norm and beside a shortcut."""

    is_causal = True

    def __init__(
        self, config: Any, state: dict[str, Tensor], take: Take, path: str, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.width = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.query, self.key, self.value, self.out = (
            take(f"{path}self_attn.{name}_proj") for name in "qkvo"
        )
        self.gate, self.up, self.down = (
            take(f"{path}mlp.{name}_proj") for name in ("gate", "up", "down")
        )
        self.before, self.between = (
            Norm(state[f"{path}{name}_layernorm.weight"].to(dtype), config.rms_norm_eps)
            for name in ("input", "post_attention")
        )

    def forward(
        self,
        x: Tensor,
        where: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past: Cache | None,
        at: int,
        **others: Any,
    ) -> Tensor:
        """Map `[batch, position, hidden]` to the same.

        Args:
            x: Embeddings, or what the layer before made of them.
            where: Cosines and sines of every position, `[batch or 1, position, width]`.
            mask: `[batch or 1, 1, query, key]`, additive; None is causal.
            past: What was read before; this is added to it.
            at: Index of the layer.
            others: For the attention kernel.
        """
        heads = self.before(x)
        query, key, value = (
            layer(heads).unflatten(-1, (-1, self.width)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        query, key = rotate(query, key, *where)
        if past is not None:
            key, value = past.update(key, value, at)
        seen, _ = attend(self, query, key, value, mask, **others)
        x = x + self.out(seen.flatten(2))
        thought = self.between(x)
        gated = nn.functional.silu(self.gate(thought)).mul_(self.up(thought))
        added: Tensor = self.down(gated)
        return x + added


class Norm(nn.Module):
    """`RmsNorm` with its weight."""

    def __init__(self, weight: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., hidden]` to the same."""
        found: Tensor = RmsNorm.apply(x, self.weight, self.epsilon)  # type: ignore[no-untyped-call]
        return found


def _layer(
    state: dict[str, Tensor], path: str, scheme: Scheme | None, dtype: torch.dtype
) -> nn.Module:
    """Make a dense layer of what stands under a name: integers, or weights as they were trained."""
    if scheme is not None and f"{path}.scale" in state:
        return layer_of(state, path, scheme)
    weight, bias = state[f"{path}.weight"].to(dtype), state.get(f"{path}.bias")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.to(dtype), requires_grad=False)
    return layer


def read_config(folder: Path) -> Any:
    """Read config.json; what a model of this kind may leave out is filled in."""
    found = json.loads((folder / "config.json").read_text())
    width = found["hidden_size"] // found["num_attention_heads"]
    found["head_dim"] = found.get("head_dim") or width
    return SimpleNamespace(**found)


def is_known(folder: Path) -> bool:
    """Tell whether `Decoder` computes what the model in a folder does, and finds it there."""
    if not (folder / "tokenizer.json").is_file():
        return False
    config = json.loads((folder / "config.json").read_text())
    rope = config.get("rope_parameters") or {}
    return (
        config.get("model_type") in KNOWN
        and rope.get("rope_type", "default") == "default"
        and "rope_theta" in rope
        and config.get("hidden_act") == "silu"
        and not config.get("use_sliding_window")
        and "quantization_config" not in config
    )
