from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import combinations
from typing import Any

import pytest

from duplicates import found_pairs, judged, labelled, questions_of
from medtune.core.records import Question
from medtune.data.dedup.canonical_form import canonicalize_question
from medtune.data.dedup.find_duplicates import find_overlap
from medtune.data.load import load_split

# Nobody looks at "held" to mend `data.dedup.is_duplicate` or `data.cleaning.exam_tags`: it says
# what they are worth.
PARTS = ("dev", "held")
SAME = {"case", "punctuation", "order", "word", "tag", "mixed", "spelling"}
SAME |= {"paraphrase", "abbreviation"}
DIFFERENT = {"fact", "number", "opposite", "negation", "stem", "aspect", "template", "shared"}
TAGS = ("AIIMS 12", "(AI 2010)", "[PGI June 2009]", "- NEET Pattern 2014")


def rows_of(part: str) -> list[dict[str, Any]]:
    return labelled(part)


def both() -> list[dict[str, Any]]:
    return [row for part in PARTS for row in rows_of(part)]


def pool(part: str) -> list[Question]:
    return questions_of(rows_of(part))


judged_once = cache(judged)


# The file


def test_the_ids_are_unique() -> None:
    counts = Counter(row["id"] for row in both())
    assert len(counts) == len(both()) == 654


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_enough_of_every_kind(part: str) -> None:
    counts = Counter(row["kind"] for row in rows_of(part))
    assert set(counts) == SAME | DIFFERENT
    assert min(counts.values()) >= 10


def test_the_kind_says_whether_a_pair_is_the_same() -> None:
    assert [r["id"] for r in both() if r["same"] is not (r["kind"] in SAME)] == []
    assert {row["part"] for row in both()} == set(PARTS)


def test_no_question_stands_in_both_parts() -> None:
    dev, held = (
        {(this.stem, this.options) for this in map(canonicalize_question, pool(part))}
        for part in PARTS
    )
    assert len(dev) > 300
    assert len(held) > 300
    assert not dev & held


def test_pairs_of_the_same_are_not_told_by_equal_texts() -> None:
    # Otherwise the set would measure nothing.
    for row in both():
        assert row["a"] != row["b"]


# What is found


@pytest.mark.parametrize("part", PARTS)
def test_almost_all_that_is_the_same_is_found(part: str) -> None:
    assert judged_once(part).recall.value >= 0.95


@pytest.mark.parametrize("part", PARTS)
def test_almost_all_that_is_found_is_the_same(part: str) -> None:
    assert judged_once(part).precision.value >= 0.95


def test_half_of_what_is_said_in_other_words_is_found() -> None:
    # No more: a rule that finds the rest also takes other questions with the same answer.
    found = [judged_once(part).by_kind["paraphrase"] for part in PARTS]
    assert sum(share.value * share.n for share in found) >= 0.5 * sum(share.n for share in found)


@pytest.mark.parametrize("kind", sorted(SAME - {"spelling", "paraphrase"}))
@pytest.mark.parametrize("part", PARTS)
def test_no_kind_of_change_hides_the_same(part: str, kind: str) -> None:
    assert judged_once(part).by_kind[kind].value >= 0.9


@pytest.mark.parametrize("kind", sorted(DIFFERENT))
@pytest.mark.parametrize("part", PARTS)
def test_no_kind_of_likeness_makes_the_same(part: str, kind: str) -> None:
    apart = [row["id"] for row in rows_of(part) if row["kind"] == kind]
    taken = {a[:-1] for a, b in judged_once(part).wrong if a[:-1] == b[:-1]}
    assert len(taken & set(apart)) / len(apart) <= 0.05


# Planted duplicates


def planted(question: Question) -> list[Question]:
    """Write a question again in the ways of question banks."""
    turned = question.permute_options(tuple(reversed(range(len(question.options)))))
    changes: dict[str, dict[str, Any]] = {
        "case": {
            "stem": question.stem.upper(),
            "options": tuple(option.title() for option in question.options),
        },
        "punctuation": {
            "stem": question.stem.rstrip("?:. ").replace(", ", " , ") + "____ :-",
            "options": tuple(f"{option}." for option in question.options),
        },
        "order": {"options": turned.options, "answer": turned.answer},
        **{f"tag {tag}": {"stem": f"{question.stem} {tag}"} for tag in TAGS},
    }
    return [
        question.model_copy(update={**change, "id": f"{question.id} {name}"})
        for name, change in changes.items()
    ]


def test_the_starter_repeats_nothing() -> None:
    questions = list(load_split("starter:train").questions)
    assert found_pairs(questions) == set()


def test_every_planted_twin_is_found_and_nothing_else() -> None:
    questions = list(load_split("starter:train").questions)
    families = [[question, *planted(question)] for question in questions]
    assert {len(family) for family in families} == {8}
    expected = {(a.id, b.id) for family in families for a, b in combinations(family, 2)}
    # Originals first, twins behind: as train and an evaluated split lie.
    everything = questions + [twin for family in families for twin in family[1:]]
    assert found_pairs(everything) == expected


@pytest.mark.parametrize("tag", TAGS)
def test_a_planted_tag_is_an_exact_twin_wherever_the_original_stands(tag: str) -> None:
    questions = list(load_split("starter:recall").questions)
    tagged = [
        q.model_copy(update={"stem": f"{q.stem} {tag}", "id": f"{q.id} tagged"}) for q in questions
    ]
    overlap = find_overlap([*tagged, *questions], near=False)
    assert overlap.classes.tolist() == [*range(len(questions))] * 2
    assert overlap.torn == frozenset()
