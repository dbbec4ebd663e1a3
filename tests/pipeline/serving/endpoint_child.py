"""An endpoint on fakes as a process of its own: `python endpoint_child.py FOLDER PORT SETTINGS`."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from medtune.core.prompt import PromptStyle
from medtune.guardrails.policy import Policy, load_policy
from medtune.models.fake import FakeModel
from medtune.serving.auth.authorize import Authorizer
from medtune.serving.connections import ConnectionLimits
from medtune.serving.dependencies import Services
from medtune.serving.inference.engine import GUARD_TIMEOUT_S, Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.metrics import Metrics
from medtune.serving.server import run_server
from medtune.serving.storage.store import Store
from medtune.workflows.open_guards import open_guards


def main(folder: Path, port: int, settings: dict[str, Any]) -> None:
    if files := settings.get("files"):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    sizes = settings.get("size")
    policy = load_policy()
    if sizes:
        policy = Policy.model_validate({**policy.model_dump(), "size": sizes})
    predictor = Predictor(
        model=FakeModel("constant", {}),
        style=PromptStyle(),
        method="letter",
        guards=open_guards(policy),
        calibration=None,
        release="fake:constant",
    )
    store, metrics = Store.open(f"sqlite:///{folder / 'e.db'}"), Metrics()
    guards_s = settings.get("guards_s", GUARD_TIMEOUT_S)
    engine = Engine(predictor, store, b"0" * 32, metrics, guards_s=guards_s)
    services = Services(engine, store, Authorizer(store.keys.find), metrics, b"0" * 32)
    run_server(services, "127.0.0.1", port, ConnectionLimits(**settings.get("room", {})))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
