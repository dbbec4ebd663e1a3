"""A decoder's layers as one OpenVINO graph, for CPUs.

OpenVINO's own exporters write graphs whose tokens see all before them; a row of medtune's holds
several answers that must not see each other.  So the graph is written here, with a mask, positions
and a beginning from outside, and everything around it (sharing, scoring, the head) stays as it is.
Weights are those of the packed file, taken where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medtune.core.compress import Scheme
from medtune.core.errors import ModelError

GROUP = 64
"""Channels of a token that share a scale, where weights are in int8."""
DYNAMIC: tuple[Scheme, ...] = ("openvino-int8",)
"""Schemes whose products are in int8."""


class OpenVinoLayers(nn.Module):
    """All layers; takes the place of `decoder.Layers`.

    Args:
        config: See `read_config`.
        state: A file's weights, in fp16, or in int8 with a scale for each output channel.
        scheme: By which they were packed.

    Raises:
        ModelError: OpenVINO is not installed.
    """

    def __init__(self, config: Any, state: dict[str, Tensor], scheme: Scheme) -> None:
        super().__init__()
        self._engine = _engine()
        self._scheme = scheme
        self._depth, self._groups = config.num_hidden_layers, config.num_key_value_heads
        self._width = config.head_dim
        self._state = state  # the graph's constants lie in it
        self._graph = graph(config, state)
        self._request: Any = None
        self._threads = 0

    @property
    def rounding(self) -> float:
        """How far two ways to one number may part, relatively; see `head.rounding`."""
        return 0.1 if self._scheme in DYNAMIC else 4 * torch.finfo(torch.bfloat16).eps

    def forward(
        self,
        x: Tensor,
        where: tuple[Tensor, Tensor],
        mask: Tensor | None,
        past: Any,
        **others: Any,
    ) -> Tensor:
        """Map `[batch, position, hidden]` to the same, on the CPU in fp32.

        A beginning that is read into an empty cache is kept there; what follows one is not.
        """
        del others
        rows = len(x)
        if mask is None:
            assert past is None or not past.layers, "rows behind a beginning bring their mask"
            lowest = torch.finfo(x.dtype).min
            mask = torch.full((x.shape[1], x.shape[1]), lowest).triu_(1)[None, None]
        kept = past.layers if past is not None else []
        nothing = np.empty((rows, self._groups, 0, self._width), np.float32)
        before = [_array(t) for layer in kept for t in (layer.keys, layer.values)]
        given = [_array(t) for t in (x, mask, *(turn.unsqueeze(1) for turn in where))]
        found = self._compiled().infer(
            [*given, *(before or [nothing] * (2 * self._depth))],
            share_inputs=True,
            share_outputs=True,
        )
        # What the engine gives is overwritten by its next pass.
        if past is not None and not kept:
            for at in range(self._depth):
                keys, values = (found[1 + 2 * at + i].copy() for i in (0, 1))
                past.update(torch.from_numpy(keys), torch.from_numpy(values), at)
        return torch.from_numpy(found[0].copy())

    def _compiled(self) -> Any:
        """Find the graph compiled for as many threads as torch uses."""
        threads = torch.get_num_threads()
        if self._threads != threads:
            self._request = None  # its memory goes first
            settings = {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if self._scheme in DYNAMIC else 0,
                **({} if _multiplies_bf16() else {"INFERENCE_PRECISION_HINT": "f32"}),
            }
            compiled = self._engine.compile_model(self._graph, "CPU", settings)
            self._request, self._threads = compiled.create_infer_request(), threads
        return self._request


def graph(config: Any, state: dict[str, Tensor]) -> Any:
    """Write a Llama-like decoder, from embeddings to what goes into the last norm.

    Its inputs are x `[batch, token, hidden]`, an additive mask `[batch or 1, 1, token, before +
    token]`, cosines and sines `[batch or 1, 1, token, width]`, and for each layer the keys and
    values before, `[batch, group, before, width]`.  Its outputs are x, and each layer's keys and
    values with those before.
    """
    from openvino import Model, opset15

    ops: Any = opset15
    write = _Writer(ops, state)
    heads, groups, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    first = ops.parameter([-1, -1, config.hidden_size], np.float32)
    mask = ops.parameter([-1, 1, -1, -1], np.float32)
    cos, sin = (ops.parameter([-1, 1, -1, width], np.float32) for _ in range(2))
    inputs, kept = [first, mask, cos, sin], []
    x = first
    for at in range(config.num_hidden_layers):
        name = f"model.layers.{at}."
        seen = write.norm(x, f"{name}input_layernorm", config.rms_norm_eps)
        query, key, value = (
            write.split(write.dense(seen, f"{name}self_attn.{one}_proj"), count, width)
            for one, count in (("q", heads), ("k", groups), ("v", groups))
        )
        before = [ops.parameter([-1, groups, -1, width], np.float32) for _ in range(2)]
        inputs += before
        key = ops.concat([before[0], write.turn(key, cos, sin)], 2)
        value = ops.concat([before[1], value], 2)
        kept += [key, value]
        # The heads of a group lie under each other, as in `attend`.
        query = write.shape(write.turn(query, cos, sin), [0, groups, -1, width])
        scaled = ops.multiply(key, write.number(width**-0.5))
        scores = write.unfold(ops.matmul(query, scaled, False, True), heads)
        weights = write.unfold(ops.softmax(ops.add(scores, mask), -1), groups)
        mixed = write.shape(ops.matmul(weights, value, False, False), [0, heads, -1, width])
        mixed = write.shape(ops.transpose(mixed, write.numbers([0, 2, 1, 3])), [0, 0, -1])
        x = ops.add(x, write.dense(mixed, f"{name}self_attn.o_proj"))
        seen = write.norm(x, f"{name}post_attention_layernorm", config.rms_norm_eps)
        gate, up = (write.dense(seen, f"{name}mlp.{one}_proj") for one in ("gate", "up"))
        x = ops.add(x, write.dense(ops.multiply(ops.swish(gate), up), f"{name}mlp.down_proj"))
    return Model([x, *kept], inputs)


class _Writer:
    """The steps of a graph that occur more than once."""

    def __init__(self, ops: Any, state: dict[str, Tensor]) -> None:
        self._ops, self._state = ops, state

    def number(self, value: float) -> Any:
        return self._ops.constant(np.float32(value))

    def numbers(self, values: Sequence[int]) -> Any:
        return self._ops.constant(np.array(values, np.int64))

    def shape(self, x: Any, shape: Sequence[int]) -> Any:
        """Reshape; 0 keeps a side."""
        return self._ops.reshape(x, self.numbers(shape), special_zero=True)

    def unfold(self, scores: Any, heads: int) -> Any:
        """Map `[batch, any, any, key]` to `[batch, heads, rest, key]`."""
        keys = self._ops.gather(
            self._ops.shape_of(scores), self.numbers([3]), self._ops.constant(np.int64(0))
        )
        shape = self._ops.concat([self.numbers([0, heads, -1]), keys], 0)
        return self._ops.reshape(scores, shape, special_zero=True)

    def split(self, x: Any, heads: int, width: int) -> Any:
        """Map `[batch, token, head * width]` to `[batch, head, token, width]`."""
        split = self.shape(x, [0, 0, heads, width])
        return self._ops.transpose(split, self.numbers([0, 2, 1, 3]))

    def turn(self, x: Any, cos: Any, sin: Any) -> Any:
        """Rotate the two halves of every head against each other."""
        halves = self._ops.split(x, self._ops.constant(np.int64(3)), 2)
        minus = self._ops.multiply(halves.output(1), self.number(-1))
        turned = self._ops.concat([minus, halves.output(0)], 3)
        return self._ops.add(self._ops.multiply(x, cos), self._ops.multiply(turned, sin))

    def norm(self, x: Any, name: str, epsilon: float) -> Any:
        """Divide by the root of the mean square, and weigh."""
        square = self._ops.power(x, self.number(2))
        mean = self._ops.reduce_mean(square, self.numbers([-1]), keep_dims=True)
        root = self._ops.sqrt(self._ops.add(mean, self.number(epsilon)))
        scaled = self._ops.multiply(x, self._ops.divide(self.number(1), root))
        return self._ops.multiply(scaled, self._exact(f"{name}.weight"))

    def dense(self, x: Any, name: str) -> Any:
        """Multiply by a layer's weights."""
        product = self._ops.matmul(x, self._weight(name), False, True)
        if f"{name}.bias" in self._state:
            product = self._ops.add(product, self._exact(f"{name}.bias"))
        return product

    def _weight(self, name: str) -> Any:
        array = self._state[f"{name}.weight"].numpy()
        weight = self._ops.convert(self._ops.constant(array, shared_memory=True), "f32")
        if (scale := self._state.get(f"{name}.scale")) is None:
            return weight
        scales = self._ops.constant(scale.float().view(-1, 1).numpy())
        return self._ops.multiply(weight, scales)

    def _exact(self, name: str) -> Any:
        return self._ops.constant(self._state[name].float().numpy())


def _engine() -> Any:
    try:
        from openvino import Core
    except ImportError as error:
        raise ModelError(
            "a model packed as openvino needs OpenVINO, which is not installed",
            fix="pip install 'medtune[openvino]', or pack it as int8",
        ) from error
    return Core()


def _multiplies_bf16() -> bool:
    """Tell whether bf16 products are faster than fp32's here, as `choose_dtype` measures it."""
    from medtune.models.device import choose_dtype

    return choose_dtype("auto", torch.device("cpu")) is torch.bfloat16


def _array(values: Tensor) -> Any:
    return values.contiguous().numpy()
