from __future__ import annotations

import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.records import Question
from medtune.data.dedup.wording_clusters import rank_in_wording_clusters
from medtune.data.load import load_split

OPTIONS = ("Aspirin", "Warfarin", "Heparin", "Clopidogrel")
TENDON = "Which tendon is torn in a mallet finger of the hand"
FEVER = "Rose spots on the trunk appear during the second week of enteric fever"
VALVE = "Austin Flint murmur accompanies regurgitation across the aortic valve"


def question(stem: str, right: str = "Aspirin", answer: int | None = 0, name: str = "") -> Question:
    options = (right, "Warfarin", "Heparin", "Clopidogrel")
    return Question(id=name or stem, stem=stem, options=options, answer=answer)


def ranks(*stems: str, order: Sequence[int] | None = None) -> list[int]:
    questions = [question(stem, name=f"{n}") for n, stem in enumerate(stems)]
    return rank_in_wording_clusters(questions, order if order is not None else range(len(stems)))


def test_unlike_wordings_lead_a_cluster_each() -> None:
    assert ranks(TENDON, FEVER, VALVE) == [0, 0, 0]


def test_like_wordings_are_ranked_in_order() -> None:
    assert ranks(TENDON, FEVER, f"{TENDON}?", f"{TENDON} today") == [0, 0, 1, 2]


def test_the_order_says_who_leads() -> None:
    stems = (TENDON, f"{TENDON}?", FEVER, f"{TENDON} today")
    assert ranks(*stems, order=[3, 2, 1, 0]) == [2, 1, 0, 0]


def test_joining_takes_likeness_to_the_leader_not_to_a_member() -> None:
    # The middle one is like both ends, which are not like each other (3 of 15 words).
    words = [f"word{n}" for n in range(14)]
    left, middle, right = (" ".join(words[start : start + 8]) for start in (0, 3, 6))
    assert ranks(middle, left, right) == [0, 1, 2]
    assert ranks(left, middle, right) == [0, 1, 0]


def test_of_two_leaders_the_more_similar_one_is_joined() -> None:
    # The last one shares 5 words with the first leader and 7 with the second.
    words = [f"word{n}" for n in range(14)]
    left, right, between = (" ".join(words[a:b]) for a, b in ((0, 8), (6, 14), (3, 13)))
    assert ranks(left, right, right, between) == [0, 0, 1, 2]
    assert ranks(left, left, right, between) == [0, 1, 0, 1]


def test_case_punctuation_tags_and_common_words_do_not_count() -> None:
    assert ranks(TENDON, f"IS {TENDON.upper()}, EXCEPT: (AIIMS 2010)") == [0, 1]


def test_the_right_answer_is_part_of_the_wording() -> None:
    stem = "Drug of choice is"
    same = [question(stem, "Ethosuximide", name=n) for n in "ab"]
    assert rank_in_wording_clusters(same, [0, 1]) == [0, 1]
    unlike = [question(stem, right, name=right) for right in ("Ethosuximide tablets", "Gold salt")]
    long = [q.model_copy(update={"stem": "What is it"}) for q in unlike]
    assert rank_in_wording_clusters(long, [0, 1]) == [0, 0]


def test_wrong_answers_are_not() -> None:
    questions = [
        question(TENDON, name="a"),
        question(TENDON, name="b").model_copy(update={"options": ("Aspirin", "x", "y", "z")}),
    ]
    assert rank_in_wording_clusters(questions, [0, 1]) == [0, 1]


def test_an_unlabelled_question_has_its_stem() -> None:
    questions = [question(TENDON, answer=None, name=n) for n in "ab"]
    assert rank_in_wording_clusters(questions, [0, 1]) == [0, 1]


def test_a_stem_of_common_words_only_has_a_wording() -> None:
    stems = ("Which of these is true", "Which of these is true", "What are all the most")
    questions = [question(stem, answer=None, name=f"{n}") for n, stem in enumerate(stems)]
    assert rank_in_wording_clusters(questions, [0, 1, 2]) == [0, 1, 0]


def test_no_question_has_no_rank() -> None:
    assert ranks() == []


def test_one_question_leads() -> None:
    assert ranks(TENDON) == [0]


@given(
    st.lists(st.sampled_from([TENDON, FEVER, VALVE]), max_size=12),
    st.randoms(use_true_random=False),
)
def test_ranks_count_every_cluster_from_zero(stems: list[str], lots: random.Random) -> None:
    order = list(range(len(stems)))
    lots.shuffle(order)
    found = ranks(*stems, order=order)
    for stem in set(stems):
        mine = [found[place] for place in order if stems[place] == stem]
        assert mine == list(range(len(mine)))


def test_the_starter_is_ranked_without_a_gap() -> None:
    questions = list(load_split("starter:train").questions)
    found = rank_in_wording_clusters(questions, range(len(questions)))
    highest = max(found)
    counts = [found.count(rank) for rank in range(highest + 1)]
    # As many of each rank as there are clusters of at least that size: never more than before.
    assert counts == sorted(counts, reverse=True)
    assert min(counts) >= 1
    assert counts[0] > 200


@pytest.mark.parametrize("count", [3000])
def test_boilerplate_stays_fast(count: int) -> None:
    stems = [f"Which drug causes adverse effect number {n} in patients?" for n in range(count)]
    start = time.process_time()
    found = ranks(*stems)
    assert time.process_time() - start < 20
    assert found.count(0) < count / 10
