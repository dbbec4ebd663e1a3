"""Check which tokens of an example are supervised: endings, prompts, answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from medtune.batch_audit.chat_markup import Turn
from medtune.batch_audit.examples import TrainingExample
from medtune.batch_audit.findings import FindingCollector
from medtune.batch_audit.tokenizer_facts import TokenizerFacts

_SAME_ANSWERS = 20
"""Examples from which on identical answers are found."""
_SAME_SHARE = 0.9


def check_labels(
    examples: Sequence[TrainingExample], facts: TokenizerFacts, found: FindingCollector
) -> None:
    """Check the labels of all examples."""
    single = all(np.count_nonzero(example.supervised) <= 1 for example in examples)
    leads = _Leads()
    for example in examples:
        _check_stop(example, facts, found)
        if not example.supervised.any():
            found.add(
                "nothing-supervised",
                example,
                example.start,
                "no token of the example is supervised",
            )
        elif example.reliable:
            if example.turns:
                _check_chat(example, facts, found, leads, single)
            elif _ends_openly(example, examples):
                _check_text_ending(example, facts, found)
    leads.report(found)
    if single:
        # One token each: a classifier by letters needs no ending, a model that writes does.
        found.soften("ending-unsupervised")
    _check_answers_vary(examples, found)


def _check_stop(example: TrainingExample, facts: TokenizerFacts, found: FindingCollector) -> None:
    """Find examples that never show a token at which generation stops."""
    if facts.stops is None or facts.markup is None or not example.turns:
        return
    if example.turns[-1].closed and not np.isin(example.ids, list(facts.stops)).any():
        stops = ", ".join(
            facts.pieces[i].decode("utf-8", "replace")
            for i in sorted(facts.stops)
            if i < facts.size
        )
        reason = f"generation stops at {stops}, which the text never has"
        found.add("stop-token-differs", example, example.start + len(example.ids) - 1, reason)


@dataclass
class _Leads:
    """Beginnings of answers that are not supervised."""

    places: list[tuple[TrainingExample, int, int]] = field(default_factory=list)
    """Example, first supervised position, and the number of tokens before it."""
    texts: Counter[str] = field(default_factory=Counter)
    examples: int = 0
    """Examples with a supervised answer, with such a beginning or without."""

    def report(self, found: FindingCollector) -> None:
        """Report them, unless every example has the same words, given at inference as well."""
        led = {example.start for example, _, _ in self.places}
        given = len(self.texts) == 1 and min(count for _, _, count in self.places) > 1
        if given and len(led) == self.examples:
            return
        for example, place, count in self.places:
            first = "first token" if count == 1 else f"first {count} tokens"
            reason = f"the {first} of an answer not supervised"
            found.add("answer-partly-supervised", example, place, reason)


def _check_chat(
    example: TrainingExample,
    facts: TokenizerFacts,
    found: FindingCollector,
    leads: _Leads,
    single: bool,
) -> None:
    answers = [turn for turn in example.turns if turn.role == "assistant"]
    taught = [turn for turn in answers if example.supervised[_span(example, turn)].any()]
    _check_prompt(example, answers, found)
    if answers and not taught:
        found.add(
            "nothing-supervised", example, example.start, "no token of an answer is supervised"
        )
    leads.examples += bool(taught)
    for turn in taught:
        _check_answer_ending(example, turn, facts, found)
        if not _check_only_ending(example, turn, found) and not single:
            _check_answer_start(example, turn, found, leads)


def _span(example: TrainingExample, turn: Turn) -> slice:
    """Return the tokens of an answer with its end marker."""
    return example.tokens(turn.content, turn.end)


def _check_prompt(
    example: TrainingExample, answers: Sequence[Turn], found: FindingCollector
) -> None:
    """Find supervised tokens of the prompt; the first token of an example is never a target."""
    flags = example.supervised.copy()
    # Neither is a text that lacks its beginning.
    flags[: max(1, example.tokens(0, example.turns[0].start).stop)] = False
    headers = np.zeros(len(flags), bool)
    for turn in answers:
        # White space between an answer and the next turn belongs to neither.
        flags[example.tokens(turn.content, turn.stop)] = False
        header = example.tokens(turn.start, turn.content)
        if header.stop > header.start and example.ends[header.stop - 1] > turn.content:
            flags[header.stop - 1] = False  # one token of header and answer
        headers[header] = True
    if not answers:
        last = example.turns[-1]
        if last.role != "user":
            return
        flags[example.tokens(last.content_end, last.stop)] = False
    places = np.flatnonzero(flags)
    if not len(places):
        return
    place = example.start + int(places[-1])
    if not flags[~headers].any():
        whole = "the header" if flags[headers].all() else "a part of the header"
        found.add("prompt-supervised", example, place, f"{whole} of an answer is supervised")
    else:
        every = flags.sum() >= len(flags) - 1 - example.supervised[~flags].sum()
        part = "the whole prompt" if every else "a part of the prompt"
        found.add("prompt-supervised", example, place, f"{part} is supervised")


def _check_answer_ending(
    example: TrainingExample, turn: Turn, facts: TokenizerFacts, found: FindingCollector
) -> None:
    assert facts.markup is not None, "turns are found by it"
    if not facts.markup.ends:
        return
    last = turn.stop == len(example.text)
    tokens = example.tokens(turn.content_end, turn.end)
    if turn.closed:
        if not example.supervised[tokens].all():
            shown = facts.markup.end.decode("utf-8", "replace")
            where = "after the last answer" if last else "after an answer"
            found.add(
                "ending-unsupervised",
                example,
                example.start + tokens.start,
                f"{shown} {where} is not supervised",
            )
    elif last:
        _add_open_end(example, facts, found)


def _check_only_ending(example: TrainingExample, turn: Turn, found: FindingCollector) -> bool:
    """Find an answer of which no token but its ending is supervised; return whether it is one."""
    content = example.tokens(turn.content, turn.content_end)
    if example.supervised[content].any():
        return False
    if content.start < content.stop:
        _add_only_ending(example, content.start, found)
    return True


def _add_only_ending(example: TrainingExample, place: int, found: FindingCollector) -> None:
    reason = "only the ending of an answer is supervised"
    found.add("answer-partly-supervised", example, example.start + place, reason)


def _check_answer_start(
    example: TrainingExample, turn: Turn, found: FindingCollector, leads: _Leads
) -> None:
    """Find answers of which only a part is supervised."""
    content = example.tokens(turn.content, turn.content_end)
    flags = example.supervised[content]
    taught = np.flatnonzero(flags)
    first, last = int(taught[0]), int(taught[-1])
    if first:
        stop = int(example.ends[content.start + first - 1])
        text = example.text[turn.content : stop].decode("utf-8", "replace")
        if "</think>" not in text:
            leads.places.append((example, example.start + content.start + first, first))
            leads.texts[text] += 1
    if not flags[first:last].all():
        hole = first + int(np.flatnonzero(~flags[first:last])[0])
        found.add(
            "answer-partly-supervised",
            example,
            example.start + content.start + hole,
            "tokens in the middle of an answer not supervised",
        )
    elif last < len(flags) - 1:
        found.add(
            "answer-partly-supervised",
            example,
            example.start + content.start + last,
            "the last tokens of an answer not supervised",
        )


def _ends_openly(example: TrainingExample, examples: Sequence[TrainingExample]) -> bool:
    """Return whether a text has to have an ending: not a chunk of texts that are cut by length."""
    whole = example.supervised[1:].all() and example.opens_row and example.closes_row
    return not (whole and example.at_limit and all(one.at_limit for one in examples[:-1]))


def _check_text_ending(
    example: TrainingExample, facts: TokenizerFacts, found: FindingCollector
) -> None:
    """Check the ending of a text without turns."""
    last = len(example.ids) - 1
    while last > 0 and not facts.read_bytes(example.ids[last : last + 1].tolist()).strip():
        last -= 1
    if int(example.ids[last]) in facts.endings:
        if not example.supervised[last]:
            shown = facts.pieces[int(example.ids[last])].decode("utf-8", "replace")
            found.add(
                "ending-unsupervised",
                example,
                example.start + last,
                f"{shown} at the end is not supervised",
            )
        elif last and not example.supervised[:last].any():
            _add_only_ending(example, last, found)
    elif facts.endings:
        _add_open_end(example, facts, found)


def _add_open_end(example: TrainingExample, facts: TokenizerFacts, found: FindingCollector) -> None:
    place = example.start + len(example.ids) - 1
    if example.at_limit and example.closes_row:
        found.add(
            "answer-cut", example, place, "the text stops at the maximal length, without its ending"
        )
        return
    expected = facts.markup.end if facts.markup is not None else facts.pieces[facts.eos or 0]
    shown = expected.decode("utf-8", "replace")
    final = int(example.ids[-1])
    other = (
        f"ends with {facts.pieces[final].decode('utf-8', 'replace')} instead of {shown}"
        if final in facts.special
        else f"has no {shown} at its end"
    )
    found.add("ending-missing", example, place, f"a supervised text {other}")


def _check_answers_vary(examples: Sequence[TrainingExample], found: FindingCollector) -> None:
    answers = Counter(
        example.ids[example.supervised].tobytes()
        for example in examples
        if example.supervised.any()
    )
    count = answers.total()
    if count < _SAME_ANSWERS:
        return
    answer, most = answers.most_common(1)[0]
    if most > _SAME_SHARE * count:
        for example in examples:
            if example.ids[example.supervised].tobytes() == answer:
                place = example.start + int(np.flatnonzero(example.supervised)[0])
                found.add("identical-answers", example, place, "the same supervised tokens")
