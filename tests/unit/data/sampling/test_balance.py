from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medtune.analysis.analyze import analyze_evaluation
from medtune.core.errors import DataError, PredictionsError
from medtune.core.experiment import DataConfig
from medtune.core.predictions_io import ANALYSIS_FILE, read_evaluation
from medtune.core.progress import NoProgress
from medtune.core.prompt import PromptStyle
from medtune.core.records import Question, SplitDescription
from medtune.core.run_folder import write_record
from medtune.data.arrow_table import QuestionTable
from medtune.data.sampling.balance import BalancedDraw, draw_balanced
from medtune.evaluation.exam import Exam
from medtune.evaluation.parsing.strict import STRICT_PARSER
from medtune.evaluation.run_exam import evaluate_or_reuse
from medtune.models.fake import FakeModel

SUBJECTS = {"Surgery": 80, "Anatomy": 20, "ENT": 5}


def question(number: int, subject: str | None, answer: int | None = None) -> Question:
    return Question(
        id=f"q{number}",
        stem=f"Stem {number}?",
        options=tuple(f"{number} {mark}" for mark in "wxyz"),
        answer=number % 4 if answer is None else answer,
        subject=subject,
    )


def table(counts: dict[str, int]) -> QuestionTable:
    names = [name for name, count in counts.items() for _ in range(count)]
    return QuestionTable.from_questions(question(n, name or None) for n, name in enumerate(names))


def drawn(questions: QuestionTable, seed: int = 17, **changes: Any) -> BalancedDraw:
    return draw_balanced(questions, DataConfig.model_validate(changes), seed, "file:x")


def shares(found: BalancedDraw) -> dict[str, int]:
    return {record.name: record.drawn for record in found.balance}


def evaluation(folder: Path, right: dict[str, int], n: int = 20, repeat: int = 1) -> str:
    """Write an evaluation in which a subject was right so often out of n."""
    asked = [
        question(1000 + n * at + k, subject, 0 if k < count else 1)
        for at, (subject, count) in enumerate(right.items())
        for k in range(n)
    ] * repeat
    data = SplitDescription(source="file:earlier", n=len(asked), excluded={}, hash=f"h{n}")
    exam = Exam(asked, data, PromptStyle(), "letter", "sum")
    evaluate_or_reuse(FakeModel("constant", {}), exam, "A", STRICT_PARSER, folder, NoProgress())
    return str(folder)


def analysed(folder: str) -> tuple[str, ...]:
    """Write an analysis beside an evaluation; return the subjects that it shows to be weak."""
    found = analyze_evaluation(folder, read_evaluation(Path(folder)))
    write_record(Path(folder) / ANALYSIS_FILE, found)
    return found.weak_subjects


def test_without_a_size_all_are_taken_in_order() -> None:
    questions = table(SUBJECTS)
    found = drawn(questions)
    assert (found.questions, found.left, found.balance) == (questions, 0, ())


def test_a_size_is_drawn_by_lot_in_the_former_order() -> None:
    questions = table(SUBJECTS)
    found = drawn(questions, train_size=30)
    assert (len(found.questions), found.left) == (30, 75)
    places = [int(name[1:]) for name in found.questions.ids]
    assert places == sorted(places) != list(range(30))
    assert drawn(questions, train_size=30).questions == found.questions
    assert drawn(questions, 18, train_size=30).questions != found.questions


def test_the_first_are_taken_where_that_is_asked_for() -> None:
    found = drawn(table(SUBJECTS), train_size=3, sample="first")
    assert found.questions.ids == ["q0", "q1", "q2"]


def test_a_question_that_joins_moves_no_lot() -> None:
    questions = table(SUBJECTS)
    more = QuestionTable.from_questions([question(500, "New"), *questions])
    before = set(drawn(questions, train_size=30).questions.ids)
    after = set(drawn(more, train_size=30).questions.ids) - {"q500"}
    assert len(before - after) <= 1
    assert after <= before


def test_equal_temperature_keeps_the_shares() -> None:
    # 105 questions, 21 of them drawn: a fifth of each
    found = drawn(table(SUBJECTS), train_size=21, balance={"by": "subject"})
    assert shares(found) == {"Surgery": 16, "Anatomy": 4, "ENT": 1}
    assert [record.weight for record in found.balance] == pytest.approx([1, 1, 1])


def test_a_temperature_flattens_the_shares() -> None:
    # 80 ** 0.5 : 20 ** 0.5 : 5 ** 0.5 = 4 : 2 : 1
    found = drawn(table(SUBJECTS), train_size=21, balance={"by": "subject", "temperature": 2})
    assert shares(found) == {"Surgery": 12, "Anatomy": 6, "ENT": 3}
    counts = Counter(question.subject for question in found.questions)
    assert counts == shares(found)
    # 4/7 of the questions out of 80/105: three quarters of what they are
    assert found.balance[0].weight == pytest.approx(0.75)


def test_what_a_small_subject_cannot_give_goes_to_the_others() -> None:
    # Equal shares would be 20 each; ENT has 5.
    balance = {"by": "subject", "temperature": 1e9}
    assert shares(drawn(table(SUBJECTS), train_size=60, balance=balance)) == {
        "Surgery": 35,
        "Anatomy": 20,
        "ENT": 5,
    }


def test_repeating_gives_a_small_subject_its_share() -> None:
    balance = {"by": "subject", "temperature": 1e9, "repeat": True}
    found = drawn(table(SUBJECTS), train_size=36, balance=balance)
    assert shares(found) == {"Surgery": 12, "Anatomy": 12, "ENT": 12}
    names = found.questions.ids
    assert len(set(names)) == 36
    ent = Counter(name.partition("~")[0] for name in names if int(name[1:4].rstrip("~")) >= 100)
    assert sorted(ent.values()) == [2, 2, 2, 3, 3]
    copies = {q.id: q for q in found.questions}
    assert copies["q100~2"] == copies["q100"].model_copy(update={"id": "q100~2"})
    assert found.left == 105 - 12 - 12 - 5


def test_unknown_subjects_are_one_group() -> None:
    found = drawn(table({"": 30, "ENT": 10}), train_size=8, balance={"by": "subject"})
    assert shares(found) == {"(not stated)": 6, "ENT": 2}


def test_by_letter_every_letter_is_right_equally_often() -> None:
    skewed = QuestionTable.from_questions(
        question(n, "S", answer)
        for n, answer in enumerate([0] * 50 + [1] * 30 + [2] * 12 + [3] * 8)
    )
    found = drawn(skewed, train_size=32, balance={"by": "letter"})
    assert Counter(found.questions.answers.tolist()) == {0: 8, 1: 8, 2: 8, 3: 8}
    assert shares(found) == {"A": 8, "B": 8, "C": 8, "D": 8}


def test_weak_subjects_count_more(tmp_path: Path) -> None:
    # Surgery 15 of 20, Anatomy 4 of 20, over all 19 of 40: Anatomy is weak. ENT was not asked.
    folder = evaluation(tmp_path, {"Surgery": 15, "Anatomy": 4})
    balance = {"by": "subject", "weak_from": folder, "weak_factor": 3}
    found = drawn(table({"Surgery": 60, "Anatomy": 20, "ENT": 20}), train_size=35, balance=balance)
    # 60 : 3 * 20 : 20
    assert shares(found) == {"Surgery": 15, "Anatomy": 15, "ENT": 5}
    by_name = {record.name: record for record in found.balance}
    assert by_name["Anatomy"].weak
    assert not by_name["Surgery"].weak
    earlier = by_name["Anatomy"].earlier
    assert earlier is not None
    assert (earlier.value, earlier.n) == (0.2, 20)
    ent = by_name["ENT"]
    assert (ent.available, ent.drawn, ent.earlier, ent.weak) == (20, 5, None, False)
    # 20 of 140 weighted questions, out of 20 of 100
    assert ent.weight == pytest.approx(100 / 140)


# Below the mean of 39 of 80 are both Anatomy and ENT; what 9 of 20 shows is nothing.
EARLIER = {"Surgery": 15, "Dental": 14, "ENT": 9, "Anatomy": 1}
WIDE = {"Surgery": 20, "Dental": 20, "ENT": 20, "Anatomy": 20}


def weak_of(folder: str, by: str | None) -> set[str]:
    balance = {"by": "subject", "weak_from": folder, "weak_factor": 3}
    balance |= {} if by is None else {"weak_by": by}
    found = drawn(table(WIDE), train_size=20, balance=balance)
    weak = {record.name for record in found.balance if record.weak}
    # Three shares to each that is weak, one to the others.
    parts = {name: 3 if name in weak else 1 for name in WIDE}
    for record in found.balance:
        assert record.drawn == pytest.approx(20 * parts[record.name] / sum(parts.values()), abs=1)
        assert record.earlier is not None
        assert record.earlier.n == 20
    return weak


def test_by_holm_only_what_the_analysis_shows_is_weak(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, EARLIER)
    assert weak_of(folder, None) == weak_of(folder, "mean") == {"ENT", "Anatomy"}
    assert analysed(folder) == ("Anatomy",)
    assert weak_of(folder, "holm") == {"Anatomy"}
    assert weak_of(folder, "mean") == {"ENT", "Anatomy"}


def test_by_holm_the_analysis_is_read_and_not_made_again(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, EARLIER)
    found = analyze_evaluation(folder, read_evaluation(tmp_path))
    # A subject that the train source does not have is nobody's share.
    other = found.model_copy(update={"weak_subjects": ("Dental", "Radiology")})
    write_record(tmp_path / ANALYSIS_FILE, other)
    assert weak_of(folder, "holm") == {"Dental"}
    write_record(tmp_path / ANALYSIS_FILE, found.model_copy(update={"weak_subjects": ()}))
    assert weak_of(folder, "holm") == set()


@pytest.mark.parametrize("text", [None, "", '{"kind": "analysis"}'], ids=str)
def test_by_holm_an_analysis_that_is_missing_is_asked_for(tmp_path: Path, text: str | None) -> None:
    folder = evaluation(tmp_path, EARLIER)
    if text is not None:
        (tmp_path / ANALYSIS_FILE).write_text(text)
    with pytest.raises(DataError, match="holds no analysis") as caught:
        weak_of(folder, "holm")
    assert f"medtune analyze {folder}" in str(caught.value)
    assert ANALYSIS_FILE in str(caught.value)


def test_by_holm_an_analysis_of_an_earlier_evaluation_does_not_count(tmp_path: Path) -> None:
    analysed(evaluation(tmp_path, EARLIER))
    folder = evaluation(tmp_path, {name: 20 - right for name, right in EARLIER.items()}, n=21)
    with pytest.raises(DataError, match="holds no analysis"):
        weak_of(folder, "holm")


def test_few_questions_make_no_subject_weak(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, {"Surgery": 9, "Anatomy": 0}, n=9)
    balance = {"by": "subject", "weak_from": folder}
    with pytest.raises(DataError, match="no subject of file:x has 10 questions or more in it"):
        drawn(table(SUBJECTS), train_size=20, balance=balance)


def test_an_evaluation_that_is_not_there_is_named(tmp_path: Path) -> None:
    balance = {"by": "subject", "weak_from": str(tmp_path / "none")}
    with pytest.raises(PredictionsError, match="none holds no evaluation"):
        drawn(table(SUBJECTS), train_size=20, balance=balance)


def test_more_than_there_are_is_refused_unless_repeated() -> None:
    with pytest.raises(DataError, match="has 105 usable questions, train_size asks for 106"):
        drawn(table(SUBJECTS), train_size=106)
    balance = {"by": "subject", "repeat": True}
    assert len(drawn(table(SUBJECTS), train_size=210, balance=balance).questions) == 210


def test_diversity_takes_one_of_each_wording_first() -> None:
    same = [
        f"Which drug of {n} in the list causes gingival hyperplasia as its effect?"
        for n in range(30)
    ]
    others = [
        "Where does the thoracic duct end?",
        "Name the vector of kala azar.",
        "Why clot blood?",
    ]
    questions = QuestionTable.from_questions(
        question(n, None).model_copy(
            update={"stem": stem, "options": ("phenytoin", "b", "c", "d"), "answer": 0}
        )
        for n, stem in enumerate([*same, *others])
    )
    found = drawn(questions, train_size=4, curation={"diversity": {"on": True}})
    assert set(found.questions.ids) > {"q30", "q31", "q32"}


@settings(max_examples=60)
@given(
    counts=st.dictionaries(st.sampled_from("ABCDEF"), st.integers(1, 30), min_size=1),
    size=st.integers(1, 60),
    temperature=st.floats(0.5, 50),
    seed=st.integers(0, 5),
)
def test_any_balance_draws_the_size_without_repetition(
    counts: dict[str, int], size: int, temperature: float, seed: int
) -> None:
    questions = table(counts)
    size = min(size, len(questions))
    balance = {"by": "subject", "temperature": temperature}
    found = drawn(questions, seed, train_size=size, balance=balance)
    assert len(set(found.questions.ids)) == size
    assert sum(shares(found).values()) == size
    assert Counter(q.subject for q in found.questions) == Counter(
        {name: n for name, n in shares(found).items() if n}
    )
    assert found.left == len(questions) - size
