"""A shadow beside an endpoint: it is counted and kept, and changes nothing for anybody."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.pipeline.serving.endpoint import (
    CALIBRATION,
    HELD,
    QUESTION,
    Endpoint,
    endpoint,
    predictor_of,
)
from tests.pipeline.serving.test_answers import changed
from tests.pipeline.serving.test_pages_browser import Browser

from medtune.core.errors import RemoteError
from medtune.core.protocols import ContinuationScore, ScoreRequest
from medtune.models.fake import FakeModel
from medtune.serving.inference import request_batcher, shadow
from medtune.serving.inference.predictor import Predictor
from medtune.serving.schemas import RequestRecord, ShadowAnswer
from medtune.serving.storage.store import Store


class Thinker(FakeModel):
    """A model in this process: it chooses one place, can be held up, and can fail."""

    def __init__(self, place: int = 0) -> None:
        super().__init__("constant", {})
        self.place = place
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.asked: list[list[ScoreRequest]] = []
        self.threads: set[str] = set()

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.asked.append(list(requests))
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return super().score(requests)

    def _logits(self, identity: str, options: Sequence[str]) -> list[float]:
        return [8.0 * (place == self.place) for place in range(len(options))]


class Away(Thinker):
    """The same behind a server."""

    def check(self) -> None:
        """Be there."""


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write what is found at once."""
    monkeypatch.setattr(shadow, "WRITE_INTERVAL_S", 0.02)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Endpoint]:
    with endpoint(tmp_path) as made:
        yield made


def beside(made: Endpoint, model: FakeModel, **how: Any) -> Predictor:
    """Put a model beside the one that answers."""
    made.services.engine.shadow.predictor = predictor = predictor_of(model, "r-2", **how)
    return predictor


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.perf_counter() + seconds
    while not holds():
        assert time.perf_counter() < end, "it does not come true"
        time.sleep(0.01)


def counted(made: Endpoint) -> dict[str, int]:
    text = made.client.get("/metrics").text
    found = re.findall(r'^medtune_shadow_total\{outcome="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {name: int(n) for name, n in found}


def kept(store: Store) -> list[tuple[RequestRecord, ShadowAnswer]]:
    now = datetime.now(UTC)
    return list(store.requests.iter_shadowed(now - timedelta(days=1), now + timedelta(days=1)))


def test_what_a_shadow_chooses_is_counted_and_kept(here: Endpoint) -> None:
    beside(here, Thinker(0))
    first = here.ask().json()["request_id"]
    until(lambda: counted(here) == {"same": 1})
    beside(here, Away(2))
    second = here.ask(HELD).json()["request_id"]
    until(lambda: counted(here) == {"same": 1, "other": 1})
    until(lambda: len(kept(here.store)) == 2)
    (entry, one), (_, other) = kept(here.store)
    assert entry == here.store.requests.find(first)
    assert (one.request_id, one.release, one.outcome, one.chosen) == (first, "r-2", "same", 0)
    assert one.probabilities == entry.probabilities
    assert one.unsure is False
    assert (other.request_id, other.outcome, other.chosen) == (second, "other", 2)


def test_without_a_shadow_nothing_is_counted(here: Endpoint) -> None:
    here.ask()
    time.sleep(0.1)
    assert counted(here) == {}
    assert kept(here.store) == []


def test_the_one_that_answers_is_no_shadow_of_itself(here: Endpoint) -> None:
    model = Thinker()
    here.services.engine.shadow.predictor = predictor_of(
        model, here.services.engine.predictor.release
    )
    here.ask()
    time.sleep(0.1)
    assert (counted(here), model.asked) == ({}, [])


def test_a_shadow_is_asked_what_the_model_was_asked(here: Endpoint) -> None:
    model = Thinker()
    beside(here, model)
    here.ask({**QUESTION, "stem": "I took all my pills. What now?"})  # refused
    here.ask({**QUESTION, "stem": "A man (tel. 0151 496 0123) bleeds. What is deficient?"})
    until(lambda: counted(here) == {"same": 1})
    ((request,),) = model.asked
    text = "\n".join(message.content for message in request.messages)
    assert "What is deficient?" in text
    assert "0151" not in text  # what privacy took out


def test_its_own_thresholds_tell_whether_it_is_sure(here: Endpoint) -> None:
    beside(here, Thinker(), calibration=CALIBRATION.model_copy(update={"threshold": 1.0}))
    assert here.ask().json()["status"] == "answered"
    until(lambda: len(kept(here.store)) == 1)
    assert [one.unsure for _, one in kept(here.store)] == [True]


SURFACES: dict[str, Callable[[Endpoint], str]] = {
    "answer": lambda made: made.ask().text,
    "held": lambda made: made.ask(HELD).text,
    "batch": lambda made: (
        made.client.post("/v1/answer/batch", json={"questions": [QUESTION, HELD]}).text
    ),
    "chat": lambda made: made.client.post("/v1/chat/completions", json=CHAT).text,
    "stream": lambda made: (
        made.client.post("/v1/chat/completions", json={**CHAT, "stream": True}).text
    ),
    "models": lambda made: made.client.get("/v1/models").text,
    "page": lambda made: _page(made),
    "fate": lambda made: _fate(made),
    "ready": lambda made: made.client.get("/readyz").text,
    "openapi": lambda made: made.client.get("/openapi.json").text,
}
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "Which vitamin?\nA. Vitamin A\nB. Vitamin C"}],
    "logprobs": True,
    "top_logprobs": 2,
}


def _page(made: Endpoint) -> str:
    browser = Browser(made)
    browser.ask(QUESTION)
    return browser.source


def _fate(made: Endpoint) -> str:
    number = made.ask().json()["request_id"]
    time.sleep(0.1)  # the shadow's answer is there by then
    return str(made.client.get(f"/v1/answer/{number}").text)


def _bare(text: str) -> str:
    """Take ids, tokens and times out of an answer."""
    text = re.sub(r'value="\w+"|[0-9a-f]{32}', "ID", text)
    return re.sub(r'"(created|since)":\s*("[^"]*"|\d+)', "TIME", text)


@pytest.mark.parametrize("surface", SURFACES)
def test_what_an_asker_sees_is_the_same_with_and_without(surface: str, tmp_path: Path) -> None:
    shown = []
    for name, model in (("alone", None), ("beside", Thinker(1)), ("failing", Thinker(1))):
        (tmp_path / name).mkdir()
        with endpoint(tmp_path / name) as made:
            if model is not None:
                model.error = RuntimeError("r-2 fails") if name == "failing" else None
                beside(made, model)
            shown.append(_bare(SURFACES[surface](made)))
    assert shown[0] == shown[1] == shown[2]
    assert "r-2" not in shown[1]


@pytest.mark.parametrize("error", [RemoteError("http://there: no answer"), RuntimeError("memory")])
@pytest.mark.parametrize("kind", [Thinker, Away])
def test_a_shadow_that_fails_is_counted_and_told_once(
    here: Endpoint, kind: type[Thinker], error: Exception
) -> None:
    model = kind()
    model.error = error
    beside(here, model)
    with capture_logs() as said:
        for n in (1, 2):
            assert here.ask().json()["letter"] == "A"
            until(lambda n=n: counted(here) == {"failed": n})  # type: ignore[misc]
    (line,) = [line for line in said if line["event"] == "shadow"]
    assert line["fault"] in ("http://there: no answer", "RuntimeError")
    assert here.client.get("/readyz").json()["ready"] is True
    model.error = None
    here.ask()
    until(lambda: counted(here) == {"failed": 2, "same": 1})
    until(lambda: len(kept(here.store)) == 3)
    assert [one.outcome for _, one in kept(here.store)] == ["failed", "failed", "same"]
    assert kept(here.store)[0][1].chosen is None


@contextmanager
def _at_once(seconds: float) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    assert time.perf_counter() - begin < seconds


def test_a_server_that_does_not_answer_holds_nobody_up(tmp_path: Path) -> None:
    model = Away()
    model.gate.clear()
    with _at_once(30):
        with endpoint(tmp_path) as made:
            beside(made, model)
            made.ask()
            assert model.entered.wait(5)
            for _ in range(5):
                with _at_once(5):
                    assert made.ask().status_code == 200
            begin = time.perf_counter()
        assert time.perf_counter() - begin < 5  # a stop does not wait for it, either
    store = Store.open(f"sqlite:///{tmp_path / 'e.db'}")
    assert [one.outcome for _, one in kept(store)] == ["skipped"] * 6
    store.close()
    model.gate.set()


def test_what_finds_no_room_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "MAX_QUEUE_LENGTH", 2)
    monkeypatch.setattr(shadow, "MAX_BATCH_SIZE", 1)
    model = Away()
    model.gate.clear()
    with endpoint(tmp_path) as made:
        beside(made, model)
        made.ask()
        assert model.entered.wait(5)
        assert made.client.post("/v1/answer/batch", json={"questions": [QUESTION] * 5}).is_success
        until(lambda: counted(made) == {"skipped": 3})
        model.gate.set()
        until(lambda: counted(made) == {"skipped": 3, "same": 3})
        until(lambda: len(kept(made.store)) == 6)


def test_nothing_is_begun_while_somebody_waits_for_the_champion(
    here: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_batcher, "LINGER_S", 0.5)
    champion, model = Thinker(), Away()
    here.services.engine.predictor = predictor_of(champion)
    beside(here, model)
    here.ask()  # for half a second the same asker may come back
    champion.gate.clear()
    asker = threading.Thread(target=here.ask)
    asker.start()
    until(lambda: len(champion.asked) == 2)
    time.sleep(0.7)
    assert model.asked == []
    champion.gate.set()
    asker.join()
    until(lambda: counted(here) == {"same": 2})


def test_what_computes_here_does_so_in_the_models_thread_one_by_one(here: Endpoint) -> None:
    near, far = Thinker(), Away()
    for model in (near, far):
        beside(here, model)
        here.client.post("/v1/answer/batch", json={"questions": [QUESTION] * 4})
        until(lambda model=model: sum(map(len, model.asked)) == 4)  # type: ignore[misc]
    assert {len(batch) for batch in near.asked} == {1}
    assert {name.partition("_")[0] for name in near.threads} == {"model"}
    assert far.threads == {"aside"}


def test_minds_may_be_exchanged_while_questions_wait(here: Endpoint) -> None:
    far, near = Away(), Thinker(1)
    far.gate.clear()
    beside(here, far)
    here.ask()
    assert far.entered.wait(5)
    here.ask()
    beside(here, near)
    here.ask()
    far.gate.set()
    until(lambda: counted(here) == {"same": 2, "other": 1})
    assert len(near.asked) == 1
    assert "aside" not in near.threads
    assert far.threads == {"aside"}
    here.services.engine.shadow.predictor = None
    here.ask()
    time.sleep(0.1)
    assert sum(counted(here).values()) == 3


def test_where_the_policy_keeps_nothing_it_is_only_counted(tmp_path: Path) -> None:
    with endpoint(tmp_path, changed(privacy={"keep": "none"})) as made:
        beside(made, Thinker(1))
        made.ask()
        until(lambda: counted(made) == {"other": 1})
        time.sleep(0.1)
        assert kept(made.store) == []


def test_retention_takes_it_with_its_request(here: Endpoint) -> None:
    beside(here, Thinker())
    here.ask()
    until(lambda: len(kept(here.store)) == 1)
    here.store.requests.delete_before(datetime.now(UTC) + timedelta(days=1))
    assert kept(here.store) == []


def test_what_cannot_be_kept_is_told_and_nobody_suffers(here: Endpoint, tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "e.db")
    database.execute("DROP TABLE shadows")
    database.close()
    beside(here, Thinker())
    with capture_logs() as said:
        assert here.ask().status_code == 200
        until(lambda: any(line["event"] == "shadow" for line in said))
    (line,) = [line for line in said if line["event"] == "shadow"]
    assert line["lost"] == 1
    assert counted(here) == {"same": 1}
    assert here.ask().status_code == 200


def test_a_stop_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "WRITE_INTERVAL_S", 60.0)
    with endpoint(tmp_path) as made:
        beside(made, Thinker())
        made.ask()
    store = Store.open(f"sqlite:///{tmp_path / 'e.db'}")
    assert [one.outcome for _, one in kept(store)] == ["same"]
    store.close()


@pytest.mark.parametrize(
    ("outcome", "chosen", "probabilities", "unsure"),
    [
        ("same", None, None, None),
        ("same", 1, (0.4, 0.6), None),
        ("failed", 1, (0.4, 0.6), False),
        ("skipped", None, None, False),
    ],
)
def test_an_answer_is_whole_or_none(
    outcome: Any, chosen: Any, probabilities: Any, unsure: Any
) -> None:
    with pytest.raises(ValueError, match="a shadow that answered has an option"):
        ShadowAnswer(
            request_id="a",
            release="r",
            outcome=outcome,
            chosen=chosen,
            probabilities=probabilities,
            unsure=unsure,
        )
