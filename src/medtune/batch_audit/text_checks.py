"""Check the text of an example: the chat template, its markers, its beginning."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from medtune.batch_audit.chat_markup import ChatMarkup, Turn
from medtune.batch_audit.examples import TrainingExample, follows_ending
from medtune.batch_audit.findings import FindingCollector
from medtune.batch_audit.schema import FindingCode
from medtune.batch_audit.tokenizer_facts import TokenizerFacts

_FOREIGN = (
    "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|begin_of_text|>", "[INST]", "[/INST]", "<<SYS>>", "<start_of_turn>", "<end_of_turn>",
    "<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|turn>", "<turn|>",
    "<｜User｜>", "<｜Assistant｜>", "<|START_OF_TURN_TOKEN|>", "### Instruction:", "### Response:",
)  # fmt: skip
"""Markers of the chat templates of common models."""
_ROUND_TRIPS = 64
"""Examples that are encoded again to see whether the tokenizer is theirs."""
_SAME_TOKENS = 0.85
"""Least share of tokens that come back, if the tokenizer is the right one."""
_SHOWN = 60


def check_tokenizer(
    examples: Sequence[TrainingExample], facts: TokenizerFacts, found: FindingCollector
) -> bool:
    """Check that texts encode to the ids they came from; return whether they do."""
    step = max(1, len(examples) // _ROUND_TRIPS)
    checked = [one for one in examples[::step] if not _spells_markers(one, facts)]
    shares = []
    for example in checked:
        text = example.text.decode("utf-8", "replace")
        ids = Counter(example.ids.tolist())
        again = Counter(facts.encode(text))
        shares.append((ids & again).total() / max(ids.total(), again.total(), 1))
    if not shares or float(np.mean(shares)) >= _SAME_TOKENS:
        return True
    for example in examples:
        found.add(
            "another-tokenizer",
            example,
            example.start,
            f"only {np.mean(shares):.0%} of the ids are what their text is encoded to",
        )
    return False


def check_texts(
    examples: Sequence[TrainingExample], facts: TokenizerFacts, found: FindingCollector
) -> None:
    """Check the texts of all examples."""
    foreign = _compile_foreign(facts)
    # Where another text begins, the template says nothing.
    mixed = found.rows_with("packing-leaks", "boundaries-misplaced")
    for example in examples:
        _check_beginning(example, facts, found)
        _check_spelling(example, facts, found)
        strange = foreign.search(example.text) if foreign is not None else None
        if strange is not None:
            marker = strange.group().decode("utf-8", "replace")
            found.add(
                "foreign-markers",
                example,
                _position(example, strange.start()),
                f"{marker} is no marker of this tokenizer's template",
            )
        if facts.markup is None:
            continue
        if example.turns:
            if example.row not in mixed:
                _check_turns(example, facts, facts.markup, found)
        elif strange is None:
            found.add(
                "not-chat-template",
                example,
                example.start,
                "a text without any turn of the template",
            )
    if not any(example.turns for example in examples):
        found.soften("not-chat-template")  # the model may be asked without its template as well


def _position(example: TrainingExample, place: int) -> int:
    return example.start + int(np.searchsorted(example.ends, place, "right"))


def _check_beginning(
    example: TrainingExample, facts: TokenizerFacts, found: FindingCollector
) -> None:
    ids, begin = example.ids, facts.begin
    if facts.bos is not None and len(ids) > 1 and ids[0] == ids[1] == facts.bos:
        twice = f"{_piece(facts, facts.bos)} twice at the beginning"
        found.add("two-beginnings", example, example.start, twice)
    elif begin is not None and (again := _find_beginning_inside(example, facts, begin)):
        middle = f"{_piece(facts, begin)} in the middle of a text"
        found.add("two-beginnings", example, example.start + again, middle)
    elif begin is not None and ids[0] != begin and example.opens_row:
        led = facts.markup is not None and facts.markup.lead == facts.pieces[begin]
        if (led and example.turns and example.turns[0].start == 0) or (
            facts.adds_begin and not example.turns and not example.at_limit
        ):
            found.add(
                "beginning-missing",
                example,
                example.start,
                f"no {_piece(facts, begin)} at the beginning",
            )


def _find_beginning_inside(example: TrainingExample, facts: TokenizerFacts, begin: int) -> int:
    """Return the token of a second beginning inside of a text; 0 if there is none."""
    if begin == facts.pad or begin in facts.endings:
        return 0
    written = b"" if facts.markup is None else b"".join(facts.markup.headers.values())
    if facts.pieces[begin] in written or (facts.markup and find_nested_turn(example, facts)):
        return 0
    for place in np.flatnonzero(example.ids[1:] == begin) + 1:
        if not follows_ending(example, int(place), facts):
            return int(place)
    return 0


def _piece(facts: TokenizerFacts, token: int) -> str:
    return facts.pieces[token].decode("utf-8", "replace")


def _spells_markers(example: TrainingExample, facts: TokenizerFacts) -> bool:
    return next(_spelt_markers(example, facts), None) is not None


def _spelt_markers(example: TrainingExample, facts: TokenizerFacts) -> Iterator[re.Match[bytes]]:
    """Find special tokens that were encoded as ordinary text."""
    for match in facts.marker_pattern.finditer(example.text):
        token = int(np.searchsorted(example.begins, match.start(), "right")) - 1
        whole = example.begins[token] == match.start() and example.ends[token] == match.end()
        if not (whole and int(example.ids[token]) in facts.special):
            yield match


def _check_spelling(
    example: TrainingExample, facts: TokenizerFacts, found: FindingCollector
) -> None:
    match = next(_spelt_markers(example, facts), None)
    if match is not None:
        marker = match.group().decode("utf-8", "replace")
        found.add(
            "special-tokens-as-text",
            example,
            _position(example, match.start()),
            f"{marker} is written as ordinary characters",
        )


def _compile_foreign(facts: TokenizerFacts) -> re.Pattern[bytes] | None:
    """Compile the markers of other templates."""
    own = str(getattr(facts.tokenizer, "chat_template", None) or "").encode()
    pieces = [facts.pieces[token] for token in facts.special]
    if facts.markup is None:
        own += b" ".join(pieces)
    else:
        named = {facts.pieces[i] for i in (facts.bos, facts.eos) if i is not None}
        own += b" ".join([*facts.markup.headers.values(), *facts.markup.closings.values(), *named])
    others = [marker for marker in _FOREIGN if marker.encode() not in own]
    return re.compile("|".join(map(re.escape, others)).encode()) if others else None


def _check_turns(
    example: TrainingExample, facts: TokenizerFacts, markup: ChatMarkup, found: FindingCollector
) -> None:
    """Check that turns are written as the template writes them."""
    turns = example.turns
    deviation = _compare_with_template(example, facts, markup)
    if deviation is not None:
        place = min(_position(example, deviation.place), example.start + len(example.ids) - 1)
        found.add(deviation.code, example, place, deviation.reason)
    elif order := _find_wrong_order(turns, example):
        found.add("role-order", example, _position(example, turns[-1].start), order)


@dataclass(frozen=True, slots=True)
class Deviation:
    """A difference between a text and the template."""

    code: FindingCode
    place: int
    """Where it is in the text."""
    reason: str


def _compare_with_template(
    example: TrainingExample, facts: TokenizerFacts, markup: ChatMarkup
) -> Deviation | None:
    """Return the first deviation from the template."""
    if inner := find_nested_turn(example, facts):
        return Deviation("template-twice", inner.start, "the header of a turn inside of a turn")
    opening = _compare_opening(example, facts, markup)
    if opening is not None:
        return opening
    turns, text = example.turns, example.text
    answered = any(turn.role == "assistant" for turn in turns)
    if not answered and turns[-1].role == "user" and text[turns[-1].end :].strip():
        reason = f"no {_quote(markup.headers['assistant'])} before the answer"
        return Deviation("not-chat-template", turns[-1].end, reason)
    for turn in turns:
        if not turn.header_intact and turn.stop > turn.content:
            anchor = _quote(text[turn.start : turn.content].strip())
            reason = f"the header {anchor} without the white space behind it"
            return Deviation("not-chat-template", turn.start, reason)
        closing = markup.closings.get(turn.role, b"")
        gap = text[turn.content_end : turn.stop]
        if turn.stop < len(text) and closing.strip() and not _same_gap(gap, closing, facts):
            shown = _quote(gap) if gap else "nothing"
            reason = f"{shown} behind a turn of the {turn.role}, for {_quote(closing)}"
            return Deviation("not-chat-template", turn.content_end, reason)
    return None


def _compare_opening(
    example: TrainingExample, facts: TokenizerFacts, markup: ChatMarkup
) -> Deviation | None:
    """Compare what is before the first turn, and which turn is first."""
    first = example.turns[0]
    before, lead = example.text[: first.start], markup.lead
    if facts.bos is not None:  # twice is a finding of its own
        begin = facts.pieces[facts.bos]
        before = before.removeprefix(begin).removeprefix(begin)
        lead = lead.removeprefix(begin)
    strange = before.strip() != lead.strip()
    if (strange or first.role == "assistant") and example.opens_row and example.at_limit:
        reason = "the text begins in the middle, cut at the maximal length"
        return Deviation("prompt-cut", 0, reason)
    if strange:
        return Deviation("not-chat-template", 0, f"text before the first turn: {_quote(before)}")
    if markup.default_system and first.role == "user":
        reason = "the system prompt that the template adds is missing"
        return Deviation("not-chat-template", 0, reason)
    return None


def find_nested_turn(example: TrainingExample, facts: TokenizerFacts) -> Turn | None:
    """Find a turn that begins where the content of another one should."""
    assert facts.markup is not None, "turns are found by it"
    begin = facts.pieces[facts.begin] if facts.begin is not None else b""
    for turn, following in pairwise(example.turns):
        content = example.text[turn.content : turn.stop].strip().removeprefix(begin)
        if not turn.closed and not content.strip() and facts.markup.closes(turn.role):
            return following
    return None


def _same_gap(gap: bytes, closing: bytes, facts: TokenizerFacts) -> bool:
    if facts.marks_spaces:
        return gap.replace(b" ", b"") == closing.replace(b" ", b"")
    return gap == closing


def _quote(text: bytes) -> str:
    shown = text[:_SHOWN].decode("utf-8", "replace")
    return repr(shown + ("…" if len(text) > _SHOWN else ""))


def _find_wrong_order(turns: Sequence[Turn], example: TrainingExample) -> str:
    """Return what is wrong with the order of turns; "" if nothing is."""
    roles = [turn.role for turn in turns]
    spoken = [role for role in roles if role != "system"]
    if "other" in spoken:
        return ""
    if spoken[:1] == ["assistant"]:
        return "the assistant speaks first"
    for one, next_one in pairwise(spoken):
        if one == next_one:
            return f"two turns of the {one} in a row"
    if spoken[-1:] == ["user"] and not example.at_limit:
        return "the last turn is the user's"
    return ""
