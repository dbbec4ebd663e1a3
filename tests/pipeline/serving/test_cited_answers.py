"""Answers with passages: in replies, on pages, for reviewers, and in OpenAI's form."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.serving.endpoint import HELD, QUESTION, Endpoint, endpoint
from tests.pipeline.serving.test_pages_browser import Browser

from medtune.core.errors import RetrievalError
from medtune.core.progress import NoProgress
from medtune.guardrails.policy import Policy, load_policy
from medtune.retrieval.index import FolderIndex, build_index
from medtune.retrieval.schema import Part, Passage, PassageSource, SearchHit
from medtune.serving.schemas import Decision

DOSE = "What is the dose of <i>adrenaline</i> in anaphylaxis?"
CITED: dict[str, Any] = {
    "stem": "Which vitamin is it that is lacking in beriberi?",
    "options": ["Thiamine", "Retinol"],
}
LINES = "Which vitamin is it that is lacking in beriberi?\nA. Thiamine\nB. Retinol"


def fact(name: str, question: str, answer: str, text: str = "") -> Passage:
    return Passage(
        id=name, text=text, question=question, answer=answer, source="facts.csv", licence="CC0"
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> FolderIndex:
    passages = [
        fact("b/1", "Which vitamin is lacking in beriberi?", "Thiamine", "Polished rice has none."),
        fact("d/1", DOSE, "0.5 mg", "Into a <script>alert(1)</script> muscle."),
    ]
    sources = [PassageSource(source="facts.csv", licence="CC0", passages=2)]
    folder = tmp_path_factory.mktemp("index") / "i"
    return build_index(passages, sources, folder, "english", NoProgress())


@pytest.fixture
def here(tmp_path: Path, index: FolderIndex) -> Iterator[Endpoint]:
    with endpoint(tmp_path, calibration=None, index=index) as made:
        yield made


def chat(here: Endpoint, text: str, **more: Any) -> Any:
    messages = [{"role": "user", "content": text}]
    return here.client.post(
        "/v1/chat/completions", json={"model": "m", "messages": messages, **more}
    )


def test_a_passage_decides_where_no_confidence_does(here: Endpoint) -> None:
    reply = here.ask(CITED).json()
    assert (reply["status"], reply["letter"]) == ("answered", "A")
    (passage,) = reply["evidence"]
    assert passage["score"] > 0
    assert {k: v for k, v in passage.items() if k != "score"} == {
        "id": "b/1",
        "text": "Which vitamin is lacking in beriberi? Thiamine. Polished rice has none.",
        "source": "facts.csv",
        "licence": "CC0",
    }
    # The model's numbers are not about this answer.
    assert reply["probabilities"] is reply["confidence"] is reply["measured"] is None
    assert "confidence.evidence" in {verdict["reason"] for verdict in reply["reasons"]}
    entry = here.store.requests.find(reply["request_id"])
    assert entry is not None
    assert entry.probabilities is not None
    again = here.client.get(f"/v1/answer/{reply['request_id']}").json()
    assert (again["letter"], again["probabilities"], again["evidence"]) == ("A", None, None)
    assert 'reason="confidence.evidence"' in here.client.get("/metrics").text


def test_what_no_passage_decides_is_deferred_with_what_was_found(here: Endpoint) -> None:
    other = here.ask({**CITED, "options": ["Retinol", "Thiamine"]}).json()
    assert (other["status"], other["letter"]) == ("deferred", None)  # the passage is for B
    assert [passage["id"] for passage in other["evidence"]] == ["b/1"]
    nothing = here.ask({"stem": "Was ist das?", "options": ["Ja", "Nein"]}).json()
    assert (nothing["status"], nothing["evidence"]) == ("deferred", [])


def test_without_an_index_there_is_no_evidence(tmp_path: Path) -> None:
    with endpoint(tmp_path) as made:
        reply = made.ask(QUESTION).json()
        assert (reply["status"], reply["evidence"]) == ("answered", None)
        assert "Evidence" not in Browser(made).ask(QUESTION)


def test_a_policy_may_let_no_passage_decide(tmp_path: Path, index: FolderIndex) -> None:
    policy = Policy.model_validate(load_policy().model_dump(exclude={"evidence"}))
    with endpoint(tmp_path, policy, calibration=None, index=index) as made:
        reply = made.ask(CITED).json()
        assert (reply["status"], len(reply["evidence"])) == ("deferred", 1)


def test_a_message_has_its_citations(here: Endpoint) -> None:
    choice = chat(here, LINES).json()["choices"][0]
    text = choice["message"]["content"]
    assert text.startswith("A. Thiamine\n\n[1] facts.csv\n\n")
    (note,) = choice["message"]["annotations"]
    assert note["type"] == "url_citation"
    cited = note["url_citation"]
    assert cited["url"] == "urn:medtune:passage:b%2F1"
    assert cited["title"] == "facts.csv, b/1"
    assert text[cited["start_index"] : cited["end_index"]] == "[1] facts.csv"
    lines = chat(here, LINES, stream=True).text.split("\n\n")
    delta = json.loads(lines[0].removeprefix("data: "))["choices"][0]["delta"]
    assert (delta["content"], delta["annotations"]) == (text, choice["message"]["annotations"])
    deferred = chat(here, LINES.replace("Thiamine", "Biotin")).json()["choices"][0]["message"]
    assert "annotations" not in deferred
    assert "facts.csv" not in deferred["content"]


def test_the_page_shows_the_passage_with_its_matched_words(here: Endpoint) -> None:
    browser = Browser(here)
    text = browser.ask(CITED)
    assert "Evidence This passage decides" in text
    assert "facts.csv · CC0 · b/1" in text
    assert "<mark>vitamin</mark>" in browser.source
    assert "<mark>Thiamine</mark>" in browser.source
    assert "<mark>rice</mark>" not in browser.source
    assert "%" not in text.split("Verdicts of all guards")[0].split("Evidence")[1]
    text = browser.ask({**CITED, "options": ["Retinol", "Thiamine"]})
    assert "Passages that were found None decides the question." in text
    assert "No passage was found." in browser.ask({"stem": "Was ist?", "options": ["Ja", "Nein"]})


def test_a_reviewer_sees_the_passages_as_text(here: Endpoint) -> None:
    asked = Browser(here)
    number = asked.held()
    assert "facts.csv" not in asked.text  # nothing is shown before the decision
    assert here.client.get(f"/v1/answer/{number}").json()["evidence"] is None
    ann = Browser(here)
    ann.sign_in("review", "ann")
    ann.post("/review/claim")
    text = ann.follow()
    assert "Passages that were found" in text
    assert "Into a <script>alert(1)</script> muscle." in text
    assert "<script>alert" not in ann.source
    assert "<i>" not in ann.source
    assert "<mark>dose</mark>" in ann.source
    item = here.client.get(f"/v1/reviews/{number}", headers=here.name("bob")).json()["item"]
    assert item["evidence"][0]["id"] == "d/1"
    here.store.reviews.decide(number, "ann", Decision(kind="approve"))
    assert "facts.csv" not in asked.get(f"/answer/{number}")


def test_passages_are_deleted_with_their_item(here: Endpoint, tmp_path: Path) -> None:
    number = here.ask(HELD).json()["request_id"]
    here.ask(CITED)
    here.store.requests.delete_before(here.store.reviews.get(number).item.time.replace(year=2999))
    here.store.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("e.db*"))
    assert b"muscle" not in raw
    assert b"Polished" not in raw  # it was never stored


class Database:
    """An index behind a database that can go away."""

    def __init__(self, index: FolderIndex) -> None:
        self.manifest, self.passage, self._index = index.manifest, index.passage, index
        self.broken = False

    def search(
        self,
        queries: Sequence[str],
        count: int,
        part: Part = "whole",
        excluded: Collection[int] = (),
    ) -> list[list[SearchHit]]:
        if self.broken:
            raise RetrievalError("database: no answer")
        return self._index.search(queries, count, part, excluded)


def test_a_database_of_passages_that_goes_away_is_told_and_comes_back(
    tmp_path: Path, index: FolderIndex
) -> None:
    database = Database(index)
    with endpoint(tmp_path, calibration=None, index=database) as made:
        database.broken = True
        assert made.ask(CITED).status_code == 503
        ready = made.client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["faults"] == ["the model is unavailable"]
        database.broken = False
        assert made.client.get("/readyz").status_code == 200
        assert made.ask(CITED).json()["letter"] == "A"
