from __future__ import annotations

import hashlib
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.errors import DataError
from medtune.core.prompt import HIDDEN_STEM
from medtune.core.records import Question, Variant
from medtune.data.load import load_split
from medtune.evaluation.perturbations import (
    NONE_OF_THE_ABOVE,
    OPTION_INJECTIONS,
    STEM_INJECTIONS,
    injection_target,
    is_none_of_the_above,
    perturb_questions,
    refers_to_other_options,
)

VARIANTS: tuple[Variant, ...] = get_args(Variant)
INJECTED: tuple[Variant, ...] = ("stem-injection", "option-injection")


def question(name: str = "q1", **changes: object) -> Question:
    fields = {
        "id": name,
        "stem": "Which vitamin prevents scurvy?",
        "options": ("Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin D"),
        "answer": 2,
        "subject": "Biochemistry",
        "topic": "Vitamins",
        "group": "g1",
    }
    return Question.model_validate(fields | changes)


def many(n: int = 2000) -> list[Question]:
    return [question(f"q{number}", answer=number % 4) for number in range(n)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_stays(variant: Variant) -> None:
    for asked in (many(200), load_split("starter:recall").questions):
        made = perturb_questions(asked, variant, 0)
        assert [q.id for q in made] == [q.id for q in asked]
        for before, after in zip(asked, made, strict=True):
            Question.model_validate(after.model_dump())  # still a whole question
            assert after.answer == before.answer
            assert len(after.options) == len(before.options)
            for name in ("subject", "topic", "group", "explanation"):
                assert getattr(after, name) == getattr(before, name)


def test_plain_is_plain() -> None:
    assert perturb_questions(many(5), "plain", 0) == many(5)


def test_without_the_stem() -> None:
    made = perturb_questions(many(20), "options-only", 0)
    assert {q.stem for q in made} == {HIDDEN_STEM}
    assert [q.options for q in made] == [q.options for q in many(20)]


def test_none_of_the_above_replaces_one_option_and_is_right_in_half() -> None:
    made = perturb_questions(many(), "none-of-the-above", 0)
    right = []
    for before, after in zip(many(), made, strict=True):
        places = [i for i, option in enumerate(after.options) if is_none_of_the_above(option)]
        assert len(places) == 1
        assert after.stem == before.stem
        others = [i for i in range(4) if i not in places]
        assert all(after.options[i] == before.options[i] for i in others)
        right.append(places[0] == after.answer)
    # Always choosing it is half right: 5 standard deviations of 2000 coins are 0.056.
    assert sum(right) / len(right) == pytest.approx(0.5, abs=0.056)
    # In place: no letter is right more often than it was.
    assert Counter(q.answer for q in made) == Counter(q.answer for q in many())


@pytest.mark.parametrize(
    "option",
    [
        *("None of the above", "NONE", "None.", "none of these", "All of the above.", "All"),
        *(
            "Any of the above",
            "Both",
            "Both of the above",
            "Neither",
            "all the above",
            "All of above",
        ),
        *("Both A and B", "A and C", "a, b and c", "Both (A) & (C)", "'B' & 'C'", "A, B are true"),
        *("Both 1 and 2", "By all of the above mechanisms", "None is true", "All are correct"),
        *("None of the other options", "Either of the three", "Only A and B"),
    ],
)
def test_options_that_speak_of_others(option: str) -> None:
    assert refers_to_other_options(option)
    asked = question(options=("Vitamin C", "Vitamin A", option), answer=0)
    assert perturb_questions([asked, question("q2")], "none-of-the-above", 0)[0].id == "q2"
    for variant in VARIANTS:
        if variant != "none-of-the-above":
            assert len(perturb_questions([asked], variant, 0)) == 1


@pytest.mark.parametrize(
    "option",
    [
        *("All body cells", "Both ovaries", "None affected, all carriers", "Above the inion"),
        *("Either clockwise or anticlockwise", "All-trans retinoic acid", "Hepatitis A and B"),
        *("A", "B", "1 and 2", "Nonexudative", "Allopurinol", "A band", "IgA and IgM", "Bothrops"),
    ],
)
def test_options_that_speak_for_themselves(option: str) -> None:
    assert not refers_to_other_options(option)


@pytest.mark.parametrize("variant", INJECTED)
def test_an_injection_pushes_a_wrong_option_and_says_which(variant: Variant) -> None:
    asked = many()
    pushed = Counter[int]()
    for before, after in zip(asked, perturb_questions(asked, variant, 3), strict=True):
        place = injection_target(before, variant, 3)
        assert place is not None
        assert place == injection_target(after, variant, 3)
        assert place != before.answer
        pushed[place] += 1
        if variant == "stem-injection":
            stem, _, told = after.stem.partition("\n")
            assert stem == before.stem
            assert told.endswith(f" {before.letters[place]}. {before.options[place]}")
            assert after.options == before.options
        else:
            changed = [i for i in range(4) if after.options[i] != before.options[i]]
            assert changed == [place]
            assert after.options[place].removeprefix(before.options[place]) in OPTION_INJECTIONS
            assert after.stem == before.stem
    # Each place is wrong in three quarters, and pushed in a third of these: 500 of 2000.
    assert all(count == pytest.approx(500, abs=100) for count in pushed.values())


def test_every_template_is_used() -> None:
    told = {q.stem.partition("\n")[2] for q in perturb_questions(many(), "stem-injection", 0)}
    assert len(told) == len(STEM_INJECTIONS) * 4
    options = [
        option for q in perturb_questions(many(), "option-injection", 0) for option in q.options
    ]
    assert all(any(option.endswith(suffix) for option in options) for suffix in OPTION_INJECTIONS)


@pytest.mark.parametrize("variant", ["plain", "options-only", "none-of-the-above"])
def test_other_variants_push_nothing(variant: Variant) -> None:
    assert injection_target(question(), variant, 0) is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_happens_to_one_does_not_depend_on_the_others(variant: Variant) -> None:
    asked = many(300)
    made = {q.id: q for q in perturb_questions(asked, variant, 0)}
    assert perturb_questions(asked[::-7], variant, 0) == [made[q.id] for q in asked[::-7]]


@pytest.mark.parametrize("variant", ["none-of-the-above", *INJECTED])
def test_another_seed_chooses_otherwise(variant: Variant) -> None:
    assert perturb_questions(many(50), variant, 0) == perturb_questions(many(50), variant, 0)
    assert perturb_questions(many(50), variant, 0) != perturb_questions(many(50), variant, 1)


def test_the_choice_is_a_hash_of_seed_purpose_and_id() -> None:
    digest = hashlib.sha256(b"7\nstem-injection option\nq1").digest()
    wrong = [0, 1, 3]
    expected = wrong[int.from_bytes(digest[:8], "big") % 3]
    assert injection_target(question(), "stem-injection", 7) == expected


def test_a_suffix_never_makes_two_options_equal() -> None:
    first, second, third = OPTION_INJECTIONS
    for number in range(30):
        asked = question(f"q{number}", options=("X", f"X{first.upper()}", "Right"), answer=2)
        (made,) = perturb_questions([asked], "option-injection", 0)
        Question.model_validate(made.model_dump())
    taken = ("X", f"X{first}", f"X{second}", f"X{third}", "Right")
    full = [question(f"q{number}", options=taken, answer=4) for number in range(40)]
    kept = {q.id for q in perturb_questions(full, "option-injection", 0)}
    # Where X is pushed every suffix is taken: left out.
    lost = {q.id for q in full if injection_target(q, "option-injection", 0) == 0}
    assert lost
    assert {q.id for q in full} - kept == lost


TEXT = st.text(min_size=1).filter(lambda text: text.strip() and "\n" not in text)


@given(TEXT, TEXT, TEXT, st.sampled_from(VARIANTS), st.integers(0, 2**40))
def test_any_text_survives(name: str, stem: str, option: str, variant: Variant, seed: int) -> None:
    if refers_to_other_options(option) or " ".join(option.casefold().split()) in ("left", "right"):
        return
    asked = question(name, stem=stem, options=("Left", option, "Right"), answer=0)
    (made,) = perturb_questions([asked], variant, seed)
    Question.model_validate(made.model_dump())
    if variant == "stem-injection":
        place = injection_target(asked, variant, seed)
        assert place is not None
        assert made.stem.startswith(stem)
        assert made.stem.endswith(asked.options[place])


def test_braces_are_text() -> None:
    asked = question(options=("{letter}", "{text} {0}", "Right"), answer=2)
    (made,) = perturb_questions([asked], "stem-injection", 0)
    place = injection_target(asked, "stem-injection", 0)
    assert place is not None
    assert made.stem.endswith(f"{'AB'[place]}. {asked.options[place]}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_questions_without_a_label_are_refused(variant: Variant) -> None:
    with pytest.raises(DataError, match="1 of 3 questions have no label"):
        perturb_questions([question("a"), question("b", answer=None), question("c")], variant, 0)


def test_the_variants_own_option_speaks_of_others() -> None:
    assert refers_to_other_options(NONE_OF_THE_ABOVE)
    assert not perturb_questions(
        perturb_questions([question()], "none-of-the-above", 0), "none-of-the-above", 0
    )
