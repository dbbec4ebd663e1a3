from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from medtune.analysis.failures import classify_failures
from medtune.core.intervals import wilson_interval
from medtune.core.protocols import ScoreRequest
from medtune.core.records import OrderAnswer, Outcome, Prediction
from medtune.core.schemas.analysis import Failure
from medtune.models.fake import FakeModel

UNLIKE = ("quinine", "rest", "surgery", "vaccine")
"""No two of them are alike."""


def prediction(number: int = 0, chosen: int | None = 1, answer: int = 0, **more: Any) -> Prediction:
    outcome = Outcome.CORRECT if chosen == answer else Outcome.WRONG
    return Prediction(
        **{
            "id": f"q{number:03}",
            "stem": "What helps?",
            "options": UNLIKE,
            "answer": answer,
            "chosen": chosen,
            "outcome": Outcome.UNPARSED if chosen is None else outcome,
            **more,
        }
    )


def right(number: int = 900, **more: Any) -> Prediction:
    return prediction(number, chosen=0, **more)


def kinds(predictions: Sequence[Prediction], **more: Any) -> dict[str, Failure]:
    return {failure.name: failure for failure in classify_failures(predictions, **more)}


def ids(failure: Failure) -> list[str]:
    return [example.prediction.id for example in failure.examples]


def sure(probability: float) -> tuple[float, ...]:
    """Probabilities that give option 1 so much, and the rest to the others alike."""
    rest = (1 - probability) / 3
    return (rest, probability, rest, rest)


# The whole


def test_without_a_failure_there_is_no_kind() -> None:
    assert classify_failures([]) == ()
    assert classify_failures([right()]) == ()
    assert classify_failures([right(), prediction(chosen=None, outcome=Outcome.ABSTAINED)]) == ()


def test_what_cannot_be_judged_is_left_out() -> None:
    # No negated stem, no topic, no probabilities, no free text, and two options only.
    assert set(kinds([prediction(options=("Yes", "No"))])) == {"letter habit"}


def test_what_did_not_occur_has_a_share_of_none() -> None:
    found = kinds([prediction(), right(stem="All are true except")])
    assert found["exception missed"].share == wilson_interval(0, 1)
    assert found["exception missed"].examples == ()


def test_shares_are_of_wrong_and_unparsed() -> None:
    predictions = [
        prediction(0, stem="Which is not true?"),
        prediction(1, chosen=None, text="?", reason="empty"),
        prediction(2, chosen=None, outcome=Outcome.ABSTAINED, stem="Which is not true?"),
        right(3),
    ]
    found = kinds(predictions)
    assert found["exception missed"].share == wilson_interval(1, 2)
    assert found["format"].share == wilson_interval(1, 2)


def test_kinds_come_in_one_order_and_may_overlap() -> None:
    one = prediction(
        stem="Which is not used?",
        options=("renal cell carcinoma", "squamous cell carcinoma", "rest", "fever"),
        topic="Tumours",
        probabilities=sure(0.9),
        mass=0.1,
    )
    found = classify_failures([one])
    assert [f.name for f in found] == [
        "plausible option",
        "exception missed",
        "rare topic",
        "letter habit",
        "sure and wrong",
        "format",
    ]
    assert [f.share.value for f in found] == [1, 1, 1, 0, 1, 1]


# Plausible option


@pytest.mark.parametrize(
    ("options", "chosen", "counted"),
    [
        (("basal cell carcinoma", "squamous cell carcinoma", "melanoma", "naevus"), 1, True),
        (("basal cell carcinoma", "squamous cell carcinoma", "melanoma", "naevus"), 2, False),
        # 2 * 3 of 10 characters in common: exactly 60; 2 * 3 of 11: 55
        (("abcde", "abcxy", "zzzzz", "wwwww"), 1, True),
        (("abcde", "abcxyz", "wwwww", "uuuuu"), 1, False),
        # Case and punctuation do not count.
        (("Basal cell carcinoma.", "squamous-cell CARCINOMA", "melanoma", "naevus"), 1, True),
        # All are like the right one alike: the frame is shared, nothing is confused.
        (("type 1", "type 2", "type 3", "type 4"), 1, False),
        # A single wrong option cannot be more alike than others.
        (("type 1", "type 2"), 1, False),
    ],
)
def test_plausible_options(options: tuple[str, ...], chosen: int, counted: bool) -> None:
    found = kinds([prediction(options=options, chosen=chosen), prediction(1)])["plausible option"]
    assert found.share == wilson_interval(int(counted), 2)


def test_plausible_options_are_held_against_a_blind_choice() -> None:
    alike = ("basal cell carcinoma", "squamous cell carcinoma", "melanoma", "naevus")
    predictions = [prediction(n, options=alike, chosen=1 if n < 4 else 2) for n in range(6)]
    found = kinds([*predictions, prediction(9)])["plausible option"]
    # six questions of which a blind choice among three would hit a third
    assert found.explanation.endswith(
        "True of 4 of 7 wrong choices; 2.0 are expected if the model chose at random among the "
        "wrong options."
    )
    note = found.examples[0].note
    assert note.startswith("B reads most like the right A: similarity ")
    assert note.endswith(".")


# Exception missed


@pytest.mark.parametrize(
    ("stem", "counted"),
    [("All are true EXCEPT:", True), ("Which isn't a sign?", True), ("Which is a note?", False)],
)
def test_exceptions(stem: str, counted: bool) -> None:
    found = kinds([prediction(stem=stem), right(stem="Which is not so?")])["exception missed"]
    assert found.share == wilson_interval(int(counted), 1)


def test_exceptions_are_held_against_plain_questions() -> None:
    predictions = [
        *(prediction(n, stem="Which is not so?") for n in range(3)),
        right(3, stem="Which is not so?"),
        *(prediction(n) for n in range(4, 6)),
        *(right(n) for n in range(6, 9)),
    ]
    found = kinds(predictions)["exception missed"]
    assert found.share == wilson_interval(3, 5)
    assert (
        "Wrong answers: 75.0 % of 4 negated questions, 40.0 % of 5 plain questions."
        in found.explanation
    )
    assert (
        found.examples[0].note == "The stem is negated; the model chose B, the right option is A."
    )


# Rare topic


@pytest.mark.parametrize(("others", "counted"), [(3, True), (4, False)])
def test_a_topic_is_rare_below_five_questions(others: int, counted: bool) -> None:
    predictions = [
        prediction(topic="Gout"),
        *(right(n, topic="Gout") for n in range(1, 1 + others)),
        prediction(99, topic=None),
    ]
    found = kinds(predictions)["rare topic"]
    assert found.share == wilson_interval(int(counted), 2)
    assert "a topic with fewer than 5 questions here" in found.explanation
    if counted:
        assert found.examples[0].note == "The topic Gout has 4 questions here."
        assert found.explanation.endswith("Wrong answers: 25.0 % of 4 rare questions.")


@pytest.mark.parametrize(("trained", "rare"), [({"Gout": 4}, 1), ({"Gout": 5}, 0), ({}, 1)])
def test_a_topic_may_be_rare_in_training(trained: dict[str, int], rare: int) -> None:
    predictions = [prediction(topic="Gout"), prediction(1)]
    found = kinds(predictions, train_topics=trained)["rare topic"]
    assert found.share == wilson_interval(rare, 2)
    assert "questions in training" in found.explanation


def test_subjects_stand_in_for_topics_but_not_in_training() -> None:
    predictions = [prediction(subject="Surgery")]
    found = kinds(predictions)["rare topic"]
    assert found.examples[0].note == "The subject Surgery has 1 question here."
    assert "rare topic" not in kinds(predictions, train_topics={"Surgery": 1})
    assert "rare topic" not in kinds([prediction()])


# Letter habit


def letters(times: int, also_right: int) -> list[Prediction]:
    """B is chosen so often and right so often; where it is right it is chosen too."""
    wrong = [prediction(n, chosen=1) for n in range(times - also_right)]
    return wrong + [prediction(100 + n, chosen=1, answer=1) for n in range(also_right)]


@pytest.mark.parametrize(
    ("times", "also_right", "counted"),
    [(10, 0, 10), (9, 0, 0), (15, 10, 5), (14, 10, 0)],
)
def test_a_habit_is_frequent_and_too_frequent(times: int, also_right: int, counted: int) -> None:
    found = kinds(letters(times, also_right))["letter habit"]
    assert found.share == wilson_interval(counted, times - also_right)
    named = f"B ({times} times, right {also_right} times)" in found.explanation
    assert named == bool(counted)
    assert ("there is no such letter" in found.explanation) == (not counted)


def ordered(number: int, chosen_letters: Sequence[int]) -> Prediction:
    """Show the options in all four rotations; the model chooses these positions."""
    orders = [tuple((i + r) % 4 for i in range(4)) for r in range(4)]
    answers = tuple(
        OrderAnswer(order=order, chosen=order[place], probabilities=(0.25,) * 4)
        for order, place in zip(orders, chosen_letters, strict=True)
    )
    return prediction(number, chosen=1, orders=answers)


@pytest.mark.parametrize(
    ("places", "counted"),
    [
        ((2, 2, 2, 2), 10),  # one letter, whatever stands there
        ((2, 2, 2, 0), 10),
        ((2, 2, 3, 1), 0),  # in half of the orders only
        ((1, 0, 3, 2), 0),  # one content, wherever it stands
    ],
)
def test_in_several_orders_the_letter_must_stay(places: Sequence[int], counted: int) -> None:
    found = kinds([ordered(n, places) for n in range(10)])["letter habit"]
    assert found.share == wilson_interval(counted, 10)
    if counted:
        times = places.count(2)
        note = f"The model chose C in {times} of 4 orders, whatever option had that letter."
        assert found.examples[0].note == note
        assert f"C ({10 * times} times, right 10 times)" in found.explanation


def test_one_order_shows_no_change_of_content() -> None:
    alone = [p.model_copy(update={"orders": (p.orders or ())[:1]}) for p in [ordered(0, (1,) * 4)]]
    found = kinds([p.model_copy(update={"id": f"q{n}"}) for n in range(10) for p in alone])
    assert "B (10 times, right 0 times)" in found["letter habit"].explanation
    assert found["letter habit"].share == wilson_interval(0, 10)


def test_cloze_gives_no_letter_unless_orders_show_one() -> None:
    cloze: dict[str, Any] = {"logprobs": (-1.0,) * 4}
    assert "letter habit" not in kinds([prediction(n, **cloze) for n in range(20)])
    asked = [ordered(n, (2, 2, 2, 2)).model_copy(update=cloze) for n in range(20)]
    assert kinds(asked)["letter habit"].share.value == 1
    letter = [prediction(n, mass=0.9, **cloze) for n in range(20)]
    assert kinds(letter)["letter habit"].share.value == 1


# Sure and wrong


@pytest.mark.parametrize(("probability", "counted"), [(0.8, 1), (0.799, 0)])
def test_sure_and_wrong(probability: float, counted: int) -> None:
    predictions = [
        prediction(probabilities=sure(probability)),
        right(1, probabilities=(0.85, 0.05, 0.05, 0.05)),
    ]
    found = kinds(predictions)["sure and wrong"]
    assert found.share == wilson_interval(counted, 1)
    assert found.explanation.endswith(f": {counted} of {1 + counted} such answers.")
    if counted:
        note = "The model gave B 80.0 %, and the right A 6.7 %."
        assert found.examples[0].note == note


# Format


def test_free_text_by_reason() -> None:
    reasons = ["empty", "names no option", "names no option", "negated"]
    predictions = [prediction(n, chosen=None, text="", reason=r) for n, r in enumerate(reasons)]
    found = kinds([*predictions, prediction(9, text="rest", reason="option text")])["format"]
    assert found.share == wilson_interval(4, 5)
    assert found.explanation.endswith(": names no option (2), empty (1), negated (1).")
    assert found.examples[0].note == "Unparsed: empty."


def test_free_text_that_could_be_read() -> None:
    found = kinds([prediction(text="rest", reason="option text")])["format"]
    assert found.share == wilson_interval(0, 1)
    assert found.explanation.endswith(": none.")


@pytest.mark.parametrize(("mass", "counted"), [(0.5, 0), (0.499, 1)])
def test_probability_outside_the_letters(mass: float, counted: int) -> None:
    found = kinds([prediction(mass=mass), right(1, mass=0.2)])["format"]
    assert found.share == wilson_interval(counted, 1)  # the right one is no failure ...
    assert (
        f"This is the case on {counted + 1} of 2 questions." in found.explanation
    )  # ... but counted here
    if counted:
        note = "The letters have only 49.9 % of the probability."
        assert found.examples[0].note == note


# Examples


def test_examples_go_round_the_subjects_and_start_with_the_surest() -> None:
    given = [
        ("Anatomy", 0.95),
        ("Anatomy", 0.94),
        ("Anatomy", 0.93),
        ("Surgery", 0.85),
        ("Surgery", 0.91),
        (None, 0.81),
        ("Anatomy", 0.99),
    ]
    predictions = [
        prediction(n, subject=subject, probabilities=sure(p))
        for n, (subject, p) in enumerate(given)
    ]
    found = kinds(predictions)["sure and wrong"]
    assert ids(found) == ["q006", "q004", "q005", "q000", "q003"]
    assert classify_failures(predictions[::-1]) == classify_failures(predictions)


def test_equally_sure_examples_come_by_id() -> None:
    predictions = [prediction(n, stem="Which is not so?") for n in (3, 1, 2)]
    assert ids(kinds(predictions)["exception missed"]) == ["q001", "q002", "q003"]


# Models that are known exactly


def examined(kind: str) -> list[Prediction]:
    model = FakeModel(kind, {f"q{n:03}": UNLIKE[n % 4] for n in range(80)})
    predictions = []
    for n in range(80):
        [scores] = model.score([ScoreRequest(f"q{n:03}", "", UNLIKE, (), "", UNLIKE)])
        probabilities = tuple(math.exp(score.logprob) for score in scores)
        chosen = probabilities.index(max(probabilities))
        predictions.append(
            prediction(n, chosen, answer=n % 4, probabilities=probabilities, mass=1.0)
        )
    return predictions


def test_the_oracle_has_no_failures() -> None:
    assert classify_failures(examined("oracle")) == ()


def test_the_constant_model_has_nothing_but_a_habit_of_which_it_is_sure() -> None:
    found = kinds(examined("constant"))
    assert {name: f.share.value for name, f in found.items()} == {
        "plausible option": 0,
        "letter habit": 1,
        "sure and wrong": 1,
        "format": 0,
    }
    assert "A (80 times, right 20 times)" in found["letter habit"].explanation


def test_a_model_without_a_favourite_letter_has_no_habit() -> None:
    assert kinds(examined("noisy"))["letter habit"].share.value == 0
    assert kinds(examined("biased"))["letter habit"].share.value > 0.5
