from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.core.intervals import wilson_interval
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.data.arrow_table import QuestionTable
from medtune.data.dedup.canonical_form import canonicalize_question
from medtune.data.dedup.decontaminate import (
    EXAMPLES_PER_KIND,
    CleanedSource,
    Decontaminated,
    decontaminate,
)
from medtune.data.dedup.is_duplicate import answers_conflict, duplicate_kind

# Six questions that have nothing to do with each other, and each again in other words.
FACTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "A": (
        "Which nerve supplies the deltoid muscle?",
        "Which nerves supplies the deltoid muscle?",
        ("Axillary nerve", "Radial nerve", "Ulnar nerve", "Median nerve"),
    ),
    "B": (
        "Koplik lesions are an early sign of",
        "Koplik lesion is the early sign of",
        ("Measles", "Mumps", "Rubella", "Chickenpox"),
    ),
    "C": (
        "Drug of choice for absence seizures in a child is",
        "Drug of choice in absence seizure in the child is",
        ("Ethosuximide", "Phenytoin", "Carbamazepine", "Diazepam"),
    ),
    "D": (
        "Barr bodies are absent in females having",
        "Barr bodies is absent in the female having",
        ("45 XO genome", "46 XX genome", "47 XXX genome", "48 XXXX genome"),
    ),
    "E": (
        "Ectopic implantation is commonest in the",
        "Ectopic implantations are commonest in",
        ("Ampulla", "Isthmus", "Ovary", "Cervix"),
    ),
    "F": (
        "Bamboo spine is the radiological feature of",
        "Bamboo spine is a radiological feature in",
        ("Ankylosing spondylitis", "Gout", "Psoriasis", "Paget disease"),
    ),
}


def one(code: str, name: str = "") -> Question:
    """Make a question of a code: fact, "'" for other words, and which option is right.

    "A0" is the first fact as it is, "a0" the same in capitals with its options turned round,
    "A'2" in other words with the third option right, "A-" without a label.
    """
    plain, other, options = FACTS[code[0].upper()]
    stem = other if "'" in code else plain
    answer = None if code.endswith("-") else int(code[-1])
    made = Question(id=name or code, stem=stem, options=options, answer=answer)
    if code[0].islower():
        made = made.permute_options((3, 2, 1, 0)).model_copy(update={"stem": stem.upper()})
    return made


def part(source: str, *codes: str) -> CleanedSource:
    """Name questions by their place and code: "t2.C1"."""
    questions = [one(code, f"{source[0]}{n}.{code}") for n, code in enumerate(codes)]
    return CleanedSource(source, QuestionTable.from_questions(questions))


def separated(
    train: CleanedSource, *evaluated: CleanedSource, near: bool = True, within: bool = True
) -> Decontaminated:
    return decontaminate(train, evaluated, near=near, within=within, progress=NoProgress())


def kept(found: Decontaminated, train: CleanedSource) -> list[str]:
    return [train.questions.ids[place] for place in found.kept]


def reasons(found: Decontaminated) -> dict[str, tuple[str, str | None]]:
    return {entry.id: (entry.reason, entry.twin) for entry in found.excluded}


@pytest.mark.parametrize("fact", FACTS)
def test_the_codes_mean_what_they_say(fact: str) -> None:
    plain, turned, other = (
        canonicalize_question(one(code)) for code in (f"{fact}0", f"{fact.lower()}0", f"{fact}'1")
    )
    assert duplicate_kind(plain, turned) == "exact"
    assert not answers_conflict(plain, turned)
    assert duplicate_kind(plain, other) == "near"
    assert answers_conflict(plain, other)
    for another in FACTS.keys() - {fact}:
        assert duplicate_kind(plain, canonicalize_question(one(f"{another}0"))) is None


# Who goes


def test_what_is_not_alike_stays() -> None:
    train = part("train", "A0", "B0", "C0")
    found = separated(train, part("dev", "D0"), part("exam", "E0", "F0"))
    assert found.kept.tolist() == [0, 1, 2]
    assert found.excluded == ()
    assert found.examples == ()


def test_what_is_evaluated_goes_with_its_twin() -> None:
    train = part("train", "A0", "b1", "C'0", "D0")
    found = separated(train, part("dev", "F0", "B1"), part("exam", "C0", "A0"))
    assert kept(found, train) == ["t3.D0"]
    assert reasons(found) == {
        "t0.A0": ("also evaluated", "exam e1.A0"),
        "t1.b1": ("also evaluated", "dev d1.B1"),
        "t2.C'0": ("nearly the same is evaluated", "exam e0.C0"),
    }
    assert {entry.source for entry in found.excluded} == {"train"}


def test_an_exact_twin_is_named_before_a_near_one_wherever_it_stands() -> None:
    train = part("train", "A0", "B0")
    found = separated(train, part("dev", "A'0", "C0"), part("exam", "A0"))
    assert reasons(found) == {"t0.A0": ("also evaluated", "exam e0.A0")}


def test_of_several_exact_twins_the_first_one_is_named() -> None:
    train = part("train", "A0", "B0")
    found = separated(train, part("dev", "C0", "a0", "A0"), part("exam", "A0"))
    assert reasons(found) == {"t0.A0": ("also evaluated", "dev d1.a0")}


def test_of_repetitions_the_first_one_stays() -> None:
    train = part("train", "B0", "A'0", "A0", "a0", "A'0")
    found = separated(train, part("dev", "F0"))
    assert kept(found, train) == ["t0.B0", "t1.A'0"]
    assert reasons(found) == {
        "t2.A0": ("nearly repeated", "train t1.A'0"),
        "t3.a0": ("nearly repeated", "train t1.A'0"),
        "t4.A'0": ("repeated", "train t1.A'0"),
    }


def test_repetitions_may_stay() -> None:
    train = part("train", "A0", "a0", "A'0", "B0", "B1", "C0")
    found = separated(train, part("dev", "c0"), within=False)
    assert kept(found, train) == ["t0.A0", "t1.a0", "t2.A'0"]
    # Conflicts and what is evaluated go all the same.
    assert reasons(found) == {
        "t3.B0": ("conflicting answers", "train t4.B1"),
        "t4.B1": ("conflicting answers", "train t3.B0"),
        "t5.C0": ("also evaluated", "dev d0.c0"),
    }


def test_of_a_conflict_both_go() -> None:
    train = part("train", "A0", "B0", "a1", "C0", "C'2")
    found = separated(train, part("dev", "F0"))
    assert kept(found, train) == ["t1.B0"]
    assert reasons(found) == {
        "t0.A0": ("conflicting answers", "train t2.a1"),
        "t2.a1": ("conflicting answers", "train t0.A0"),
        "t3.C0": ("conflicting answers", "train t4.C'2"),
        "t4.C'2": ("conflicting answers", "train t3.C0"),
    }


def test_those_that_agree_go_with_those_that_conflict() -> None:
    train = part("train", "A0", "A0", "A0", "A1")
    found = separated(train, part("dev", "F0"))
    assert kept(found, train) == []
    assert {reason for reason, _ in reasons(found).values()} == {"conflicting answers"}
    assert reasons(found)["t3.A1"][1] == "train t0.A0"


@pytest.mark.parametrize("codes", list(permutations(["A0", "A1", "A'0"])))
def test_who_conflicts_does_not_depend_on_the_order(codes: tuple[str, ...]) -> None:
    # The near one agrees with one half of a torn class, and conflicts with the other.
    train = part("train", "B0", *codes)
    found = separated(train, part("dev", "F0"))
    assert kept(found, train) == ["t0.B0"]
    for name, (reason, twin) in reasons(found).items():
        assert reason == "conflicting answers"
        # The rival has another answer, not merely another label's neighbour.
        assert twin is not None
        assert twin[-1] != name[-1]


def test_evaluated_wins_over_conflict() -> None:
    train = part("train", "A0", "A1", "B0", "B'1", "C0")
    found = separated(train, part("dev", "A2"), part("exam", "b0"))
    assert kept(found, train) == ["t4.C0"]
    assert reasons(found) == {
        "t0.A0": ("also evaluated", "dev d0.A2"),
        "t1.A1": ("also evaluated", "dev d0.A2"),
        "t2.B0": ("also evaluated", "exam e0.b0"),
        "t3.B'1": ("nearly the same is evaluated", "exam e0.b0"),
    }


def test_without_near_only_exact_ones_go() -> None:
    train = part("train", "A'0", "a0", "B0", "b0", "C0", "C'1", "D0", "D1")
    found = separated(train, part("dev", "A0"), near=False)
    assert kept(found, train) == ["t0.A'0", "t2.B0", "t4.C0", "t5.C'1"]
    assert reasons(found) == {
        "t1.a0": ("also evaluated", "dev d0.A0"),
        "t3.b0": ("repeated", "train t2.B0"),
        "t6.D0": ("conflicting answers", "train t7.D1"),
        "t7.D1": ("conflicting answers", "train t6.D0"),
    }
    assert sum(count.near for count in found.counts) == 0


def test_an_unlabelled_evaluation_conflicts_with_nothing() -> None:
    train = part("train", "A0", "A'1", "B0")
    found = separated(train, part("dev", "A-"))
    assert {r for r, _ in reasons(found).values()} == {
        "also evaluated",
        "nearly the same is evaluated",
    }
    assert [count.conflicts for count in found.counts][:2] == [0, 0]


def test_in_a_chain_only_what_is_like_one_that_stays_goes() -> None:
    # X ~ Y by options and spelling, Y ~ Z by stem and answer; X and Z share neither.
    stem, spelled, nerves = FACTS["A"]
    others = ("Axillary nerve", "Vagus nerve", "Sural nerve", "Phrenic nerve")
    chain = {
        name: Question(id=name, stem=text, options=options, answer=0)
        for name, text, options in (
            ("x", spelled, nerves),
            ("y", stem, nerves),
            ("z", stem, others),
        )
    }
    assert (
        duplicate_kind(canonicalize_question(chain["x"]), canonicalize_question(chain["y"]))
        == "near"
    )
    assert (
        duplicate_kind(canonicalize_question(chain["y"]), canonicalize_question(chain["z"]))
        == "near"
    )
    assert (
        duplicate_kind(canonicalize_question(chain["x"]), canonicalize_question(chain["z"])) is None
    )
    for order, stay in (("xyz", "xz"), ("yxz", "y"), ("zyx", "zx"), ("xzy", "xz")):
        train = CleanedSource(
            "train", QuestionTable.from_questions([*(chain[name] for name in order), one("B0")])
        )
        found = separated(train, part("dev", "F0"))
        assert kept(found, train) == [*stay, "B0"]
        # Those that stay still hang together: a split must not part them.
        *alike, unlike = found.alike.tolist()
        assert len(set(alike)) == 1
        assert unlike != alike[0]


def test_alike_numbers_belong_to_those_that_stay() -> None:
    train = part("train", "A0", "B0", "A'0", "a0", "C0")
    found = separated(train, part("dev", "B0"), within=False)
    assert kept(found, train) == ["t0.A0", "t2.A'0", "t3.a0", "t4.C0"]
    first, second, third, last = found.alike.tolist()
    assert first == second == third != last


# What is counted


TRAIN = ("A0", "B'0", "c1", "E0", "e0", "E'0", "F0", "f1", "D'2", "B0")
DEV = ("A0", "B0", "C0")
EXAM = ("a0", "D0", "D'0")


def counted(found: Decontaminated) -> dict[tuple[str, str], tuple[int, int, int]]:
    return {(c.source, c.among): (c.exact, c.near, c.conflicts) for c in found.counts}


def test_counts_by_hand() -> None:
    train, dev, exam = part("train", *TRAIN), part("dev", *DEV), part("exam", *EXAM)
    found = separated(train, dev, exam)
    assert counted(found) == {
        # A and B exactly, c with another answer, B' nearly.
        ("train", "dev"): (3, 1, 1),
        # A exactly; D' with another answer is exactly the exam's third.
        ("train", "exam"): (2, 0, 1),
        # A, B and C; C with another answer.
        ("dev", "train"): (3, 0, 1),
        # a and D' exactly; D nearly; both D with another answer.
        ("exam", "train"): (2, 1, 2),
        # e after E and f after F, of which f conflicts; E' after E, and B after B'.
        ("train", "train"): (2, 2, 1),
        ("dev", "dev"): (0, 0, 0),
        # D' after D.
        ("exam", "exam"): (0, 1, 0),
        ("dev", "exam"): (1, 0, 0),
    }
    assert kept(found, train) == ["t3.E0"]


def test_shares_are_of_the_split_whose_questions_are_counted() -> None:
    found = separated(part("train", *TRAIN), part("dev", *DEV), part("exam", *EXAM))
    shares = {(count.source, count.among): count.share for count in found.counts}
    assert shares["train", "dev"] == wilson_interval(4, 10)
    assert shares["dev", "train"] == wilson_interval(3, 3)
    assert shares["dev", "exam"] == wilson_interval(1, 3)


def test_counts_come_in_one_order() -> None:
    found = separated(part("train", "A0"), part("dev", "B0"), part("exam", "C0"))
    assert [(count.source, count.among) for count in found.counts] == [
        ("train", "dev"),
        ("train", "exam"),
        ("dev", "train"),
        ("exam", "train"),
        ("train", "train"),
        ("dev", "dev"),
        ("exam", "exam"),
        ("dev", "exam"),
    ]


def test_counts_do_not_depend_on_what_is_removed() -> None:
    parts = part("train", *TRAIN), part("dev", *DEV), part("exam", *EXAM)
    assert separated(*parts).counts == separated(*parts, within=False).counts


def test_a_conflict_is_that_of_the_pair_not_of_its_class() -> None:
    # Train answers A in two ways, dev in the first one only.
    found = separated(part("train", "A0", "A1", "A'0"), part("dev", "A0"))
    assert counted(found)["train", "dev"] == (2, 1, 1)
    assert counted(found)["dev", "train"] == (1, 0, 0)
    by_id = {example.question.id: example for example in found.examples if example.among == "dev"}
    assert {name: example.conflict for name, example in by_id.items()} == {
        "t0.A0": False,
        "t1.A1": True,
        "t2.A'0": False,
    }


# What is shown


def test_examples_belong_to_the_counts() -> None:
    found = separated(part("train", *TRAIN), part("dev", *DEV), part("exam", *EXAM))
    shown = [
        (example.among, example.question.id, example.twin.id, example.same, example.conflict)
        for example in found.examples
    ]
    assert {example.source for example in found.examples} == {"train"}
    # Near ones first, then conflicts, then exact ones, split by split; inside by lot.
    assert shown[0] == ("dev", "t1.B'0", "d1.B0", "near", False)
    assert shown[1] == ("dev", "t2.c1", "d2.C0", "exact", True)
    assert set(shown[2:4]) == {
        ("dev", "t0.A0", "d0.A0", "exact", False),
        ("dev", "t9.B0", "d1.B0", "exact", False),
    }
    assert shown[4:6] == [
        ("exam", "t8.D'2", "e2.D'0", "exact", True),
        ("exam", "t0.A0", "e0.a0", "exact", False),
    ]
    assert set(shown[6:8]) == {
        ("train", "t5.E'0", "t3.E0", "near", False),
        ("train", "t9.B0", "t1.B'0", "near", False),
    }
    assert shown[8:] == [
        ("train", "t7.f1", "t6.F0", "exact", True),
        ("train", "t4.e0", "t3.E0", "exact", False),
    ]


def test_an_example_tells_its_likeness() -> None:
    found = separated(part("train", "A0", "B'0"), part("dev", "a0", "B0"))
    likeness = {example.question.id: example.similarity for example in found.examples}
    assert likeness["t0.A0"] == 1
    assert 0.8 < likeness["t1.B'0"] < 1


def test_a_few_examples_of_each_kind_are_enough() -> None:
    train = part("train", *["A0"] * 9, *["A'0"] * 9, *["A1"] * 9)
    found = separated(train, part("dev", "A0"))
    dev = [(e.same, e.conflict) for e in found.examples if e.among == "dev"]
    assert (
        dev
        == [("near", False)] * EXAMPLES_PER_KIND
        + [("exact", True)] * EXAMPLES_PER_KIND
        + [("exact", False)] * EXAMPLES_PER_KIND
    )


# Whatever comes


CODES = st.lists(
    st.sampled_from([f"{x}{other}{n}" for x in "AaBC" for other in ("", "'") for n in "01"]),
    min_size=1,
    max_size=7,
)


def is_same(a: Question, b: Question, near: bool) -> bool:
    found = duplicate_kind(canonicalize_question(a), canonicalize_question(b))
    return found == "exact" or (near and found == "near")


@given(CODES, CODES, CODES, st.booleans(), st.booleans())
@settings(max_examples=80)
def test_what_is_left_is_what_a_comparison_of_all_pairs_leaves(
    train: list[str], dev: list[str], exam: list[str], near: bool, within: bool
) -> None:
    parts = [part("train", *train), part("dev", *dev), part("exam", *exam)]
    found = separated(*parts, near=near, within=within)
    evaluated = [question for other in parts[1:] for question in other.questions]
    mine = list(parts[0].questions)
    expected: dict[str, str] = {}
    staying: list[Question] = []
    for question in mine:
        like = [other for other in mine if is_same(question, other, near)]
        if any(is_same(question, other, near=False) for other in evaluated):
            expected[question.id] = "also evaluated"
        elif any(is_same(question, other, near) for other in evaluated):
            expected[question.id] = "nearly the same is evaluated"
        elif any(
            answers_conflict(canonicalize_question(question), canonicalize_question(other))
            for other in like
        ):
            expected[question.id] = "conflicting answers"
        elif within and any(is_same(question, other, near=False) for other in staying):
            expected[question.id] = "repeated"
        elif within and any(is_same(question, other, near) for other in staying):
            expected[question.id] = "nearly repeated"
        else:
            staying.append(question)
    assert {name: reason for name, (reason, _) in reasons(found).items()} == expected
    assert kept(found, parts[0]) == [question.id for question in staying]
    known = {f"{p.source} {q.id}": q for p in parts for q in p.questions}
    for entry in found.excluded:
        assert entry.twin is not None
        twin, question = known[entry.twin], known[f"train {entry.id}"]
        assert twin.id != question.id
        assert is_same(question, twin, near)
        if "repeated" in entry.reason:
            assert twin in staying
        if entry.reason == "conflicting answers":
            assert answers_conflict(canonicalize_question(question), canonicalize_question(twin))


@given(CODES, CODES)
@settings(max_examples=40)
def test_counts_are_those_of_a_comparison_of_all_pairs(train: list[str], dev: list[str]) -> None:
    parts: tuple[Any, ...] = part("train", *train), part("dev", *dev)
    found = {(count.source, count.among): count for count in separated(*parts).counts}
    for a in parts:
        for b in parts:
            exact = near = 0
            for place, question in enumerate(a.questions):
                others = list(b.questions)[: place if a is b else None]
                verdicts = {
                    duplicate_kind(canonicalize_question(question), canonicalize_question(other))
                    for other in others
                }
                exact += "exact" in verdicts
                near += "exact" not in verdicts and "near" in verdicts
            count = found[a.source, b.source]
            assert (count.exact, count.near) == (exact, near)
            assert 0 <= count.conflicts <= exact + near
