from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given
from hypothesis import strategies as st

from medtune.core.token_batching import common_prefix_length
from medtune.core.token_trie import ScoredSequence, TokenTrie


def path_to(trie: TokenTrie, place: int) -> list[int]:
    """List the indices that attention lets a token see."""
    return [k for k in range(place + 1) if place < trie.ends[k]]


def nothing_twice(trie: TokenTrie) -> bool:
    children = set()
    for place, token in enumerate(trie.tokens):
        above = path_to(trie, place)[:-1]
        children.add((above[-1] if above else None, token))
    return len(children) == len(trie)


def beginnings(sequences: Iterable[ScoredSequence], skip: int) -> set[tuple[int, ...]]:
    """Collect every beginning that is read: each is one token of a trie."""
    return {tuple(s.tokens[skip:end]) for s in sequences for end in range(skip + 1, len(s.tokens))}


def test_letters_share_the_whole_prompt() -> None:
    trie = TokenTrie.from_sequences([ScoredSequence((7, 8, 9, letter), 3) for letter in (1, 2, 3)])
    assert trie.tokens == [7, 8, 9]
    assert trie.ends == [3, 3, 3]
    assert trie.places == [0, 1, 2]
    assert trie.terms == [[(2, 1)], [(2, 2)], [(2, 3)]]
    assert len(trie) == 3
    assert trie.is_single_path


def test_texts_branch_where_they_part() -> None:
    # 5 6 - 3 (4)        the second, laid first: 3 comes before 7
    #     \ 7 - 8 (9)    the first
    trie = TokenTrie.from_sequences(
        [ScoredSequence((5, 6, 7, 8, 9), 2), ScoredSequence((5, 6, 3, 4), 2)]
    )
    assert trie.tokens == [5, 6, 3, 7, 8]
    assert trie.ends == [5, 5, 3, 5, 5]
    assert trie.places == [0, 1, 2, 2, 3]
    assert trie.terms == [[(1, 7), (3, 8), (4, 9)], [(1, 3), (2, 4)]]
    assert not trie.is_single_path


def test_an_answer_that_begins_another_lies_on_its_path() -> None:
    trie = TokenTrie.from_sequences(
        [
            ScoredSequence((5, 1, 2, 3), 1),
            ScoredSequence((5, 1), 1),
            ScoredSequence((5, 1, 2, 3), 1),
        ]
    )
    assert trie.tokens == [5, 1, 2]
    assert trie.is_single_path
    assert trie.terms == [[(0, 1), (1, 2), (2, 3)], [(0, 1)], [(0, 1), (1, 2), (2, 3)]]


def test_what_is_read_elsewhere_is_neither_laid_nor_counted_among_the_places() -> None:
    trie = TokenTrie.from_sequences(
        [ScoredSequence((9, 9, 5, 1), 3), ScoredSequence((9, 9, 6, 2), 3)], skip=2
    )
    assert trie.tokens == [5, 6]
    assert trie.ends == [1, 2]
    assert trie.places == [0, 0]
    assert trie.terms == [[(0, 1)], [(1, 2)]]
    assert not trie.is_single_path  # two paths that share what was skipped


def test_a_last_token_is_a_target_and_never_read() -> None:
    trie = TokenTrie.from_sequences([ScoredSequence((5, 6), 1)])
    assert (trie.tokens, trie.terms) == ([5], [[(0, 6)]])


@st.composite
def families(draw: st.DrawFn) -> tuple[list[ScoredSequence], int]:
    """Draw sequences of three tokens only, so that many share beginnings, are equal or nested."""
    opening = draw(st.lists(st.integers(0, 2), max_size=4))
    tails = draw(st.lists(st.lists(st.integers(0, 2), max_size=6), min_size=1, max_size=9))
    skip = draw(st.integers(0, len(opening)))
    sequences = []
    for tail in tails:
        tokens = [*opening, *tail]
        tokens += [0] * (skip + 2 - len(tokens))
        first = draw(st.integers(skip + 1, len(tokens) - 1))
        sequences.append(ScoredSequence(tuple(tokens), first))
    return sequences, skip


@given(families())
@example(
    (
        [
            ScoredSequence((1, 2, 3), 2),
            ScoredSequence((1, 2, 3, 4), 2),
            ScoredSequence((1, 2, 9), 2),
        ],
        1,
    )
)
def test_every_term_sees_its_own_sequence_and_nothing_is_laid_twice(
    family: tuple[list[ScoredSequence], int],
) -> None:
    sequences, skip = family
    trie = TokenTrie.from_sequences(sequences, skip)
    assert len(trie.terms) == len(sequences)
    for sequence, terms in zip(sequences, trie.terms, strict=True):
        scored = range(sequence.first, len(sequence.tokens))
        assert [target for _, target in terms] == [sequence.tokens[j] for j in scored]
        for (place, _), j in zip(terms, scored, strict=True):
            seen = path_to(trie, place)
            assert tuple(trie.tokens[k] for k in seen) == sequence.tokens[skip:j]
            assert [trie.places[k] for k in seen] == list(range(j - skip))
    for place in range(len(trie)):
        assert trie.places[place] == len(path_to(trie, place)) - 1
        assert place < trie.ends[place] <= len(trie)
    assert nothing_twice(trie)
    assert len(trie) == len(beginnings(sequences, skip))
    ended = sum(len(path_to(trie, place)) == place + 1 for place in range(len(trie)))
    assert trie.is_single_path == (ended == len(trie))


@given(families())
def test_the_order_of_sequences_moves_only_their_terms(
    family: tuple[list[ScoredSequence], int],
) -> None:
    sequences, skip = family
    trie, turned = (
        TokenTrie.from_sequences(sequences, skip),
        TokenTrie.from_sequences(sequences[::-1], skip),
    )
    assert (turned.tokens, turned.ends, turned.places) == (trie.tokens, trie.ends, trie.places)
    assert turned.terms == trie.terms[::-1]


@given(
    st.lists(st.integers(0, 1), max_size=12),
    st.lists(st.integers(0, 1), max_size=12),
    st.lists(st.integers(0, 9), max_size=12),
)
def test_common_length_is_that_of_a_loop(a: list[int], b: list[int], start: list[int]) -> None:
    a, b = [*start, *a], [*start, *b]
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    assert common_prefix_length(a, b) == common_prefix_length(b, a) == count
    assert common_prefix_length(a, a) == len(a)
