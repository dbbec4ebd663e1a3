from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.experiment import EvaluationConfig
from medtune.core.prompt import HIDDEN_STEM, LetterForm, PromptStyle, TextForm
from medtune.core.protocols import Decoding
from medtune.core.records import Method, Question, ShotChoice, SplitDescription, Variant
from medtune.data.arrow_table import QuestionTable
from medtune.evaluation.exam import Exam, Shots
from medtune.evaluation.perturbations import perturb_questions
from medtune.models.fake import FakeModel

CHOICES: tuple[ShotChoice, ...] = get_args(ShotChoice)
SUBJECTS = ("Anatomy", "Skin", None, "Anatomy", "ENT", "Anatomy", "Skin", None)


def question(name: str, subject: str | None = None, answer: int = 0) -> Question:
    return Question(
        id=name, stem=f"Which is {name}?", options=("Yes", "No", "Maybe"), answer=answer
    ).model_copy(update={"subject": subject})


POOL = [question(f"p{n}", subject) for n, subject in enumerate(SUBJECTS)]
ASKED = [question(f"q{n}", subject) for n, subject in enumerate(("Skin", "Anatomy", None, "Eye"))]


def ids(questions: Sequence[Question]) -> list[str]:
    return [q.id for q in questions]


# Worked examples


def test_fixed_shots_are_the_pools_first_for_every_question() -> None:
    shots = Shots(POOL, 3)
    assert [ids(shots.select_shots(q)) for q in ASKED] == [["p0", "p1", "p2"]] * 4


def test_shots_of_the_own_subject_come_first_and_are_filled_up_with_the_pools_first() -> None:
    found = [ids(Shots(POOL, 3, "subject").select_shots(q)) for q in ASKED]
    assert found == [
        ["p1", "p6", "p0"],  # both of Skin
        ["p0", "p3", "p5"],  # three of Anatomy
        ["p0", "p1", "p2"],  # no subject is no subject in common
        ["p0", "p1", "p2"],  # none of Eye
    ]


def test_shots_by_subject_are_the_same_for_all_questions_of_a_subject() -> None:
    shots = Shots(POOL, 4, "subject")
    assert shots.select_shots(question("a", "Skin")) == shots.select_shots(
        question("b", "Skin", answer=2)
    )
    assert shots.select_shots(question("a", "Skin")) == Shots(POOL, 4, "subject").select_shots(
        ASKED[0]
    )


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from(["Anatomy", "Skin", "ENT", None]), min_size=1, max_size=12),
    st.data(),
    st.sampled_from(CHOICES),
)
def test_so_many_different_shots_as_were_asked_for(
    subjects: list[str | None], data: st.DataObject, by: ShotChoice
) -> None:
    pool = [question(f"p{n}", subject) for n, subject in enumerate(subjects)]
    count = data.draw(st.integers(0, len(pool)))
    for asked in (*ASKED, question("q9", "ENT")):
        found = ids(Shots(pool, count, by, seed=3).select_shots(asked))
        assert len(set(found)) == len(found) == count
        assert set(found) <= set(ids(pool))


def test_random_shots_depend_on_the_seed_and_the_question_alone() -> None:
    shots = Shots(POOL, 3, "random", seed=5)
    alone = shots.select_shots(ASKED[1])
    # Whatever was asked before, and whatever the question says beside its id.
    shots.select_shots(ASKED[0])
    assert shots.select_shots(ASKED[1]) == alone
    assert Shots(POOL, 3, "random", seed=5).select_shots(question("q1", "ENT", answer=2)) == alone
    assert any(
        Shots(POOL, 3, "random", seed=s).select_shots(ASKED[1]) != alone for s in range(6, 9)
    )
    assert any(shots.select_shots(q) != alone for q in (ASKED[0], ASKED[2], ASKED[3]))


def test_random_shots_are_drawn_evenly_and_in_any_order() -> None:
    shots = Shots(POOL, 2, "random")
    drawn = [ids(shots.select_shots(question(f"r{n}"))) for n in range(2000)]
    for place in range(2):
        counts = Counter(found[place] for found in drawn)
        # 2000 / 8 = 250 each, with a standard deviation of 14.8
        assert all(abs(counts[p.id] - 250) < 75 for p in POOL)


@pytest.mark.parametrize("by", CHOICES)
def test_a_table_serves_as_a_pool(by: ShotChoice) -> None:
    for asked in ASKED:
        found = Shots(QuestionTable.from_questions(POOL), 3, by).select_shots(asked)
        assert list(found) == list(Shots(POOL, 3, by).select_shots(asked))


@pytest.mark.parametrize("by", CHOICES)
def test_no_shot_has_no_identity(by: ShotChoice) -> None:
    assert Shots(POOL, 0, by).select_shots(ASKED[0]) == ()
    assert Shots(POOL, 0, by, seed=4).hash_components() is None
    assert Shots().hash_components() is None


def relabelled(place: int, **changes: Any) -> list[Question]:
    return [q.model_copy(update=changes) if n == place else q for n, q in enumerate(POOL)]


@pytest.mark.parametrize(
    ("by", "changed", "differs"),
    [
        ("fixed", Shots(POOL, 2), False),
        ("fixed", Shots(POOL, 3), True),
        ("fixed", Shots(POOL, 2, seed=1), False),
        ("fixed", Shots(POOL[:2], 2), False),
        ("fixed", Shots(POOL[1:], 2), True),
        ("fixed", Shots(POOL[1::-1], 2), True),
        ("fixed", Shots(relabelled(1, answer=1), 2), True),
        ("fixed", Shots(relabelled(1, options=("Yes", "No", "Never")), 2), True),
        ("fixed", Shots(relabelled(2, answer=1), 2), False),
        ("fixed", Shots(relabelled(1, subject="ENT"), 2), False),
        ("fixed", Shots(relabelled(1, explanation="So it is."), 2), False),
        ("fixed", Shots(POOL, 2, "random"), True),
        ("fixed", Shots(POOL, 2, "subject"), True),
        ("random", Shots(POOL, 2, "random", seed=1), True),
        ("random", Shots(POOL[:7], 2, "random"), True),
        ("random", Shots(POOL[::-1], 2, "random"), True),
        ("random", Shots(relabelled(7, answer=1), 2, "random"), True),
        ("random", Shots(relabelled(7, subject="ENT"), 2, "random"), False),
        ("subject", Shots(POOL, 2, "subject", seed=1), False),
        ("subject", Shots(relabelled(4, subject="Skin"), 2, "subject"), True),
        ("subject", Shots(relabelled(6, stem="Which?"), 2, "subject"), True),
    ],
)
def test_the_identity_changes_with_the_examples(
    by: ShotChoice, changed: Shots, differs: bool
) -> None:
    given = Shots(POOL, 2, by)
    assert (given.hash_components() != changed.hash_components()) == differs
    asked = [*ASKED, *(question(f"r{n}", "ENT") for n in range(40))]
    shown = [
        [[(s.stem, s.options, s.answer) for s in some.select_shots(q)] for q in asked]
        for some in (given, changed)
    ]
    if not differs:
        assert shown[0] == shown[1]


# Exams


def exam(method: Method = "letter", **changes: Any) -> Exam:
    data = SplitDescription(source="starter:recall", n=len(ASKED), excluded={}, hash="h")
    return replace(Exam(ASKED, data, PromptStyle(), method, "byte"), **changes)


def planned(method: Method, **settings: Any) -> Exam:
    return Exam.from_config(
        EvaluationConfig(**settings),
        method,
        ASKED,
        exam().data,
        PromptStyle(),
        "letter",
        POOL,
    )


def test_a_planned_exam_takes_its_settings() -> None:
    found = planned(
        "cloze",
        normalization="token",
        orders="cyclic",
        options_only=7,
        shots=2,
        shots_by="subject",
        max_new_tokens=9,
    )
    assert (found.method, found.normalization, found.orders) == ("cloze", "token", "cyclic")
    assert (found.options_only, found.decoding.max_new_tokens, found.target) == (7, 9, "letter")
    assert (found.shots.count, found.shots.by, found.shots.pool) == (2, "subject", POOL)
    assert (found.variant, found.constrained) == ("plain", False)


def test_free_answers_know_one_order_and_no_baseline() -> None:
    found = planned("generate", orders="pride", options_only=7, constrained=True)
    assert (found.orders, found.options_only, found.constrained) == ("given", 0, True)
    assert found.effective_normalization is None


@pytest.mark.parametrize("method", ["letter", "cloze"])
def test_what_is_scored_is_not_constrained(method: Method) -> None:
    assert not planned(method, constrained=True).constrained


def test_letters_are_compared_as_they_are_and_texts_as_the_settings_say() -> None:
    assert planned("letter", normalization="token").effective_normalization == "sum"
    assert planned("cloze", normalization="token").effective_normalization == "token"


def test_an_exam_on_a_variant_asks_changed_questions_without_a_baseline() -> None:
    given = exam(options_only=5, orders="cyclic", shots=Shots(POOL, 1))
    found = given.perturb("stem-injection", seed=4)
    assert list(found.questions) == perturb_questions(ASKED, "stem-injection", 4)
    assert (found.variant, found.options_only) == ("stem-injection", 0)
    assert (found.data, found.orders, found.shots) == (given.data, "cyclic", given.shots)
    blind = exam().perturb("options-only")
    assert {q.stem for q in blind.questions} == {HIDDEN_STEM}


MODEL = FakeModel("noisy", {})


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "cloze"},
        {"orders": "cyclic"},
        {"orders": "pride"},
        {"options_only": 3},
        {"shots": Shots(POOL, 1)},
        {"style": PromptStyle(system="")},
        {"style": PromptStyle(letter=LetterForm(instruction="Say a letter."))},
        {"data": SplitDescription(source="starter:recall", n=4, excluded={}, hash="other")},
        {"variant": "options-only"},
    ],
)
def test_what_determines_the_result_is_part_of_the_inputs(changes: dict[str, Any]) -> None:
    assert exam(**changes).hash_inputs(MODEL, 1) != exam().hash_inputs(MODEL, 1)


def test_what_older_rules_chose_is_not_valid_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = exam().hash_inputs(MODEL, 1)
    monkeypatch.setattr("medtune.evaluation.exam.SCORING_VERSION", 1)
    assert exam().hash_inputs(MODEL, 1) != now


@pytest.mark.parametrize(
    "changes",
    [
        {"normalization": "sum"},  # letters are compared as they are
        {"target": "letter"},
        {"constrained": True},
        {"decoding": Decoding(9)},
        {"shots": Shots(POOL, 0, "random", 3)},
        {"data": SplitDescription(source="file:copy.csv", n=4, excluded={"twins": 2}, hash="h")},
    ],
)
def test_what_does_not_is_not(changes: dict[str, Any]) -> None:
    assert exam(**changes).hash_inputs(MODEL, 1) == exam().hash_inputs(MODEL, 1)


def test_the_parser_counts_for_free_answers_alone() -> None:
    assert exam().hash_inputs(MODEL, 1) == exam().hash_inputs(MODEL, 2)
    free = exam("generate")
    assert free.hash_inputs(MODEL, 1) != free.hash_inputs(MODEL, 2)
    assert replace(free, constrained=True).hash_inputs(MODEL, 1) != free.hash_inputs(MODEL, 1)
    assert replace(free, target="letter").hash_inputs(MODEL, 1) != free.hash_inputs(MODEL, 1)
    cloze = PromptStyle(text=TextForm(answer="It is {text}"))
    assert replace(free, style=cloze).hash_inputs(MODEL, 1) != free.hash_inputs(MODEL, 1)


def test_every_variant_and_every_seed_of_one_is_another_exam() -> None:
    variants: tuple[Variant, ...] = get_args(Variant)
    found = {exam().perturb(v).hash_inputs(MODEL, 1) for v in variants}
    assert len(found) == len(variants)
    seeds = {exam().perturb("stem-injection", s).hash_inputs(MODEL, 1) for s in range(5)}
    assert len(seeds) > 1
    again = exam().perturb("stem-injection", 3).hash_inputs(MODEL, 1)
    assert again == exam().perturb("stem-injection", 3).hash_inputs(MODEL, 1)
