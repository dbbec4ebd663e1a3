"""Split rows of training batches into examples: without padding, one per packed document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medtune.batch_audit.chat_markup import Turn
from medtune.batch_audit.token_rows import Ints, TokenRows
from medtune.batch_audit.tokenizer_facts import TokenizerFacts

Flags = NDArray[np.bool_]
_FIXED_LENGTH = 64
"""Multiples of it are taken for a maximal length even if a single row has it."""


@dataclass(frozen=True)
class PaddedRows:
    """Rows with the places of their padding."""

    rows: TokenRows
    supervised: Flags
    """`[position]`, whether the loss covers the token there, labels shifted back if need be."""
    reliable: Flags
    """`[row]`, whether the labels are the inputs."""
    left: Ints
    """`[row]`, padding before the text."""
    right: Ints

    @cached_property
    def text_lengths(self) -> Ints:
        """Return the lengths of the rows without padding."""
        return np.diff(self.rows.starts) - self.left - self.right

    @cached_property
    def limit(self) -> int | None:
        """Return the length at which rows were cut; None if none was."""
        longest = int(self.text_lengths.max())
        several = np.count_nonzero(self.text_lengths == longest) > 1
        return longest if several or longest % _FIXED_LENGTH == 0 else None


@dataclass
class TrainingExample:
    """One example of a row, with its text and its turns."""

    row: int
    start: int
    """Index of its first token among all positions."""
    ids: Ints
    supervised: Flags
    reliable: bool
    opens_row: bool
    closes_row: bool
    at_limit: bool
    """Whether its row has the length at which rows were cut."""
    text: bytes
    ends: Ints
    """`[token]`, where each token ends in `text`."""
    turns: list[Turn]

    @cached_property
    def begins(self) -> Ints:
        """Return where each token begins in the text."""
        return np.concatenate([[0], self.ends[:-1]]).astype(np.int64)

    def tokens(self, start: int, stop: int) -> slice:
        """Return the tokens that begin within a part of the text."""
        first, last = np.searchsorted(self.begins, [start, stop])
        return slice(int(first), int(last))


def find_padding(
    rows: TokenRows, facts: TokenizerFacts, supervised: Flags, reliable: Flags
) -> PaddedRows:
    """Find the padding of every row.

    A pad token that also ends a text counts as the ending where it is the first after an open
    answer, and as padding after that.
    """
    ids, starts = rows.ids, rows.starts
    changed = np.ones(len(ids), bool)
    changed[1:] = ids[1:] != ids[:-1]
    changed[starts[:-1]] = True
    runs = np.flatnonzero(changed)
    bounds = np.append(runs, len(ids))
    first, last = starts[:-1], starts[1:] - 1
    head = bounds[np.searchsorted(runs, first, "right")] - first
    tail = last - runs[np.searchsorted(runs, last, "right") - 1] + 1
    unattended = _count_unattended(rows)
    trusted = _attention_is_trusted(rows, facts, head, tail)
    left, right = np.zeros_like(first), np.zeros_like(first)
    for n in range(rows.count):
        zeros = (0, 0) if unattended is None else (int(unattended[0][n]), int(unattended[1][n]))
        start, stop = int(starts[n]), int(starts[n + 1])
        if _is_padding(int(ids[start]), int(head[n]), zeros[0], facts, opening=True):
            left[n] = head[n]
        if left[n] == stop - start:
            continue
        if not _is_padding(int(ids[stop - 1]), int(tail[n]), zeros[1], facts, opening=False):
            continue
        at = stop - int(tail[n])
        right[n] = tail[n]
        unseen = trusted and rows.attention is not None and rows.attention[at] == 0
        taught = bool(supervised[at]) and not supervised[at + 1 : stop].all()
        if int(ids[at]) in facts.endings and not _is_closed(rows.ids, start, at, facts):
            right[n] -= taught or not unseen
    return PaddedRows(rows, supervised, reliable, left, right)


def _is_padding(token: int, run: int, zeros: int, facts: TokenizerFacts, opening: bool) -> bool:
    """Return whether a run of one token at an end of a row is padding."""
    if zeros and (run > 1 or token == facts.pad or token in facts.special or token == 0):
        return True
    if token == facts.pad:
        return run > 1 or token != facts.begin or not opening
    known = token in facts.special or token == facts.eos or token == 0
    return known and run > 2


def follows_ending(example: TrainingExample, place: int, facts: TokenizerFacts) -> bool:
    """Return whether the text before a token of an example has ended."""
    return _is_closed(example.ids, 0, place, facts)


def _is_closed(ids: Ints, start: int, at: int, facts: TokenizerFacts) -> bool:
    """Return whether the text before a position has its ending, white space left aside."""
    while at > start:
        at -= 1
        if int(ids[at]) in facts.endings:
            return True
        if facts.read_bytes([int(ids[at])]).strip():
            return False
    return False


def _count_unattended(rows: TokenRows) -> tuple[Ints, Ints] | None:
    """Count the zeros of the attention mask at the beginning and at the end of every row."""
    if rows.attention is None:
        return None
    seen = np.flatnonzero(rows.attention)
    size = len(rows.ids)
    bounds = np.concatenate([[-1], seen, [size]])
    first, stop = rows.starts[:-1], rows.starts[1:]
    left = np.minimum(bounds[np.searchsorted(bounds, first)], stop) - first
    right = stop - 1 - np.maximum(bounds[np.searchsorted(bounds, stop) - 1], first - 1)
    return left, right


def _attention_is_trusted(rows: TokenRows, facts: TokenizerFacts, head: Ints, tail: Ints) -> bool:
    """Return whether the attention mask tells padding from endings.

    It does not if it is 0 on an ending in the middle of a row: then it was computed from the ids.
    """
    if rows.attention is None:
        return True
    inner = rows.attention == 0
    place = np.arange(len(rows.ids)) - np.repeat(rows.starts[:-1], np.diff(rows.starts))
    size = np.repeat(np.diff(rows.starts), np.diff(rows.starts))
    inner &= place >= np.repeat(head, np.diff(rows.starts))
    inner &= place < size - np.repeat(tail, np.diff(rows.starts))
    return not bool(np.isin(rows.ids[inner], list(facts.endings)).any())


def split_examples(padded: PaddedRows, facts: TokenizerFacts) -> Iterator[TrainingExample]:
    """Split rows into examples where position ids restart or the segment changes."""
    rows = padded.rows
    breaks = find_breaks(rows)
    places = np.flatnonzero(breaks)
    sizes = np.array([len(piece) for piece in facts.pieces], np.int64)
    for row in range(rows.count):
        start = int(rows.starts[row] + padded.left[row])
        stop = int(rows.starts[row + 1] - padded.right[row])
        if start >= stop:
            continue
        first, last = np.searchsorted(places, [start + 1, stop])
        cuts = [start, *map(int, places[first:last]), stop]
        at_limit = padded.text_lengths[row] == padded.limit
        for begin, end in pairwise(cuts):
            ids = rows.ids[begin:end]
            known = (ids >= 0) & (ids < facts.size)
            text = facts.read_bytes(ids.tolist())
            yield TrainingExample(
                row=row,
                start=begin,
                ids=ids,
                supervised=padded.supervised[begin:end],
                reliable=bool(padded.reliable[row]),
                opens_row=begin == start,
                closes_row=end == stop,
                at_limit=bool(at_limit),
                text=text,
                ends=np.cumsum(np.where(known, sizes[np.where(known, ids, 0)], 0)),
                turns=facts.markup.find_turns(text) if facts.markup is not None else [],
            )


def find_breaks(rows: TokenRows) -> Flags:
    """Find the positions where a packed example begins, by position ids and segments."""
    breaks = np.zeros(len(rows.ids), bool)
    if rows.positions is not None:
        breaks[1:] |= rows.positions[1:] != rows.positions[:-1] + 1
    for segments in (rows.segments, rows.attention):
        # Axolotl and LLaMA-Factory number packed examples in the attention mask.
        if segments is not None and (segments is rows.segments or segments.max() > 1):
            breaks[1:] |= segments[1:] != segments[:-1]
    return breaks


def align_labels(rows: TokenRows) -> tuple[Flags, Ints]:
    """Find which tokens are supervised, and how the labels of every row are shifted.

    Returns:
        `[position]` whether the token there is a target, and `[row]` 0 for labels that are the
        inputs, 1 or -1 for labels shifted by one to the left or to the right, 2 for others.
    """
    ids, labels, starts = rows.ids, rows.labels, rows.starts
    valid = labels >= 0
    first, last = starts[:-1], starts[1:] - 1
    same = {0: labels == ids, 1: np.zeros(len(ids), bool), -1: np.zeros(len(ids), bool)}
    same[1][:-1] = labels[:-1] == ids[1:]
    same[-1][1:] = labels[1:] == ids[:-1]
    known = {0: valid, 1: valid.copy(), -1: valid.copy()}
    known[1][last] = known[-1][first] = False
    share = {}
    for shift in same:
        count = np.add.reduceat(known[shift], first, dtype=np.int64)
        right = np.add.reduceat(same[shift] & known[shift], first, dtype=np.int64)
        share[shift] = np.where(count > 0, right / np.maximum(count, 1), 1.0)
    shifts = np.where(share[0] == 1, 0, 2)
    for shift in (1, -1):
        shifts[(share[0] < 0.9) & (share[shift] > 0.95) & (shifts == 2)] = shift
    of = np.repeat(shifts, np.diff(starts))
    supervised = valid & (of == 0)
    ahead, behind = valid & (of == 1), valid & (of == -1)
    ahead[last] = behind[first] = False
    supervised[1:] |= ahead[:-1]
    supervised[:-1] |= behind[1:]
    for row in np.flatnonzero(shifts == 2):
        part = slice(int(starts[row]), int(starts[row + 1]))
        wrong = valid[part] & ~same[0][part]
        constant = len(np.unique(labels[part][wrong])) == 1 and wrong.sum() > 1
        supervised[part] = valid[part] & (same[0][part] | (not constant))
    return supervised, shifts
