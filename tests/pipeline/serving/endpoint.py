"""An endpoint on fakes: everything but the model and the learned guard is real."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from medtune.core.errors import RemoteError
from medtune.core.prompt import PromptStyle
from medtune.core.protocols import (
    AnswerModel,
    ContinuationScore,
    Decoding,
    GenerateRequest,
    Generation,
    ScoreRequest,
)
from medtune.core.schemas.guardrails import GuardVerdict, ServingCalibration
from medtune.guardrails.inquiry_text import InquiryText
from medtune.guardrails.pipeline import Guards
from medtune.guardrails.policy import Policy, load_policy
from medtune.models.fake import FakeModel
from medtune.retrieval.index import PassageIndex
from medtune.serving.app import build_app
from medtune.serving.auth.authorize import Authorizer
from medtune.serving.dependencies import Services
from medtune.serving.inference.engine import Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.metrics import Metrics
from medtune.serving.storage.store import Store

QUESTION: dict[str, Any] = {
    "stem": "Which vitamin is deficient in scurvy?",
    "options": ["Vitamin A", "Vitamin C", "Vitamin D", "Vitamin K"],
    "subject": "Biochemistry",
}
HELD: dict[str, Any] = {
    "stem": "What is the dose of adrenaline in anaphylaxis?",
    "options": ["0.5 mg", "5 mg", "50 mg"],
}
SECRET = b"0123456789abcdef0123456789abcdef"


class Unlearned:
    """Stands in for the classifier: it never minds."""

    def judge(self, reading: InquiryText, policy: Policy) -> GuardVerdict:
        return GuardVerdict(guard="classifier", action="allow", probability=0.0)


class Breakable(FakeModel):
    """A model behind a server that can go away."""

    def __init__(self) -> None:
        super().__init__("constant", {})
        self.broken = False

    def check(self) -> None:
        if self.broken:
            raise RemoteError("http://there: no answer")

    def score(self, requests: Sequence[ScoreRequest]) -> list[tuple[ContinuationScore, ...]]:
        self.check()
        return super().score(requests)

    def generate(self, requests: Sequence[GenerateRequest], decoding: Decoding) -> list[Generation]:
        self.check()
        return super().generate(requests, decoding)


CALIBRATION = ServingCalibration(
    temperature=2.0, threshold=0.3, risk=0.2, bound=0.18, coverage=0.7, quantile=0.75, level=0.9,
    subjects=("Biochemistry", "Anatomy"), n=200, source="file:c.jsonl", hash="0" * 64,
)  # fmt: skip


def predictor_of(
    model: AnswerModel,
    release: str = "fake:constant",
    policy: Policy | None = None,
    calibration: ServingCalibration | None = CALIBRATION,
    index: PassageIndex | None = None,
) -> Predictor:
    """Put a predictor around a model."""
    return Predictor(
        model=model,
        style=PromptStyle(),
        method="letter",
        guards=Guards(policy or load_policy(), Unlearned()),
        calibration=calibration,
        release=release,
        index=index,
    )


@dataclass
class Endpoint:
    """An endpoint, and a browser of this machine before it."""

    client: TestClient
    services: Services
    store: Store
    model: Breakable = field(repr=False)

    def ask(self, question: dict[str, Any] | None = None, **how: Any) -> Any:
        return self.client.post("/v1/answer", json=question or QUESTION, **how)

    def name(self, name: str, role: str = "review") -> dict[str, str]:
        """Make a key of a name; return the header that shows it."""
        _, secret = self.store.keys.add(name, role, 1000)  # type: ignore[arg-type]
        return {"Authorization": f"Bearer {secret}"}

    def key(self, role: str = "ask", per_minute: int = 1000) -> dict[str, str]:
        _, secret = self.store.keys.add(f"{role}-{per_minute}", role, per_minute)  # type: ignore[arg-type]
        return {"Authorization": f"Bearer {secret}"}


@contextmanager
def endpoint(
    folder: Path,
    policy: Policy | None = None,
    calibration: ServingCalibration | None = CALIBRATION,
    patience_s: float = 10.0,
    host: str = "127.0.0.1",
    index: PassageIndex | None = None,
) -> Iterator[Endpoint]:
    """Start an endpoint on a fresh store."""
    store, model, metrics = Store.open(f"sqlite:///{folder / 'e.db'}"), Breakable(), Metrics()
    predictor = predictor_of(model, policy=policy, calibration=calibration, index=index)
    engine = Engine(predictor, store, SECRET, metrics, patience_s)
    gate = Authorizer(store.keys.find)
    services = Services(
        engine, store, gate, metrics, SECRET,
        {"store": store.check_writable, "model": engine.check_model},
        ready_s=0.0,
    )  # fmt: skip
    client = TestClient(
        build_app(services),
        base_url="http://127.0.0.1",
        client=(host, 50000),
        raise_server_exceptions=False,
    )
    with client:
        yield Endpoint(client, services, store, model)
