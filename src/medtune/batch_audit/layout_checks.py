"""Check rows: vocabulary, labels against ids, padding, packing, repeated examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from medtune.batch_audit.examples import PaddedRows, TrainingExample, find_breaks, follows_ending
from medtune.batch_audit.findings import FindingCollector
from medtune.batch_audit.token_rows import IGNORED, Ints, TokenRows
from medtune.batch_audit.tokenizer_facts import TokenizerFacts

_WASTED = 0.25
"""Share of positions that are padding in every row of their batch, from which on it is a waste."""
_REPEATED = 0.1
"""Share of examples that are copies, from which on they are a finding."""


def check_vocabulary(rows: TokenRows, facts: TokenizerFacts, found: FindingCollector) -> bool:
    """Check that ids and labels are in the vocabulary; return whether most ids are."""
    outside = (rows.ids < 0) | (rows.ids >= facts.size)
    found.add_rows(
        "outside-vocabulary",
        _first_of_rows(rows, outside),
        f"token ids from {rows.ids.min():,} to {rows.ids.max():,}, of a vocabulary of "
        f"{facts.size:,}",
    )
    labels = (rows.labels >= facts.size) | ((rows.labels < 0) & (rows.labels != IGNORED))
    strange = _first_of_rows(rows, labels & ~outside)
    if len(strange):
        values = ", ".join(map(str, np.unique(rows.labels[labels])[:3].tolist()))
        found.add_rows("outside-vocabulary", strange, f"labels such as {values}")
    return bool(outside.mean() < 0.01)


def check_shifts(rows: TokenRows, shifts: Ints, found: FindingCollector) -> None:
    """Find rows whose labels are shifted, or are others than the ids."""
    for shift, where in ((1, "labels[t] is input_ids[t+1]"), (-1, "labels[t] is input_ids[t-1]")):
        places = rows.starts[:-1][shifts == shift]
        found.add_rows("labels-shifted", places, where)
    wrong = (rows.labels >= 0) & (rows.labels != rows.ids) & (shifts == 2)[rows.row_of]
    places = _first_of_rows(rows, wrong)
    if len(places):
        values = np.unique(rows.labels[wrong])
        constant = f": label {values[0]} where nothing is to be learnt" if len(values) == 1 else ""
        share = wrong.sum() / max(1, ((rows.labels >= 0) & (shifts == 2)[rows.row_of]).sum())
        reason = f"{share:.0%} of the labels are not the token at their place{constant}"
        found.add_rows("labels-not-inputs", places, reason)


def _first_of_rows(rows: TokenRows, flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Ints:
    """Return the first flagged position of every row that has one."""
    places = np.flatnonzero(flags)
    return places[np.unique(rows.find_rows(places), return_index=True)[1]]


def check_padding(padded: PaddedRows, found: FindingCollector) -> None:
    """Check attention and labels of padding, and how much of it there is."""
    rows = padded.rows
    size = np.diff(rows.starts)
    place = np.arange(len(rows.ids)) - np.repeat(rows.starts[:-1], size)
    left = place < np.repeat(padded.left, size)
    right = place >= np.repeat(size - padded.right, size)
    padding = left | right
    _check_attention(padded, left, right, found)
    taught = (rows.labels >= 0) & padding & padded.reliable[rows.row_of]
    found.add_rows("padding-supervised", _first_of_rows(rows, taught), "padding has labels")
    sides = (padded.left > 0) & (padded.right == 0), (padded.right > 0) & (padded.left == 0)
    both = (padded.left > 0) & (padded.right > 0) & (size > padded.left)
    if (sides[0].any() and sides[1].any()) or both.any():
        minority = min(sides, key=np.count_nonzero) | both
        reason = "some rows are padded on the left, others on the right"
        found.add_rows("padding-mixed", rows.starts[:-1][minority], reason)
    _check_waste(padded, found)


def _check_attention(
    padded: PaddedRows,
    left: np.ndarray[tuple[int], np.dtype[np.bool_]],
    right: np.ndarray[tuple[int], np.dtype[np.bool_]],
    found: FindingCollector,
) -> None:
    rows = padded.rows
    if rows.attention is None:
        exposed = _first_of_rows(rows, left)
        reason = "padding on the left without an attention_mask"
        found.add_rows("padding-attended", exposed, reason)
        return
    seen = rows.attention > 0
    on_left, on_right = _first_of_rows(rows, left & seen), _first_of_rows(rows, right & seen)
    reason = "attention_mask is not 0 on padding on the left, which all tokens after it see"
    found.add_rows("padding-attended", on_left, reason)
    if rows.positions is None and rows.segments is None and rows.attention.max() <= 1:
        reason = "attention_mask is not 0 on padding on the right, which no token before it sees"
        found.add_rows("padding-attended", on_right, reason)
    if not len(on_left):
        found.soften("padding-attended")
    hidden = _first_of_rows(rows, ~seen & ~left & ~right)
    reason = "attention_mask is 0 on tokens that are no padding"
    found.add_rows("tokens-unattended", hidden, reason)


def _check_waste(padded: PaddedRows, found: FindingCollector) -> None:
    """Find padding that even the longest row of its batch has."""
    rows = padded.rows
    size = np.diff(rows.starts)
    # Rows that were written one by one: those of the same length are taken for one batch.
    alone = len(rows.places) == rows.count
    batches = size if alone else rows.batches
    spare: dict[int, int] = defaultdict(lambda: int(size.max()))
    padding = padded.left + padded.right
    for batch, n in zip(batches.tolist(), padding.tolist(), strict=True):
        spare[batch] = min(spare[batch], n)
    avoidable = np.array([spare[batch] for batch in batches.tolist()])
    share = avoidable.sum() / len(rows.ids)
    if share > _WASTED:
        reason = (
            f"{padding.sum() / len(rows.ids):.0%} of all positions are padding, {share:.0%} even "
            "behind the longest row"
        )
        found.add_rows("wasted-positions", rows.starts[:-1][avoidable > 0], reason)


def check_packing(
    padded: PaddedRows,
    examples: Sequence[TrainingExample],
    facts: TokenizerFacts,
    found: FindingCollector,
) -> None:
    """Find several texts in one example, and examples that begin in the middle of a text."""
    _check_boundaries(examples, facts, found)
    _check_positions(padded, found)
    bounded = bool(find_breaks(padded.rows)[1:].any())
    misplaced = found.rows_with("boundaries-misplaced")
    for example in examples:
        place = 0 if example.row in misplaced else _find_second_text(example, facts)
        if place:
            reason = (
                "another text begins where neither position_ids nor segments do"
                if bounded
                else "several texts in one row without boundaries"
            )
            found.add("packing-leaks", example, example.start + place, reason)
    if not any(example.turns for example in examples):
        found.soften("packing-leaks")  # texts joined by an ending, as in pre-training


def _find_second_text(example: TrainingExample, facts: TokenizerFacts) -> int:
    """Return the token at which a second text begins; 0 if there is none."""
    places = []
    turns, markup, begin = example.turns, facts.markup, facts.begin
    for earlier, turn in pairwise(turns):
        if turn.role == "system" and earlier.role == "assistant" and earlier.closed:
            places.append(int(np.searchsorted(example.ends, turn.start, "right")))
    inner = np.arange(1, len(example.ids) - 1)
    if begin is not None and begin != facts.pad:
        between = b"" if markup is None else b"".join(markup.headers.values())
        begun = inner[(example.ids[1:-1] == begin) & (example.ids[:-2] != begin)]
        closed = [n for n in begun.tolist() if follows_ending(example, n, facts)]
        if facts.pieces[begin] not in between:
            places += closed[:1]
    if facts.eos is not None and not turns:
        ended = inner[example.ids[1:-1] == facts.eos] + 1
        places += ended[:1].tolist()
    return min(places, default=0)


def _check_boundaries(
    examples: Sequence[TrainingExample], facts: TokenizerFacts, found: FindingCollector
) -> None:
    """Find packed examples that begin in the middle of what the one before has left open."""
    markup = facts.markup
    if markup is None:
        return
    for one, following in pairwise(examples):
        if one.row != following.row or not (one.turns or following.turns):
            continue
        middle = not following.turns or following.turns[0].start > len(markup.lead)
        opened = (
            not one.turns or not one.turns[-1].closed or bool(one.text[one.turns[-1].end :].strip())
        )
        if (middle and opened) or _is_split_marker(one, following, markup.anchors):
            found.add(
                "boundaries-misplaced",
                following,
                following.start,
                "an example begins inside of another one",
            )


def _is_split_marker(one: TrainingExample, following: TrainingExample, anchors: object) -> bool:
    """Return whether a header lies across a boundary."""
    joint = len(one.text)
    text = one.text[-40:] + following.text[:40]
    edge = min(joint, 40)
    return any(
        match.start() < edge < match.end()
        for match in anchors.finditer(text)  # type: ignore[attr-defined]
    )


def _check_positions(padded: PaddedRows, found: FindingCollector) -> None:
    """Find position ids that neither count on nor restart at 0."""
    rows = padded.rows
    if rows.positions is None:
        return
    jumps = np.zeros(len(rows.ids), bool)
    jumps[1:] = (rows.positions[1:] != rows.positions[:-1] + 1) & (rows.positions[1:] != 0)
    size = np.diff(rows.starts)
    place = np.arange(len(rows.ids)) - np.repeat(rows.starts[:-1], size)
    text = (place > np.repeat(padded.left, size)) & (place < np.repeat(size - padded.right, size))
    found.add_rows(
        "boundaries-misplaced",
        _first_of_rows(rows, jumps & text),
        "position_ids neither count on nor restart at 0",
    )


def check_copies(examples: Sequence[TrainingExample], found: FindingCollector) -> None:
    """Find examples that are copies of an earlier one."""
    seen: set[tuple[bytes, bytes]] = set()
    copies = []
    for example in examples:
        key = (example.ids.tobytes(), example.supervised.tobytes())
        if key in seen:
            copies.append(example)
        seen.add(key)
    if len(copies) > _REPEATED * len(examples):
        for example in copies:
            found.add("duplicates", example, example.start, "a copy of an earlier example")
