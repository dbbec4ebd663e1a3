from __future__ import annotations

from medtune.core.records import Question
from medtune.core.schemas.dataset import LENGTH_BINS, LENGTH_EDGES, SplitCounts
from medtune.data.counts import count_split


def question(stem: str, options: tuple[str, ...], answer: int | None, **changes: str) -> Question:
    return Question.model_validate(
        {"id": stem, "stem": stem, "options": options, "answer": answer, **changes}
    )


def test_a_split_is_counted() -> None:
    found = count_split(
        [
            question("Which is not so?", ("aa", "b"), 0, subject="ENT", explanation="because"),
            question("x" * 47, ("a", "b", "c"), 2, subject="Skin"),  # 50 characters
            question("y" * 1500, ("a", "b", "c"), None),
            question("z" * 46, ("a", "b", "c"), 0, subject="ENT"),  # 49 characters
        ]
    )
    lengths = [0] * len(LENGTH_EDGES)
    lengths[0], lengths[1], lengths[-1] = 2, 1, 1
    assert found == SplitCounts(
        subjects={"ENT": 2, "(not stated)": 1, "Skin": 1},
        letters={"A": 2, "C": 1},
        options={2: 1, 3: 3},
        lengths=tuple(lengths),
        median_length=49,
        negated=1,
        explained=1,
        unlabelled=1,
    )
    assert list(found.subjects) == ["ENT", "(not stated)", "Skin"]


def test_the_bins_are_named_by_their_edges() -> None:
    assert len(LENGTH_BINS) == len(LENGTH_EDGES)
    assert (LENGTH_BINS[0], LENGTH_BINS[-1]) == ("0–49", f"{LENGTH_EDGES[-1]}+")


def test_nothing_has_an_empty_profile() -> None:
    assert count_split([]).subjects == {}
    assert sum(count_split([]).lengths) == count_split([]).median_length == 0
