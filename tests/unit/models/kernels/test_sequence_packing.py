from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.models.gradients import check_gradients
from torch import Tensor

from medtune.models.kernels.attention import attend
from medtune.models.kernels.sequence_packing import Layout

CPU = torch.device("cpu")
HEADS, GROUPS, WIDTH = 4, 2, 8
LAYER = SimpleNamespace(is_causal=True, num_key_value_groups=HEADS // GROUPS)


def test_a_layout_by_hand() -> None:
    # Prefix p q, then rows a b c and d: tokens p q a b c d.
    layout = Layout.from_lengths([3, 1], 2, CPU)
    assert (layout.prefix, layout.rows, layout.width) == (2, 2, 3)
    assert layout.spread.view(2, 3)[0].tolist() == [0, 1, 2]
    assert layout.spread.view(2, 3)[1, 0].item() == 3
    assert layout.collect.tolist() == [0, 1, 2, 3]
    assert layout.positions.tolist() == [[0, 1, 2, 3, 4, 2]]
    assert (layout.mask[0, 0] == 0).tolist() == [
        [True, True, True, False, False],
        [True, True, True, True, False],
        [True, True, True, True, True],
    ]


def test_a_tree_by_hand() -> None:
    # Prefix p, then a tree a(b(c) d) and a single row e f: tokens p a b c d e f.
    layout = Layout.from_lengths([4, 2], 1, CPU, torch.tensor([4, 3, 3, 4, 2, 2]))
    assert layout.positions.tolist() == [[0, 1, 2, 3, 2, 1, 2]]
    assert layout.mask.shape == (2, 1, 4, 5)
    assert (layout.mask[0, 0] == 0).tolist() == [
        [True, True, False, False, False],
        [True, True, True, False, False],
        [True, True, True, True, False],
        [True, True, False, False, True],  # d sees its parent a, not its sibling's branch
    ]
    single = (layout.mask[1, 0] == 0).tolist()
    assert single[:2] == [[True, True, False, False, False], [True, True, True, False, False]]
    # Without a prefix a pad still sees itself: a row of nothing has no softmax.
    bare = Layout.from_lengths([3, 1], 0, CPU, torch.tensor([3, 2, 3, 1]))
    assert bool((bare.mask == 0).any(-1).all())


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 4))
def test_what_is_spread_is_collected_again(lengths: list[int], prefix: int) -> None:
    layout = Layout.from_lengths(lengths, prefix, CPU)
    tokens = torch.arange(sum(lengths) * HEADS * 2.0).view(1, HEADS, -1, 2)
    rows = layout.to_padded(tokens)
    assert rows.shape == (len(lengths), HEADS, max(lengths), 2)
    assert torch.equal(layout.to_packed(rows.transpose(1, 2)), tokens.transpose(1, 2))
    assert len(layout.positions[0]) == prefix + sum(lengths)


def packed(lengths: list[int], prefix: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(sum(lengths) + prefix)
    length = prefix + sum(lengths)

    def some(heads: int) -> Tensor:
        return torch.randn(1, heads, length, WIDTH, requires_grad=True)

    return some(HEADS), some(GROUPS), some(GROUPS)


def alone(states: tuple[Tensor, Tensor, Tensor], lengths: list[int], prefix: int) -> Tensor:
    """Attend row by row, each behind the prefix, and lay the results end to end."""

    def read(places: list[int]) -> Tensor:
        query, key, value = (t[:, :, places] for t in states)
        return attend(LAYER, query, key, value, None)[0]

    opening = list(range(prefix))
    pieces = [read(opening)] if opening else []
    start = prefix
    for length in lengths:
        own = read([*opening, *range(start, start + length)])
        pieces.append(own[:, prefix:])
        start += length
    return torch.cat(pieces, dim=1)


@pytest.mark.parametrize(
    ("lengths", "prefix"),
    [([4], 0), ([1, 1], 0), ([2, 5, 1], 0), ([4], 1), ([2, 5, 1], 1), ([3, 3], 3), ([2, 5, 1], 3)],
)
def test_a_packed_batch_attends_as_its_rows_do_alone(lengths: list[int], prefix: int) -> None:
    states, others = packed(lengths, prefix), packed(lengths, prefix)
    layout = Layout.from_lengths(lengths, prefix, CPU)
    query, key, value = states
    found, _ = attend(LAYER, query, key, value, None, layout=layout)
    wanted = alone(others, lengths, prefix)
    assert torch.allclose(found, wanted, atol=1e-6)
    check_gradients(found, wanted, zip(states, others, strict=True), atol=1e-5)


def test_a_row_sees_no_other_row() -> None:
    lengths, prefix = [3, 4, 2], 2
    query, key, value = (t.detach() for t in packed(lengths, prefix))
    layout = Layout.from_lengths(lengths, prefix, CPU)
    before, _ = attend(LAYER, query, key, value, None, layout=layout)
    value[:, :, 5:9] += 100.0  # the second row
    after, _ = attend(LAYER, query, key, value, None, layout=layout)
    changed = (before != after).flatten(2).any(-1)[0].tolist()
    assert changed == [False] * 5 + [True] * 4 + [False] * 2
