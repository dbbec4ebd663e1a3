from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pipeline.serving.endpoint import HELD, Endpoint, endpoint
from tests.pipeline.serving.test_pages_browser import Browser

from medtune.serving.schemas import Decision

NOTE = "the guideline says so"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Endpoint]:
    with endpoint(tmp_path) as made:
        yield made


@pytest.fixture
def ann(here: Endpoint) -> Browser:
    browser = Browser(here)
    browser.sign_in("review", "ann")
    return browser


@pytest.fixture
def bob(here: Endpoint) -> Browser:
    browser = Browser(here)
    browser.sign_in("admin", "bob")
    return browser


@pytest.fixture
def cyd(here: Endpoint) -> Browser:
    browser = Browser(here)
    browser.sign_in("review", "cyd")
    return browser


@pytest.fixture
def item(here: Endpoint) -> str:
    return Browser(here).held()


def give(browser: Browser, item: str, decision: str, note: str = "") -> str:
    """Claim an item and decide it; return the page that follows."""
    browser.post(f"/review/{item}/claim")
    assert browser.location == f"/review/{item}", browser.text
    browser.follow()
    browser.post(f"/review/{item}/decision", decision=decision, note=note)
    return browser.follow()


def test_the_list_says_what_waits_for_how_long_and_why(ann: Browser, item: str) -> None:
    text = ann.get("/review")
    assert "Waiting: 1" in text
    assert re.search(r"\d s What is the dose .* A 0\.5 mg .* doses sensitive\.dosing", text)
    assert "<caption>" in ann.source
    assert "kappa" not in text
    assert f'href="/review/{item}"' in ann.source


def test_the_list_shows_questions_redacted_and_what_one_holds(here: Endpoint, ann: Browser) -> None:
    asked = {**HELD, "stem": "Mr Okonkwo Adeyemi: what is the dose of <i>x</i>?"}
    item = Browser(here).held(asked)
    text = ann.get("/review")
    assert "Mr [name 1]: what is the dose of <i>x</i>? A 0.5 mg B 5 mg C 50 mg" in text
    assert "Okonkwo" not in ann.source
    assert "<i>x" not in ann.source
    assert "Claimed by you: 1" not in text
    ann.post(f"/review/{item}/claim")
    text = ann.get("/review")
    assert "Claimed by you: 1" in text
    assert "Waiting: 0" in text
    assert "Mr [name 1]" in text


def test_a_reviewer_who_holds_five_is_told(here: Endpoint, ann: Browser) -> None:
    for _ in range(6):
        Browser(here).held()
    for _ in range(5):
        ann.post("/review/claim")
        assert ann.status == 303
        ann.get("/review")
    text = ann.post("/review/claim")
    assert ann.status == 409
    assert "Not done. Ann holds 5 items." in text
    assert "Claimed by you: 5" in text


def test_a_note_is_kept_without_persons(here: Endpoint, ann: Browser, item: str) -> None:
    give(ann, item, "B", "Dr Okonkwo Adeyemi told so")
    (found,) = here.store.reviews.list_decided()
    assert found.opinions[0].decision.note == "Dr [name 1] told so"


def test_nothing_waits(ann: Browser) -> None:
    assert "No items are waiting." in ann.get("/review")
    ann.post("/review/claim")
    assert "No item is waiting that you could claim." in ann.follow()


def test_an_item_shows_question_options_and_what_the_model_thinks(ann: Browser, item: str) -> None:
    ann.post("/review/claim")
    assert ann.location == f"/review/{item}"
    text = ann.follow()
    assert re.search(r"You hold this item until [\d-]+ [\d:]+ UTC , for (9|10) min", text)
    assert HELD["stem"] in text
    assert re.search(r"A : 0\.5 mg the model’s 9\d\.\d %", text)
    assert "Approve A, the model’s answer Change to B: 5 mg Change to C: 50 mg Reject" in text
    assert "the model’s probability of each option, not how often it is right" in text
    assert " checked" not in ann.source  # nothing is chosen for anybody
    assert "Waiting: 0" in ann.get("/review")
    assert "Claimed by reviewers 1" in ann.text


@pytest.mark.parametrize(
    ("said", "decision"),
    [
        ("approve", Decision(kind="approve", note=NOTE)),
        ("B", Decision(kind="edit", chosen=1, note=NOTE)),
        ("reject", Decision(kind="reject", note=NOTE)),
    ],
)
def test_a_decision_is_kept_with_its_note(
    here: Endpoint, ann: Browser, item: str, said: str, decision: Decision
) -> None:
    text = give(ann, item, said, NOTE)
    assert text.startswith("Skip to the content medtune Ask Review")
    assert "Decided. The decision is shown" in text
    found = here.store.reviews.find(item)
    assert found is not None
    assert found.final == decision
    assert found.opinions[0].reviewer == "ann"


@pytest.mark.parametrize("said", ["", "edit", "Z", "AB", "<b>"])
def test_a_form_without_a_decision_comes_back_with_the_note(
    here: Endpoint, ann: Browser, item: str, said: str
) -> None:
    ann.post("/review/claim")
    text = ann.post(f"/review/{item}/decision", decision=said, note=NOTE)
    assert ann.status == 422
    assert "Choose an answer." in text
    assert f">{NOTE}</textarea>" in ann.source
    assert here.store.reviews.list_decided() == []


def test_a_note_that_is_too_long_and_an_option_that_is_not_there(ann: Browser, item: str) -> None:
    ann.post("/review/claim")
    assert "more than 2,000 characters" in ann.post(
        f"/review/{item}/decision", decision="approve", note="n" * 2001
    )
    assert ann.status == 422
    assert "has no option 9" in ann.post(f"/review/{item}/decision", decision="J")
    assert ann.status == 409


def test_a_second_opinion_is_given_without_sight_of_the_first(
    here: Endpoint, ann: Browser, bob: Browser, item: str
) -> None:
    ann.post("/review/claim")
    ann.post(f"/review/{item}/second")
    assert "A second opinion is requested." in ann.follow()
    assert "Your opinion is stored. A second reviewer will look" in give(ann, item, "B", NOTE)
    assert "you gave your opinion" in ann.text
    assert f"Changed: B {_time()}" in _without_time(ann.get(f"/review/{item}"))

    seen = [bob.get("/review"), bob.get(f"/review/{item}")]
    assert "needs two opinions" in seen[0]
    bob.post(f"/review/{item}/claim")
    seen.append(bob.get(f"/review/{item}"))
    for text in seen:
        assert NOTE not in text
        assert "Changed" not in text
        assert "ann" not in text.split()
    assert "Approve A" in seen[-1]
    bob.post(f"/review/{item}/decision", decision="B")
    assert "Decided." in bob.follow()
    assert NOTE in bob.get(f"/review/{item}")  # now both are there


def test_two_opinions_that_differ_need_a_third_who_sees_neither(
    here: Endpoint, ann: Browser, bob: Browser, cyd: Browser, item: str
) -> None:
    here.store.reviews.request_second_opinion(item, "ann")
    give(ann, item, "B", NOTE)
    assert "It differs from the first, so a third reviewer decides." in give(bob, item, "reject")
    assert "Two opinions differ you gave your opinion" in bob.text
    text = cyd.get("/review") + cyd.get(f"/review/{item}")
    assert "Two opinions differ Claim" in text
    assert NOTE not in text
    assert "Decided." in give(cyd, item, "reject", "as I see it")
    text = cyd.get(f"/review/{item}")
    assert "This item is decided. Rejected: no answer" in text
    assert "is 0.00 (too few for an interval); observed agreement 0.0 %" in cyd.get("/review")
    text = cyd.get(f"/review/{item}")
    for words in ("Changed: B ann", "Rejected: no answer bob", "Rejected: no answer cyd", NOTE):
        assert words in text


def test_who_could_be_asked_next_is_not_shown_what_was_decided(
    here: Endpoint, ann: Browser, bob: Browser, item: str
) -> None:
    give(ann, item, "B", NOTE)
    assert f"Changed: B ann, {_time()} {NOTE}" in _without_time(ann.get(f"/review/{item}"))
    text = bob.get(f"/review/{item}")
    assert "This item is decided; the decision is hidden" in text
    assert NOTE not in text
    assert "Changed" not in text
    elsewhere = bob.get(f"/answer/{item}")
    assert "no decision was made yet" in elsewhere
    assert "A reviewer gave this answer" not in elsewhere
    bob.post(f"/review/{item}/second")
    assert bob.location == f"/review/{item}?done=asked"
    bob.post(f"/review/{item}/claim")
    text = bob.get(f"/review/{item}")
    assert "You hold this item" in text
    assert NOTE not in text


def test_an_item_that_another_holds_cannot_be_taken(
    here: Endpoint, ann: Browser, bob: Browser, item: str
) -> None:
    ann.post("/review/claim")
    text = bob.post(f"/review/{item}/claim")
    assert bob.status == 409
    assert re.search(r"Not done\. It is held by ann until \d\d:\d\d UTC\.", text)
    assert "Claim this item" not in text
    bob.post(f"/review/{item}/decision", decision="approve", note=NOTE)
    assert bob.status == 409
    assert NOTE in bob.source
    bob.post(f"/review/{item}/release")
    assert bob.status == 409
    assert here.store.reviews.list_decided() == []


def test_a_lease_that_ran_out_is_told_and_the_note_is_not_lost(
    here: Endpoint, ann: Browser, item: str
) -> None:
    here.store.reviews.claim("ann", 0.0, item)
    text = ann.post(f"/review/{item}/decision", decision="B", note=NOTE)
    assert ann.status == 409
    assert "You do not hold this item, or no longer; claim it again" in text
    assert NOTE in ann.source
    assert "Claim this item" in text
    assert here.store.reviews.list_decided() == []


def test_what_is_decided_meanwhile_is_told(ann: Browser, bob: Browser, item: str) -> None:
    give(ann, item, "approve")
    for act in ("claim", "decision"):
        text = bob.post(f"/review/{item}/{act}", decision="reject")
        assert bob.status == 409
        assert "This item is decided." in text
    text = ann.post(f"/review/{item}/decision", decision="reject")
    assert ann.status == 409
    assert "You have given your opinion on this item." in text
    ann.post(f"/review/{item}/decision", decision="approve")  # sent twice, decided once
    assert ann.location == "/review?done=decided"


def test_an_item_is_given_back(here: Endpoint, ann: Browser, item: str) -> None:
    ann.post("/review/claim")
    ann.get(f"/review/{item}")
    ann.post(f"/review/{item}/release")
    assert "The item is released" in ann.follow()
    assert here.store.requests.count().waiting == 1


def test_a_third_opinion_is_not_asked_for(
    ann: Browser, bob: Browser, here: Endpoint, item: str
) -> None:
    here.store.reviews.request_second_opinion(item, "ann")
    give(ann, item, "B")
    give(bob, item, "B")
    assert "Ask for a second opinion" not in ann.get(f"/review/{item}")
    ann.post(f"/review/{item}/second")
    assert ann.status == 409


def test_agreement_is_shown_with_its_interval_and_number(
    here: Endpoint, ann: Browser, bob: Browser
) -> None:
    # First: approve, approve, reject, B; second: approve, reject, reject, B.
    for first, second in (
        ("approve", "approve"), ("approve", "reject"), ("reject", "reject"), ("B", "B")
    ):  # fmt: skip
        item = Browser(here).held()
        here.store.reviews.request_second_opinion(item, "ann")
        give(ann, item, first)
        give(bob, item, second)
    text = ann.get("/review")
    # Observed 3/4; expected (2*1 + 1*2 + 1*1) / 16 = 5/16; kappa (3/4 - 5/16) / (11/16) = 7/11
    assert "Cohen’s kappa of first and second opinions is 0.64 (95 %" in text
    assert "observed agreement 75.0 % (95 % 30.1–95.4), n = 4 items" in text


def test_words_in_the_address_are_not_shown(ann: Browser) -> None:
    assert "phish" not in ann.get("/review?done=phish")


def test_redacted_markup_of_an_item_is_text(here: Endpoint, ann: Browser) -> None:
    question = {"stem": "What is the dose of <i>x</i>?", "options": ["1 <i>mg</i>", "2 mg"]}
    Browser(here).held(question)
    ann.post("/review/claim")
    ann.follow()
    assert "<i>" not in ann.source
    assert ann.source.count("&lt;i&gt;") == 2


def _time() -> str:
    return "(a time)"


def _without_time(text: str) -> str:
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", _time(), text)
