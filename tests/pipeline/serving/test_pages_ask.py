from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.pipeline.serving.endpoint import CALIBRATION, HELD, QUESTION, Endpoint, endpoint
from tests.pipeline.serving.test_pages_browser import Browser

from medtune.core.intervals import wilson_interval
from medtune.guardrails.policy import Policy, load_policy
from medtune.serving.inference.request_batcher import BusyError
from medtune.serving.schemas import Decision


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Endpoint]:
    with endpoint(tmp_path) as made:
        yield made


@pytest.fixture
def browser(here: Endpoint) -> Browser:
    return Browser(here)


def request_id(browser: Browser) -> str:
    found = re.search(r"Request ([0-9a-f]{32})", browser.text)
    assert found is not None
    return found[1]


def test_there_is_room_for_ten_options_and_each_has_a_label(browser: Browser) -> None:
    browser.get("/")
    fields = re.findall(r'<input id="([^"]+)" name="option"', browser.source)
    assert fields == [f"option-{letter}" for letter in "ABCDEFGHIJ"]
    for name in (*fields, "stem", "subject"):
        assert f'<label for="{name}">' in browser.source
    assert "<details>" in browser.source  # six of them stand behind it


def test_an_answer_shows_all_that_is_known_of_it(here: Endpoint, browser: Browser) -> None:
    text = browser.ask(QUESTION)
    assert browser.status == 200
    assert '<h1 tabindex="-1" autofocus>Answered</h1>' in browser.source
    assert re.search(r"A Vitamin A The question Which vitamin is deficient in scurvy\?", text)
    assert re.search(r"A : Vitamin A the answer in the 90 % set 94\.\d %", text)
    assert re.search(r"C : Vitamin D 1\.\d %", text)
    assert "sets are made to contain the right option for at least 90 %" in text
    for words in ("Size passed", "Crisis passed", "Sensitive topic passed", "Output passed"):
        assert words in text
    assert "Release fake:constant" in text
    entry = here.store.requests.find(request_id(browser))
    assert entry is not None
    assert entry.caller == "local"
    assert len(re.findall(r'<rect class="fill" width="[\d.]+" height="1"/>', browser.source)) == 4


def test_a_model_that_was_never_measured_gives_no_answer(tmp_path: Path) -> None:
    with endpoint(tmp_path, calibration=None) as made:
        browser = Browser(made)
        text = browser.ask(QUESTION)
        assert '<h1 tabindex="-1" autofocus>Not sure enough to answer</h1>' in browser.source
        assert "How often this model's choice is right was never measured" in text
        assert 'class="given' not in browser.source
        assert 'class="chosen"' not in browser.source


def test_its_choice_is_called_what_it_is_where_a_policy_shows_it(tmp_path: Path) -> None:
    rules = load_policy().model_dump()
    rules["confidence"]["uncalibrated"] = "annotate"
    with endpoint(tmp_path, Policy.model_validate(rules), calibration=None) as made:
        browser = Browser(made)
        text = browser.ask(QUESTION)
        title = "The model's choice, not measured"
        assert browser.source.count("autofocus>The model&#39;s choice, not measured</h1>") == 1
        assert 'class="given unmeasured"' in browser.source
        assert re.search(r"A : Vitamin A the model's choice \d", text)
        assert "the answer" not in text.split(title)[1].split("Ask again")[0]
        browser.get(f"/answer/{request_id(browser)}")
        assert title in browser.text
        assert "The model's answer" not in browser.text


def test_an_answer_has_its_accuracy_beside_it(tmp_path: Path) -> None:
    measured = CALIBRATION.model_copy(
        update={"accuracy": wilson_interval(46, 80), "source": "starter:recall"}
    )
    with endpoint(tmp_path, calibration=measured) as made:
        text = Browser(made).ask(QUESTION)
        found = "This model was right on 57.5 % of the 80 questions that it was evaluated on"
        assert f"{found} (95 % interval 46.6 to 67.7 %; starter:recall)." in text


def test_what_was_asked_is_shown_back_as_text(browser: Browser) -> None:
    evil = "\"><script>alert(1)</script>'{{ 1234 * 4321 }}"
    for question in (
        {"stem": f"Which {evil}?", "options": [f"a {evil}", f"b {evil}"], "subject": f"c {evil}"},
        {"stem": f"Which {evil}?", "options": ["a", "A"], "subject": f"c {evil}"},
    ):
        text = browser.ask(question)
        assert "<script>alert" not in browser.source
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in browser.source
        assert "5332114" not in text
        assert browser.location is None
    assert browser.status == 422


def test_a_textarea_is_not_left_by_what_is_typed_into_it(browser: Browser) -> None:
    browser.ask({"stem": "</textarea><h1>mine</h1> A. a B. b C. a", "options": []})
    assert "</textarea><h1>" not in browser.source


def test_empty_options_are_left_out(here: Endpoint, browser: Browser) -> None:
    browser.ask({"stem": "Which?", "options": ["one", "", "  ", "two", "", "", "three"]})
    entry = here.store.requests.find(request_id(browser))
    assert entry is not None
    assert entry.options == 3
    assert re.search(r"B : two", browser.text)


@pytest.mark.parametrize(
    "stem", ["Which?\r\nA. one\r\nB) two\r\n(C) three", "Which? A) one B) two C) three"]
)
def test_a_question_can_be_pasted_whole(here: Endpoint, browser: Browser, stem: str) -> None:
    text = browser.ask({"stem": stem, "options": [""] * 10})
    entry = here.store.requests.find(request_id(browser))
    assert entry is not None
    assert entry.options == 3
    assert "The question Which? A : one" in text
    assert stem.replace("\r\n", "\n") in browser.source  # the form keeps what was typed


@pytest.mark.parametrize("options", [[], ["only one"]])
def test_a_form_without_options_is_a_mistake_and_no_scope_card(
    here: Endpoint, browser: Browser, options: list[str]
) -> None:
    text = browser.ask({"stem": "What is the treatment of anaphylaxis?", "options": options})
    assert browser.status == 422
    assert "Not done. A question needs at least two options" in text
    assert "This is outside what can be answered here" not in text
    assert "What is the treatment of anaphylaxis?" in browser.source
    assert here.store.requests.count().by_status == {}


def test_without_options_a_question_about_a_person_still_gets_its_card(browser: Browser) -> None:
    text = browser.ask({"stem": "My son has a fever, which syrup?", "options": []})
    assert browser.status == 200
    assert "This is outside what can be answered here" in text
    assert "scope.patient" in text


def test_somebody_in_need_gets_the_card_and_is_not_asked_for_a_rating(browser: Browser) -> None:
    text = browser.ask({"stem": "I took all my pills and want to die", "options": []})
    assert ">Please get help now</h1>" in browser.source
    assert "116 123" in text
    assert "Did this help?" not in text
    assert "<textarea" not in browser.source


def test_an_unsure_answer_names_the_set_and_no_letter(browser: Browser) -> None:
    text = browser.ask({**QUESTION, "subject": "Astrology"})
    assert "Not sure enough to answer" in text
    assert "It is most likely among A . The model was never calibrated on this subject" in text
    assert "the answer" not in text.split("Did this help?")[0]


@pytest.mark.parametrize(
    ("stem", "options", "subject", "sentence"),
    [
        ("", ["a", "b"], "", "Write a question first."),
        (" \r\n\t\0", [], "", "Write a question first."),
        ("Which?", ["a", " A "], "", "Two options are the same."),
        ("Which?", list("abcdefghijk"), "", "There are more than 10 options."),
        ("W" * 20_001, ["a", "b"], "", "The question has more than 20,000 characters."),
        ("Which?", ["a", "b" * 4001], "", "The longest option has more than 4,000 characters."),
        ("Which?", ["a", "b"], "s" * 101, "The subject has more than 100 characters."),
    ],
)
def test_a_form_that_cannot_be_used_comes_back_with_a_sentence(
    here: Endpoint, browser: Browser, stem: str, options: list[str], subject: str, sentence: str
) -> None:
    text = browser.ask({"stem": stem, "options": options, "subject": subject})
    assert browser.status == 422
    assert f"Not done. {sentence}" in text
    assert stem.strip("\r\n \t\0") in browser.source
    assert here.store.requests.count().by_status == {}


def test_what_the_policy_finds_too_long_is_refused_with_its_verdict(browser: Browser) -> None:
    text = browser.ask({"stem": "W" * 5000, "options": ["a", "b"]})
    assert browser.status == 200
    assert "The question is longer than is allowed size.stem" in text


def test_a_model_that_fails_is_a_sentence_and_the_question_stays(
    here: Endpoint, browser: Browser
) -> None:
    here.model.broken = True
    text = browser.ask(QUESTION)
    assert browser.status == 503
    assert browser.answer.headers["retry-after"] == "5"
    assert "Not done. The model is unavailable." in text
    assert QUESTION["stem"] in browser.source
    assert "http://there" not in text
    assert 'why="unavailable"' in here.client.get("/metrics").text


def test_a_store_that_fails_is_a_sentence(here: Endpoint, browser: Browser, tmp_path: Path) -> None:
    browser.get("/")
    here.store.close()
    # A write that was under way in another thread may open the file once more.
    while not (tmp_path / "e.db").is_dir():
        for path in tmp_path.glob("e.db*"):
            path.unlink(missing_ok=True)
        with suppress(FileExistsError):
            (tmp_path / "e.db").mkdir()
    text = browser.ask(QUESTION)
    assert browser.status == 503
    assert "Not done. The database is unavailable." in text
    assert "e.db" not in text
    browser.cookies.set("medtune_session", "x" * 43)
    browser.get("/dashboard")
    assert browser.status == 503
    assert "e.db" not in browser.text


def test_a_busy_endpoint_says_when_to_come_again(
    here: Endpoint, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*given: object) -> None:
        raise BusyError(2.4)

    monkeypatch.setattr(here.services.engine, "answer", busy)
    text = browser.ask(QUESTION)
    assert browser.status == 429
    assert browser.answer.headers["retry-after"] == "3"
    assert "Many questions are waiting. Please ask again in 3 seconds." in text


@pytest.mark.parametrize(
    ("decision", "sentence", "headline"),
    [
        (Decision(kind="approve"), "A A reviewer approved the model's answer", "Answered"),
        (Decision(kind="edit", chosen=1), "B A reviewer gave this answer instead", "Answered"),
        (Decision(kind="reject"), "decided that no answer is given", "Not answered"),
    ],
)
def test_what_waited_for_a_person_tells_its_fate(
    here: Endpoint, browser: Browser, decision: Decision, sentence: str, headline: str
) -> None:
    held = browser.held()
    assert "A reviewer looks at this first" in browser.text
    assert "%" not in browser.text.split("Verdicts of all guards")[0]  # no probability is shown
    assert "no decision was made yet" in browser.get(f"/answer/{held}")
    here.store.reviews.claim("ann", 60, held)
    here.store.reviews.decide(held, "ann", decision)
    text = browser.get(f"/answer/{held}")
    assert sentence in text
    assert f"<h1>{headline}</h1>" in browser.source
    assert HELD["stem"] not in text
    assert HELD["options"][0] not in text


def test_the_fate_of_an_answer_shows_numbers_and_no_text(browser: Browser) -> None:
    browser.ask(QUESTION)
    text = browser.get(f"/answer/{request_id(browser)}")
    assert "A The model's answer Options" in text
    assert re.search(r"A : the answer 94\.\d %", text)
    assert "Vitamin" not in text


@pytest.mark.parametrize("path", ["/answer/" + "0" * 32, "/answer/<b>", "/review/" + "0" * 32])
def test_what_is_not_there_is_a_page_that_says_so(browser: Browser, path: str) -> None:
    browser.sign_in("review")
    text = browser.get(path)
    assert browser.status == 404
    assert browser.answer.headers["content-type"].startswith("text/html")
    assert "Not done" in text
    assert "/<b>" not in browser.source


def test_feedback_joins_its_answer(here: Endpoint, browser: Browser) -> None:
    browser.ask(QUESTION)
    asked = request_id(browser)
    browser.post(f"/answer/{asked}/feedback", helpful="no", corrected="B")
    assert browser.location == f"/answer/{asked}?thanks=1"
    (said,) = here.store.requests.list_feedback()
    assert (said.request_id, said.helpful, said.corrected) == (asked, False, 1)
    assert "Thank you." in browser.follow()
    browser.post(f"/answer/{asked}/feedback", helpful="yes")
    (said,) = here.store.requests.list_feedback()
    assert (said.helpful, said.corrected) == (True, None)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 422), ({"helpful": "maybe"}, 422), ({"corrected": "AB"}, 422), ({"corrected": "J"}, 409)],
)
def test_feedback_that_says_nothing_is_not_kept(
    here: Endpoint, browser: Browser, fields: dict[str, str], status: int
) -> None:
    browser.ask(QUESTION)
    browser.post(f"/answer/{request_id(browser)}/feedback", **fields)
    assert browser.status == status
    assert here.store.requests.list_feedback() == []


def test_an_endpoint_that_keeps_nothing_shows_nothing_that_needs_it(
    here: Endpoint, browser: Browser
) -> None:
    here.services.store = here.services.engine.store = None
    text = browser.ask(QUESTION)
    assert browser.status == 200
    assert "Did this help?" not in text
    assert "Dashboard" not in text
    browser.ask(HELD)
    assert "Not sure enough to answer" in browser.text
    assert "This endpoint has no database" in browser.get("/answer/" + "0" * 32)
    assert browser.status == 503


def test_the_page_says_what_is_kept_and_which_guards_there_are(tmp_path: Path) -> None:
    policy = load_policy()
    privacy = policy.privacy.model_copy(update={"keep": "none"})
    with endpoint(tmp_path, policy.model_copy(update={"privacy": privacy})) as made:
        text = Browser(made).get("/")
    assert "No question is kept." in text
    assert (
        text.index("Crisis shows") < text.index("Model estimates") < text.index("Confidence holds")
    )


def test_the_first_page_offers_the_subjects_that_were_calibrated(tmp_path: Path) -> None:
    with endpoint(tmp_path) as made:
        browser = Browser(made)
        assert "The model was calibrated on 2 subjects" in browser.get("/")
        assert '<option value="Biochemistry">' in browser.source
    (tmp_path / "bare").mkdir()
    with endpoint(tmp_path / "bare", calibration=None) as made:
        browser = Browser(made)
        browser.get("/")
        assert "<datalist" not in browser.source
        assert "was never measured" in browser.ask(QUESTION)


def test_nothing_that_was_typed_is_on_the_disk_or_in_the_log(
    here: Endpoint, browser: Browser, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        browser.ask({**QUESTION, "stem": "Which zebrafish enzyme?"})
        browser.ask({"stem": "Which zebrafish?", "options": ["axolotl", "axolotl"]})
        here.model.broken = True
        browser.ask({**QUESTION, "options": ["zebrafish", "axolotl"]})
    here.store.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    said = caplog.text + "".join(capsys.readouterr())
    for word in ("zebrafish", "axolotl"):
        assert word.encode() not in raw
        assert word not in said
