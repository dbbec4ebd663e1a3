from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.errors import CheckFailed
from medtune.core.experiment import Objective
from medtune.core.protocols import Example
from medtune.core.token_trie import ScoredSequence
from medtune.training.collate import apply_objective, audit_mask, collate, count_tokens

CPU = torch.device("cpu")
EXAMPLES = [Example((5, 6, 7, 8, 2), 3), Example((5, 6, 9, 2), 3)]


def test_a_batch_by_hand() -> None:
    batch = collate(EXAMPLES, CPU)
    assert batch.prefix == 2
    # What follows the last token is only predicted.
    assert batch.tokens.tolist() == [5, 6, 7, 8, 9]
    assert batch.lengths == (2, 1)
    assert batch.ends is None
    # Each of these predicts a token of an answer: 7 the 8, 8 the end, and 9 the second end.
    assert batch.wanted.tolist() == [2, 3, 4]
    assert batch.rows.tolist() == [0, 1, 2]
    assert batch.targets.tolist() == [8, 2, 2]


def test_one_example_keeps_what_predicts_its_answer_in_its_own_row() -> None:
    batch = collate(EXAMPLES[:1], CPU)
    assert batch.prefix == 2
    assert batch.lengths == (2,)


def test_positions_count_padding_where_there_is_any() -> None:
    batch = collate(EXAMPLES, CPU)
    assert batch.count_positions(packed=True) == 5
    assert batch.count_positions(packed=False) == 2 * 4


@st.composite
def examples(draw: st.DrawFn) -> list[Example]:
    start = draw(st.lists(st.integers(3, 9), max_size=4))
    made = []
    for _ in range(draw(st.integers(1, 5))):
        prompt = [*start, *draw(st.lists(st.integers(3, 9), min_size=1, max_size=5))]
        answer = draw(st.lists(st.integers(3, 9), min_size=1, max_size=4))
        made.append(Example((*prompt, *answer, 2), len(prompt)))
    return made


@given(examples())
def test_every_answer_is_supervised_behind_its_own_prompt(made: list[Example]) -> None:
    batch = collate(made, CPU)
    prefix = batch.tokens[: batch.prefix].tolist()
    own = batch.tokens[batch.prefix :].tolist()
    assert batch.prefix < min(example.prompt for example in made)
    seen = []
    start = 0
    for example, length in zip(made, batch.lengths, strict=True):
        assert (*prefix, *own[start : start + length]) == example.tokens[:-1]
        within = range(start + batch.prefix, start + batch.prefix + length)
        places = [wanted - start for wanted in batch.wanted.tolist() if wanted in within]
        assert places == list(range(example.prompt - 1, len(example.tokens) - 1))
        seen += [example.tokens[place + 1] for place in places]
        start += length
    assert batch.targets.tolist() == seen


@pytest.mark.parametrize(
    ("made", "pad"),
    [
        pytest.param(EXAMPLES, 2, id="the pad ends turns"),
        pytest.param([Example((5, 6, 7), 2)], 0, id="the ending is missing"),
        pytest.param([Example((5, 6, 2), 2)], 0, id="nothing but the ending is supervised"),
    ],
)
def test_the_audit_refuses_what_cannot_teach(made: list[Example], pad: int) -> None:
    with pytest.raises(CheckFailed, match="mask audit"):
        audit_mask(made, pad, 2, str)


CHOOSING = [
    Example(
        (5, 6, 7, 21, 2),
        3,
        options=tuple(ScoredSequence((5, 6, 7, letter), 3, 3) for letter in (20, 21, 22)),
        lengths=(1, 1, 1),
        right=1,
        answer_share=0.0,
    ),
    Example(
        (5, 6, 9, 8, 30, 2),
        4,
        options=tuple(ScoredSequence((5, 6, 9, 8, letter), 4, 4) for letter in (30, 31)),
        lengths=(1, 1),
        right=0,
        answer_share=0.0,
    ),
]
TEXTS = Example(
    (5, 6, 7, 8, 2),
    3,
    options=(ScoredSequence((5, 6, 7, 8), 3, 3), ScoredSequence((5, 6, 7, 9, 4, 3), 3, 3)),
    lengths=(1, 4),
    right=0,
    answer_share=0.25,
)


def test_letters_are_predicted_at_one_place() -> None:
    batch = collate(CHOOSING, CPU)
    assert batch.prefix == 2
    assert batch.tokens.tolist() == [5, 6, 7, 9, 8]
    assert batch.wanted.tolist() == [2, 4]
    assert batch.rows.tolist() == [0, 0, 0, 1, 1]
    assert batch.targets.tolist() == [20, 21, 22, 30, 31]
    assert batch.options is not None
    assert batch.options.cells.tolist() == [0, 1, 2, 3, 4]
    assert batch.options.lengths.tolist() == [[1, 1, 1], [1, 1, math.inf]]
    assert batch.options.right.tolist() == [1, 0]
    assert batch.weights.tolist() == [0.0] * 5


def test_options_are_branches_and_the_answer_is_one_of_them() -> None:
    batch = collate([TEXTS], CPU)
    # The right option and the answer are one branch, the other option is another.
    assert (batch.prefix, batch.tokens.tolist()) == (2, [5, 6, 7, 8, 9, 4])
    assert batch.ends is not None
    assert batch.ends.tolist() == [4, 2, 4, 4]
    assert batch.lengths == (4,)
    assert batch.targets.tolist() == [8, 9, 4, 3, 8, 2]
    assert batch.options is not None
    assert batch.options.cells.tolist() == [0, 1, 1, 1, 2, 2]
    assert batch.weights.tolist() == [0.0] * 4 + [0.125] * 2
    assert batch.options.weights.tolist() == [0.75]
    assert count_tokens(TEXTS) == 6
    apart = collate([TEXTS], CPU, branches=False)
    assert apart.ends is None
    assert apart.lengths == (1, 3, 2)
    assert apart.targets.tolist() == batch.targets.tolist()


def test_all_tokens_but_the_first_are_supervised_as_the_notebook_did() -> None:
    batch = collate([apply_objective("all", example) for example in EXAMPLES], CPU)
    assert batch.prefix == 0
    assert batch.tokens.tolist() == [5, 6, 7, 8, 5, 6, 9]
    assert batch.targets.tolist() == [6, 7, 8, 2, 6, 9, 2]
    assert apply_objective("answer", EXAMPLES[0]) is EXAMPLES[0]


def test_without_its_ending_an_answer_is_supervised_up_to_its_last_word() -> None:
    unended = [replace(example, ends=False) for example in EXAMPLES]
    batch = collate(unended, CPU)
    assert batch.targets.tolist() == [8]  # the second has no other word
    longer = [*unended, Example((5, 6, 9, 4, 3, 2), 3, ends=False)]
    report = audit_mask(longer, 0, 2, str)
    assert (report.supervised, report.ends_supervised, report.prompt_supervised) == (3, 0, 0)
    everything = audit_mask(longer, 0, 2, str, "all")
    assert everything.supervised == 3 + 2 + 4
    assert everything.ends_supervised == 0
    with pytest.raises(CheckFailed, match="0 of 3 endings"):
        audit_mask([*unended, EXAMPLES[0]], 0, 3, str)  # an ending that is not the turn's


def test_every_supervised_token_has_its_examples_weight() -> None:
    batch = collate([replace(EXAMPLES[0], weight=0.5), replace(EXAMPLES[1], weight=2.0)], CPU)
    assert batch.weights.tolist() == [0.5, 0.5, 2.0]


def test_the_audit_knows_what_each_objective_looks_at() -> None:
    # EXAMPLES supervise their endings; (5, 6, 9, 2) has no token of an answer.
    whole = [EXAMPLES[0], Example((5, 6, 9, 8, 2), 3)]
    answers = audit_mask(whole, 0, 2, str)
    assert (answers.supervised, answers.prompt_supervised, answers.ends_supervised) == (4, 0, 2)
    everything = audit_mask(whole, 0, 2, str, "all")
    assert (everything.supervised, everything.prompt_supervised) == (8, 4)
    letters = audit_mask(CHOOSING, 0, 2, str, "choice")
    assert (letters.supervised, letters.prompt_supervised, letters.ends_supervised) == (5, 0, 0)
    texts = audit_mask([TEXTS], 0, 2, str, "choice")
    assert (texts.supervised, texts.prompt_supervised, texts.ends_supervised) == (6, 0, 1)


@pytest.mark.parametrize(
    ("made", "objective", "expected"),
    [
        pytest.param(EXAMPLES, "choice", "every option that is compared", id="no options"),
        pytest.param(CHOOSING, "answer", "every answer with its ending", id="options alone"),
        pytest.param([Example((5, 6, 7), 2)], "all", "endings included", id="no ending"),
    ],
)
def test_the_audit_refuses_another_objectives_mask(
    made: list[Example], objective: Objective, expected: str
) -> None:
    with pytest.raises(CheckFailed) as caught:
        audit_mask(made, 0, 2, str, objective)
    assert expected in (caught.value.expected or "")
