from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medtune.core.errors import PredictionsError
from medtune.core.intervals import wilson_interval
from medtune.core.provenance import collect_provenance
from medtune.core.records import (
    EvaluationRecord,
    ModelDescription,
    Outcome,
    OutcomeCounts,
    Prediction,
    SplitDescription,
)
from medtune.spotcheck.sampling import (
    MIN_PER_STRATUM,
    EvaluationSource,
    allocate_to_strata,
    draw_sample,
)
from medtune.spotcheck.schema import DrawnItem, SpotCheckItem

OPTIONS = ("Adrenaline", "Bisoprolol", "Codeine", "Digoxin")


def prediction(number: int, chosen: int | None, reason: str, **changes: Any) -> Prediction:
    settings: dict[str, Any] = {
        "id": f"q-{number}",
        "stem": f"Which, in case {number}?",
        "options": OPTIONS,
        "answer": number % 4,
        "chosen": chosen,
        "outcome": Outcome.UNPARSED
        if chosen is None
        else (Outcome.CORRECT if chosen == number % 4 else Outcome.WRONG),
        "text": f"text of {number}",
        "reason": reason,
    }
    return Prediction(**(settings | changes))


def source(
    predictions: list[Prediction], folder: str = "runs/tuned-secret", **changes: Any
) -> EvaluationSource:
    tally = Counter(p.outcome for p in predictions)
    n = len(predictions)
    settings: dict[str, Any] = {
        "inputs": f"inputs of {folder}",
        "label": "tuned-secret",
        "model": ModelDescription(
            source="fake:x", fingerprint="x", parameters=0, dtype="none", device="none"
        ),
        "data": SplitDescription(source="starter:recall", n=n, excluded={}, hash="h"),
        "prompt_hash": "p",
        "method": "generate",
        "normalization": None,
        "counts": OutcomeCounts(
            n=n,
            correct=tally[Outcome.CORRECT],
            wrong=tally[Outcome.WRONG],
            unparsed=tally[Outcome.UNPARSED],
            abstained=0,
        ),
        "accuracy": wilson_interval(tally[Outcome.CORRECT], n),
        "answer_rate": wilson_interval(tally[Outcome.CORRECT] + tally[Outcome.WRONG], n),
        "chance": 0.25,
        "majority": wilson_interval(1, 4),
        "majority_letter": "A",
        "letters_chosen": {},
        "letters_right": {},
        "parser": 2,
        "duration_s": 1.0,
        "questions_per_s": 1.0,
        "provenance": collect_provenance(),
    }
    return EvaluationSource(folder, EvaluationRecord(**(settings | changes)), predictions)


def mixed() -> list[Prediction]:
    """60 read plainly, 20 "letter, then more", 16 without an option, 4 empty."""
    rows = [("letter", True)] * 60 + [("letter, then more", True)] * 20
    rows += [("two answers", False)] * 16 + [("empty", False)] * 4
    return [
        prediction(n, (n // 3) % 4 if read else None, reason)
        for n, (reason, read) in enumerate(rows)
    ]


def test_strata_follow_the_reading_and_add_up() -> None:
    sample, items, ledger = draw_sample([source(mixed())], 40, seed=0)
    assert {(s.name, s.size, s.read, s.doubtful) for s in sample.strata} == {
        ("read: letter", 60, True, False),
        ("read: letter, then more", 20, True, True),
        ("unread: two answers", 16, False, True),
        ("unread: empty", 4, False, False),
    }
    assert sample.population == 100
    assert sum(s.drawn for s in sample.strata) == sample.n == len(items) == len(ledger) == 40
    assert Counter(d.stratum for d in ledger) == {i: s.drawn for i, s in enumerate(sample.strata)}
    # One over the probability is what an item stands for: together they stand for all outputs.
    assert sum(1 / d.probability for d in ledger) == pytest.approx(100)
    rates = {s.name: s.drawn / s.size for s in sample.strata}
    assert rates["unread: two answers"] > 2 * rates["read: letter"]


def test_the_items_are_blind() -> None:
    one, two = mixed(), [p.model_copy(update={"answer": 3 - p.answer}) for p in mixed()]
    _, items, ledger = draw_sample([source(one)], 40, seed=0)
    _, others, _ = draw_sample([source(two)], 40, seed=0)
    # Another key, the same items to the letter.
    assert items == others
    assert set(SpotCheckItem.model_fields) == {"id", "stem", "options", "text"}
    said = "".join(item.model_dump_json() for item in items)
    for word in ("tuned", "secret", "q-", "then more", "two answers", "answer", "chosen"):
        assert word not in said
    # The order tells nothing about the strata, nor do the ids.
    order = [d.stratum for d in ledger]
    assert order != sorted(order)
    assert [item.id[-3:] for item in items] == [f"{n:03d}" for n in range(1, 41)]


def test_the_ledger_says_what_was_hidden() -> None:
    predictions = {p.id: p for p in mixed()}
    _, items, ledger = draw_sample([source(mixed())], 30, seed=1)
    for item, drawn in zip(items, ledger, strict=True):
        found = predictions[drawn.prediction]
        assert (item.id, item.text, item.stem) == (drawn.id, found.text, found.stem)
        assert (drawn.answer, drawn.chosen, drawn.reason) == (
            found.answer,
            found.chosen,
            found.reason,
        )


def test_the_seed_determines_the_sample() -> None:
    def ids(seed: int) -> list[str]:
        return [d.prediction for d in draw_sample([source(mixed())], 30, seed)[2]]

    assert ids(3) == ids(3)
    assert ids(3) != ids(4)


def test_every_output_has_its_chance() -> None:
    drawn: Counter[str] = Counter()
    chances: dict[str, DrawnItem] = {}
    for seed in range(150):
        for each in draw_sample([source(mixed())], 30, seed)[2]:
            drawn[each.prediction] += 1
            chances[each.prediction] = each
    assert len(drawn) == 100
    for name, count in drawn.items():
        p = chances[name].probability
        assert abs(count / 150 - p) < 4.5 * (p * (1 - p) / 150) ** 0.5


def test_another_answer_when_scored_is_doubt() -> None:
    free = [prediction(n, 0, "letter") for n in range(20)]
    scored = [
        # Asked with the options in another order: contents are compared, not places.
        prediction(n, 3 if n < 15 else 0, "", options=OPTIONS[::-1], text=None)
        for n in range(19)
    ]
    held = source(scored, "runs/letter", method="letter")
    sample, _, ledger = draw_sample([source(free)], 10, 0, held)
    assert {(s.name, s.size, s.doubtful) for s in sample.strata} == {
        ("read: letter", 16, False),
        ("read: letter, scored otherwise", 4, True),
    }
    by_name = {d.prediction: d.scored for d in ledger}
    assert all(
        by_name[name] == (0 if int(name[2:]) < 15 else 3) for name in by_name if name != "q-19"
    )


@given(
    st.lists(st.tuples(st.integers(1, 200), st.booleans()), min_size=1, max_size=9),
    st.data(),
)
def test_allocation_uses_all_and_overdraws_none(
    strata: list[tuple[int, bool]], data: st.DataObject
) -> None:
    sizes, doubtful = [s for s, _ in strata], [d for _, d in strata]
    least = sum(min(MIN_PER_STRATUM, size) for size in sizes)
    n = data.draw(st.integers(least, min(sum(sizes), 300) if sum(sizes) <= 300 else 300))
    counts = allocate_to_strata(sizes, doubtful, n)
    assert sum(counts) == n
    assert all(
        min(MIN_PER_STRATUM, size) <= c <= size for size, c in zip(sizes, counts, strict=True)
    )


def test_allocation_by_hand() -> None:
    # Claims 90 and 3 * 30: alike, so the sixteen items are halved.
    assert allocate_to_strata([90, 30], [False, True], 16) == [8, 8]
    assert allocate_to_strata([90, 30], [False, False], 16) == [12, 4]
    assert allocate_to_strata([90, 5], [False, True], 95) == [90, 5]


@pytest.mark.parametrize(
    ("n", "message"),
    [(101, "101 items wanted, but there are 100 outputs"), (7, "read in 4 ways")],
)
def test_a_sample_that_does_not_fit(n: int, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        draw_sample([source(mixed())], n, 0)


def test_what_cannot_be_sampled() -> None:
    scores = source([prediction(1, 1, "", text=None)], "runs/s", method="letter")
    with pytest.raises(PredictionsError, match=r"(?s)no texts to read.*--method generate"):
        draw_sample([scores], 1, 0)
    with pytest.raises(PredictionsError, match="named twice"):
        draw_sample([source(mixed()), source(mixed())], 40, 0)
    with pytest.raises(PredictionsError, match="different versions of the parser"):
        draw_sample([source(mixed()), source(mixed(), "runs/old", parser=1)], 40, 0)
    with pytest.raises(PredictionsError, match="holds free answers"):
        draw_sample([source(mixed())], 40, 0, source(mixed(), "runs/other"))
    other = source([prediction(500, 1, "", text=None)], "runs/s", method="letter")
    with pytest.raises(PredictionsError, match="none of these questions"):
        draw_sample([source(mixed())], 40, 0, other)
