"""Training batches as flat arrays: the ids, labels and masks of all rows, end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medtune.core.errors import DataError

Ints = NDArray[np.int64]
_LARGEST = 2**53
"""Largest number up to which floating point numbers are whole ones exactly."""
_LARGEST_BFLOAT16 = 256
IGNORED = -100
"""Label that the loss ignores."""
_IDS = ("input_ids", "tokens", "token_ids")
_LABELS = ("labels", "label_ids", "targets")
_MASKS = ("loss_mask", "completion_mask", "assistant_masks", "assistant_mask")
"""Columns that say by 1 what is supervised."""
_SEGMENTS = ("seq_idx", "segment_ids", "sequence_ids", "document_ids", "sequence_id")
_LENGTHS = "seq_lengths"
_BOUNDARIES = ("cu_seq_lens_q", "cu_seqlens", "cu_seqlens_q")
_EXPECTED = (
    'an object with "input_ids" and "labels", lists of integers or lists of such lists, as a '
    "collator makes them"
)


@dataclass(frozen=True)
class TokenRows:
    """Rows of token ids, end to end."""

    ids: Ints
    labels: Ints
    starts: Ints
    """`[row + 1]`, where each row begins; the last entry is the number of positions."""
    batches: Ints
    """`[row]`, the number of each row's batch, from 0."""
    places: list[str]
    """`[batch]`, such as "line 3"."""
    attention: Ints | None
    positions: Ints | None
    segments: Ints | None
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return len(self.starts) - 1

    @property
    def row_of(self) -> Ints:
        """Return the row of every position."""
        return np.repeat(np.arange(self.count), np.diff(self.starts))

    def find_rows(self, places: ArrayLike) -> Ints:
        """Return the rows of positions."""
        return np.searchsorted(self.starts, places, "right") - 1

    def locate(self, row: int) -> str:
        """Return where a row is, for messages."""
        batch = int(self.batches[row])
        first = int(np.searchsorted(self.batches, batch))
        alone = row == first and (row + 1 == self.count or self.batches[row + 1] != batch)
        return self.places[batch] + ("" if alone else f", row {row - first + 1}")


@dataclass
class RowCollector:
    """Collects batches into `TokenRows`."""

    _parts: dict[str, list[Ints | None]] = field(
        default_factory=lambda: {
            n: [] for n in ("ids", "labels", "attention", "positions", "segments")
        }
    )
    _lengths: list[int] = field(default_factory=list)
    _batches: list[int] = field(default_factory=list)
    _places: list[str] = field(default_factory=list)
    _notes: dict[str, None] = field(default_factory=dict)

    def add(self, batch: Any, place: str) -> None:
        """Add a batch, or one example.

        Raises:
            DataError: It has no ids or no labels, or values that are no integers or of different
                lengths.
        """
        if not isinstance(batch, Mapping):
            if not (hasattr(batch, "keys") and hasattr(batch, "__getitem__")):
                raise DataError(f"{place}: {type(batch).__name__}", expected=_EXPECTED)
            batch = {key: batch[key] for key in batch.keys()}  # noqa: SIM118 - not a Mapping
        if {"tokens", "labels", "loss_mask"} <= set(batch):
            batch = _shift_back(batch, place)
        ids = _read_rows(batch, _first_key(batch, _IDS, place), place)
        lengths = [len(row) for row in ids]
        if not sum(lengths):
            raise DataError(f"{place}: no token ids", expected=_EXPECTED)
        labels = self._read_labels(batch, ids, place)
        flat: dict[str, Ints | None] = {
            "ids": np.concatenate(ids),
            "labels": np.concatenate(labels),
            "attention": self._read_optional(batch, ("attention_mask",), lengths, place),
            "positions": self._read_optional(batch, ("position_ids",), lengths, place),
            "segments": self._read_segments(batch, lengths, place),
        }
        self._append(flat, lengths, place)

    def _append(self, flat: Mapping[str, Ints | None], lengths: list[int], place: str) -> None:
        for name, parts in self._parts.items():
            parts.append(flat.get(name))
        kept = [length for length in lengths if length]
        self._batches += [len(self._places)] * len(kept)
        self._places.append(place)
        self._lengths += kept

    def _read_labels(self, batch: Mapping[str, Any], ids: list[Ints], place: str) -> list[Ints]:
        key = next((key for key in _LABELS if batch.get(key) is not None), None)
        mask_key = next((key for key in _MASKS if batch.get(key) is not None), None)
        if key is None and mask_key is None:
            raise DataError(
                f"{place}: no labels, only {', '.join(map(str, batch))}",
                expected=_EXPECTED,
                fix="write what the trainer's collator returns, not what it is given",
            )
        labels = ids if key is None else _read_rows(batch, key, place)
        _check_lengths(labels, ids, key or "", place)
        if mask_key is not None:
            masks = _read_rows(batch, mask_key, place)
            _check_lengths(masks, ids, mask_key, place)
            labels = [np.where(m > 0, row, IGNORED) for m, row in zip(masks, labels, strict=True)]
        return labels

    def _read_optional(
        self, batch: Mapping[str, Any], keys: Sequence[str], lengths: list[int], place: str
    ) -> Ints | None:
        key = next((key for key in keys if batch.get(key) is not None), None)
        if key is None:
            return None
        shape = np.shape(batch[key]) if hasattr(batch[key], "shape") else ()
        if len(shape) > 2:
            self._notes[f"{key} has {len(shape)} dimensions and was not examined"] = None
            return None
        rows = _read_rows(batch, key, place)
        if [len(row) for row in rows] != lengths:
            raise DataError(
                f"{place}: {key} has other lengths than the ids",
                expected="one value for each token id",
            )
        return np.concatenate(rows)

    def _read_segments(
        self, batch: Mapping[str, Any], lengths: list[int], place: str
    ) -> Ints | None:
        segments = self._read_optional(batch, _SEGMENTS, lengths, place)
        if segments is not None:
            return segments
        if batch.get(_LENGTHS) is not None:
            inner = _read_rows(batch, _LENGTHS, place)
            if [int(row.sum()) for row in inner] == lengths:
                return np.concatenate([np.repeat(np.arange(len(row)), row) for row in inner])
            self._note_boundaries(_LENGTHS)
        key = next((key for key in _BOUNDARIES if batch.get(key) is not None), None)
        if key is not None:
            sizes = np.diff(_as_array(batch[key], place, key).reshape(-1))
            if sizes.sum() == sum(lengths) and (sizes >= 0).all():
                return np.repeat(np.arange(len(sizes)), sizes)
            self._note_boundaries(key)
        return None

    def _note_boundaries(self, key: str) -> None:
        self._notes[f"{key} does not add up to the number of ids and was not examined"] = None

    def build(self, source: str) -> TokenRows:
        """Build the rows.

        Raises:
            DataError: There are none.
        """
        if not self._lengths:
            raise DataError(f"{source} has no batch", expected=_EXPECTED)
        sizes = [len(part) for part in self._parts["ids"] if part is not None]
        return TokenRows(
            ids=_join(self._parts["ids"], sizes, 0),
            labels=_join(self._parts["labels"], sizes, IGNORED),
            starts=np.concatenate([[0], np.cumsum(self._lengths)]).astype(np.int64),
            batches=np.asarray(self._batches),
            places=self._places,
            attention=_join_optional(self._parts["attention"], sizes, 1),
            positions=_join_positions(self._parts["positions"]),
            segments=_join_optional(self._parts["segments"], sizes, 0),
            notes=tuple(self._notes),
        )


def _shift_back(batch: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Return a batch of Megatron, whose labels are the next tokens, as others write it."""
    names = ("tokens", "labels", "loss_mask")
    tokens, labels, masks = (_read_rows(batch, name, place) for name in names)
    _check_lengths(labels, tokens, "labels", place)
    _check_lengths(masks, tokens, "loss_mask", place)
    pairs = list(zip(tokens, labels, strict=True))
    if not all(
        len(t) and (t[1:] == row[:-1])[m[1:] > 0].all()
        for (t, row), m in zip(pairs, masks, strict=True)
    ):
        return batch
    shifted: dict[str, Any] = {
        "input_ids": [np.append(t, row[-1]) for t, row in pairs],
        "labels": [
            np.append(IGNORED, np.where(m > 0, row, IGNORED))
            for (_, row), m in zip(pairs, masks, strict=True)
        ],
    }
    if batch.get("position_ids") is not None:
        positions = _read_rows(batch, "position_ids", place)
        shifted["position_ids"] = [np.append(row, row[-1] + 1) for row in positions]
    return shifted


def _first_key(batch: Mapping[str, Any], keys: Sequence[str], place: str) -> str:
    for key in keys:
        if batch.get(key) is not None:
            return key
    raise DataError(
        f"{place}: no input_ids, only {', '.join(map(str, batch)) or 'nothing'}",
        expected=_EXPECTED,
        fix="write what the trainer's collator returns; texts have to be encoded first",
    )


def _read_rows(batch: Mapping[str, Any], key: str, place: str) -> list[Ints]:
    value = batch[key]
    if isinstance(value, (list, tuple)) and value and _is_nested(value):
        arrays = [_as_array(row, place, key) for row in value]
        if any(array.ndim != 1 for array in arrays):
            raise DataError(f"{place}: {key} has rows that are no lists", expected=_EXPECTED)
        return arrays
    array = _as_array(value, place, key)
    if array.ndim == 0 or array.ndim > 2:
        raise DataError(f"{place}: {key} has {array.ndim} dimensions", expected=_EXPECTED)
    return [array] if array.ndim == 1 else list(array)


def _is_nested(values: Sequence[Any]) -> bool:
    return any(isinstance(value, (list, tuple)) or np.ndim(value) > 0 for value in values)


def _as_array(value: Any, place: str, key: str) -> Ints:
    if hasattr(value, "detach"):  # a tensor of torch
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()  # numpy has no bfloat16
            if value.numel() and value.abs().max() > _LARGEST_BFLOAT16:
                raise DataError(
                    f"{place}: {key} is bfloat16, which rounds numbers above {_LARGEST_BFLOAT16}",
                    expected="integers",
                    fix="write ids and labels as int64",
                )
        value = value.numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{place}: {key} mixes lengths or kinds", expected=_EXPECTED) from error
    if array.size == 0 or array.dtype.kind in "bi":
        return array.astype(np.int64)
    if array.dtype.kind in "uf":
        whole = (np.abs(array) <= _LARGEST) & (array == np.round(array))
        if whole.all():
            return array.astype(np.int64)
        array = array[~whole]
    values = array.reshape(-1).tolist()
    strange = [one for one in values if not isinstance(one, int) or abs(one) > _LARGEST]
    raise DataError(
        f"{place}: {key} holds {repr([*strange, *values][0])[:60]}",
        expected=f"integers up to {_LARGEST:,}",
    )


def _check_lengths(rows: list[Ints], ids: list[Ints], key: str, place: str) -> None:
    found, expected = [len(row) for row in rows], [len(row) for row in ids]
    if found != expected:
        at = next((n for n, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), 0)
        raise DataError(
            f"{place}: {key} has {len(found)} rows, row {at + 1} of {found[at]}; the ids have "
            f"{len(expected)} rows, row {at + 1} of {expected[at]}",
            expected="one value for each token id",
        )


def _join(parts: Sequence[Ints | None], sizes: Sequence[int], missing: int) -> Ints:
    return np.concatenate(
        [
            np.full(size, missing) if part is None else part
            for part, size in zip(parts, sizes, strict=True)
        ]
    )


def _join_optional(parts: Sequence[Ints | None], sizes: Sequence[int], missing: int) -> Ints | None:
    return None if all(part is None for part in parts) else _join(parts, sizes, missing)


def _join_positions(parts: Sequence[Ints | None]) -> Ints | None:
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if len(given) == len(parts) else None
