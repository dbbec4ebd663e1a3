"""Check the text of an example: the chat template, its markers, its beginning."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from medtune.batch_audit.chat_markup import ChatMarkup, Turn
from medtune.batch_audit.examples import TrainingExample
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
            _check_turns(example, facts, facts.markup, found)
        elif strange is None:
            found.add(
                "not-chat-template",
                example,
                example.start,
                "a text without any turn of the template",
            )


def soften_plain_texts(examples: Sequence[TrainingExample], found: FindingCollector) -> None:
    """Make texts that have no turn at all a warning: a model may be asked without its template."""
    if not any(example.turns for example in examples):
        found.soften("not-chat-template")


def _position(example: TrainingExample, place: int) -> int:
    return example.start + int(np.searchsorted(example.ends, place, "right"))


def _check_beginning(
    example: TrainingExample, facts: TokenizerFacts, found: FindingCollector
) -> None:
    ids, begin = example.ids, facts.begin
    if facts.bos is not None and len(ids) > 1 and ids[0] == ids[1] == facts.bos:
        twice = f"{_piece(facts, facts.bos)} twice at the beginning"
        found.add("two-beginnings", example, example.start, twice)
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
    code, place, reason = _compare_with_template(example, facts, markup)
    if code is not None:
        found.add(code, example, example.start + min(place, len(example.ids) - 1), reason)
    elif order := _find_wrong_order(turns, example):
        found.add("role-order", example, _position(example, turns[-1].start), order)


def _compare_with_template(
    example: TrainingExample, facts: TokenizerFacts, markup: ChatMarkup
) -> tuple[FindingCode | None, int, str]:
    """Return the first deviation from the template: its code, token and description."""
    turns, text = example.turns, example.text

    def at(place: int) -> int:
        return int(np.searchsorted(example.ends, place, "right"))

    for turn, following in zip(turns, turns[1:], strict=False):
        if not turn.closed and not text[turn.content : turn.stop].strip() and _closes(markup, turn):
            return "template-twice", at(following.start), "the header of a turn inside of a turn"
    before = text[: turns[0].start]
    if facts.bos is not None:  # twice is a finding of its own
        begin = facts.pieces[facts.bos]
        before = before.removeprefix(begin).removeprefix(begin)
    lead = markup.lead.removeprefix(facts.pieces[facts.begin] if facts.begin is not None else b"")
    if before.strip() != lead.strip():
        if example.opens_row and example.at_limit:
            return "prompt-cut", 0, "the text begins in the middle, cut at the maximal length"
        return "not-chat-template", 0, f"text before the first turn: {_quote(before)}"
    if turns[0].role == "assistant" and example.at_limit and example.opens_row:
        return "prompt-cut", 0, "the text begins with an answer, cut at the maximal length"
    if markup.default_system and turns[0].role == "user":
        return "not-chat-template", 0, "the system prompt that the template adds is missing"
    if not any(turn.role == "assistant" for turn in turns) and turns[-1].role == "user":
        rest = text[turns[-1].end :].strip()
        if rest:
            header = markup.headers["assistant"]
            return "not-chat-template", at(turns[-1].end), f"no {_quote(header)} before the answer"
    for number, turn in enumerate(turns):
        if not turn.header_intact and turn.stop > turn.content:
            anchor = text[turn.start : turn.content].strip()
            return (
                "not-chat-template",
                at(turn.start),
                f"the header {_quote(anchor)} without the white space behind it",
            )
        if number + 1 == len(turns):
            break
        closing = markup.closings.get(turn.role, b"")
        if turn.role == "other" or (turn.role == "assistant" and not markup.closings["assistant"]):
            continue
        gap = text[turn.content_end : turn.stop]
        if closing.strip() and not _same_gap(gap, closing, facts.marks_spaces):
            shown = _quote(gap) if gap else "nothing"
            return (
                "not-chat-template",
                at(turn.content_end),
                f"{shown} behind a turn of the {turn.role}, for {_quote(closing)}",
            )
    return None, 0, ""


def _closes(markup: ChatMarkup, turn: Turn) -> bool:
    closing = markup.ends if turn.role == "assistant" else markup.closings.get(turn.role, b"")
    return bool(closing)


def _same_gap(gap: bytes, closing: bytes, marks_spaces: bool) -> bool:
    if marks_spaces:
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
    for one, next_one in zip(spoken, spoken[1:], strict=False):
        if one == next_one:
            return f"two turns of the {one} in a row"
    if spoken[-1:] == ["user"] and not example.at_limit:
        return "the last turn is the user's"
    return ""
