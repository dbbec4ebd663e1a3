from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from medtune.core.experiment import RetrievalConfig
from medtune.core.progress import NoProgress
from medtune.core.records import Question, SplitDescription
from medtune.data.arrow_table import questions_hash
from medtune.retrieval.evidence import EvidenceFinder
from medtune.retrieval.index import build_index
from medtune.retrieval.passages import passages_from_questions
from medtune.retrieval.schema import Passage
from medtune.workflows.training_evidence import (
    PASSAGES_FILE,
    LeaveOneOutSearch,
    exclude_leaks,
    find_training_passages,
)

OWN, COPY, NEIGHBOUR, QUOTE = "zyxomma", "qwertine", "plughite", "xyzzyine"
"""Words that stand in one passage each."""
SCURVY = Question(
    id="scurvy",
    stem="Deficiency of which vitamin causes scurvy in sailors?",
    options=("Vitamin A", "Vitamin C", "Vitamin D", "Vitamin K"),
    answer=1,
    explanation=f"Collagen cannot be made without it, says {OWN}.",
)
COPIED = Question(
    id="copied",
    stem="Deficiency of which vitamin causes scurvy in a sailor ?",
    options=("Vitamin K", "Vitamin D", "Vitamin C", "Vitamin A"),
    answer=2,
    explanation=f"Sailors ate no fruit, says {COPY}.",
)
RICKETS = Question(
    id="rickets",
    stem="Deficiency of which vitamin causes rickets in children?",
    options=("Vitamin A", "Vitamin C", "Vitamin D", "Vitamin K"),
    answer=2,
    explanation=f"Bone needs it, says {NEIGHBOUR}.",
)
TRAIN = [SCURVY, COPIED, RICKETS]


class Said(NoProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log_message(self, text: str) -> None:
        self.lines.append(text)


def words(passages: Sequence[Sequence[str]]) -> set[str]:
    return {word.strip(".,") for read in passages for text in read for word in text.split()}


def description(questions: Sequence[Question]) -> SplitDescription:
    return SplitDescription(
        source="a.csv", n=len(questions), excluded={}, hash=questions_hash(questions)
    )


def finder(
    folder: Path,
    kind: str = "per-option",
    questions: Sequence[Question] = TRAIN,
    texts: Sequence[Passage] = (),
    **settings: object,
) -> EvidenceFinder:
    passages = [*passages_from_questions(questions, "a.csv", None), *texts]
    index = build_index(passages, [], folder / "index", "english", NoProgress())
    return EvidenceFinder(index, RetrievalConfig.model_validate({"kind": kind, **settings}))


@pytest.mark.parametrize("kind", ["per-option", "shared"])
def test_a_question_sees_neither_its_own_passage_nor_that_of_a_near_duplicate(
    tmp_path: Path, kind: str
) -> None:
    evidence = finder(tmp_path, kind, passages=3)
    # The index has both, and a plain search finds them first.
    plain = evidence.find(SCURVY.stem, SCURVY.options)
    assert {OWN, COPY} <= words(plain)
    search = LeaveOneOutSearch(evidence)
    for question in (SCURVY, COPIED):
        for read in search.find(question):
            assert NEIGHBOUR in read[0]
            assert not {OWN, COPY} & words([read])
    assert search.left_out == 2
    # Another question sees them both.
    assert {OWN, COPY, NEIGHBOUR} & words(search.find(RICKETS)) == {OWN, COPY}


def test_a_text_that_quotes_the_question_is_left_out(tmp_path: Path) -> None:
    quote = Passage(id="t", text=f"{SCURVY.stem} Vitamin C, says {QUOTE}.", source="b.txt")
    evidence = finder(tmp_path, texts=[quote], passages=3)
    assert QUOTE in str(evidence.find(SCURVY.stem, SCURVY.options))
    assert QUOTE not in str(LeaveOneOutSearch(evidence).find(SCURVY))
    assert QUOTE in str(LeaveOneOutSearch(evidence).find(RICKETS))


def test_another_question_with_the_same_explanation_is_left_out(tmp_path: Path) -> None:
    # One explanation is often written below several questions on one subject.
    sibling = Question(
        id="sibling",
        stem="Collagen synthesis of sailors needs which vitamin as a cofactor?",
        options=("Thiamine", "Ascorbate", "Retinol", "Niacin"),
        answer=1,
        explanation=f"See above. {SCURVY.explanation} Sailors ate no fruit.",
    )
    short = sibling.model_copy(
        update={"id": "short", "stem": "Sailors?", "explanation": "Collagen"}
    )
    evidence = finder(tmp_path, questions=[SCURVY, sibling, short, RICKETS], passages=4)
    assert {OWN, "Collagen"} <= words(LeaveOneOutSearch(evidence).find(RICKETS))
    found = words(LeaveOneOutSearch(evidence).find(SCURVY))
    assert OWN not in found
    # A word or two in common is no repetition.
    assert {"Collagen", NEIGHBOUR} <= found


def test_its_own_passage_is_known_by_its_id_even_where_nothing_else_tells(tmp_path: Path) -> None:
    # Indexed from a list of facts: neither the stem as it stands nor the options.
    fact = Passage(
        id="scurvy", text=f"Scurvy in sailors: {OWN}", question="Scurvy?", answer="C", source="b"
    )
    evidence = finder(tmp_path, questions=[RICKETS], texts=[fact], passages=3)
    assert OWN in str(evidence.find(SCURVY.stem, SCURVY.options))
    assert OWN not in str(LeaveOneOutSearch(evidence).find(SCURVY))


def test_a_repeated_question_does_not_see_its_first_copy(tmp_path: Path) -> None:
    again = SCURVY.model_copy(update={"id": "scurvy~2"})
    evidence = finder(tmp_path, questions=[SCURVY, again, RICKETS], passages=2)
    for question in (SCURVY, again):
        assert OWN not in str(LeaveOneOutSearch(evidence).find(question))


def test_a_question_that_alone_fills_the_index_has_no_passage(tmp_path: Path) -> None:
    evidence = finder(tmp_path, questions=[SCURVY])
    assert LeaveOneOutSearch(evidence).find(SCURVY) == ((), (), (), ())


def test_passages_of_training_are_found_once_and_kept(tmp_path: Path) -> None:
    evidence, said = finder(tmp_path, words=5), Said()
    data, run = description(TRAIN), tmp_path / "run"
    found = find_training_passages(evidence, TRAIN, data, run, said)
    written = (run / PASSAGES_FILE).read_bytes()
    assert said.lines == [
        "passages of 3 training questions: 2 left out that give their question away, "
        "12 cut to 5 words, 0 questions without any"
    ]
    search = LeaveOneOutSearch(evidence)
    for question in TRAIN:
        assert found.find(question) == search.find(question)
        moved = found.find(question.permute_options((3, 1, 0, 2)))
        assert moved == tuple(found.find(question)[place] for place in (3, 1, 0, 2))
    # A resumed training reads them; other passages are found anew, and the same ones again.
    again = find_training_passages(evidence, TRAIN, data, run, said)
    assert said.lines[-1] == f"{run / PASSAGES_FILE}: still valid"
    assert [again.find(q) for q in TRAIN] == [found.find(q) for q in TRAIN]
    find_training_passages(finder(tmp_path, words=6), TRAIN, data, run, said)
    assert (run / PASSAGES_FILE).read_bytes() != written
    find_training_passages(evidence, TRAIN, data, run, said)
    assert (run / PASSAGES_FILE).read_bytes() == written


def test_passages_that_leak_a_validation_question_leave_the_search(tmp_path: Path) -> None:
    evidence = finder(tmp_path, passages=3)
    before = EvidenceFinder(evidence.index, evidence.settings, frozenset([2]))
    held = SCURVY.model_copy(update={"id": "another id", "explanation": None})
    without = exclude_leaks(before, [held], NoProgress())
    assert without.excluded == {0, 1, 2}
    assert without.find(held.stem, held.options) == ((), (), (), ())
    assert before.excluded == {2}
