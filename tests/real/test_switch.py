"""Releases over one base are switched without reading it again, and what they were is freed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtune.commands.serve import PredictorManager, ServeOptions, opened
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.models.adapters.adapter_pool import PooledModel
from medtune.models.adapters.adapter_pools import AdapterPools
from medtune.releases.build import BuildOptions, build
from medtune.releases.registry import Registry
from medtune.serving.inference.engine import Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.metrics import Metrics
from medtune.serving.storage.store import Store

ASKED = [Question(id="q", stem="Which is it?", options=("this", "that", "other"), answer=None)]


@pytest.fixture
def minds(adapter: Path, tmp_path: Path) -> PredictorManager:
    registry, shelves = Registry(tmp_path / "registry"), AdapterPools()
    for name in ("v1", "v2", "v3"):
        build(registry, BuildOptions(name, f"adapter:{adapter}", note=name), "ann", NoProgress())
    options = ServeOptions(
        "release:champion", tmp_path, registry=registry.folder, shadow="release:challenger"
    )
    release = registry.find("v1")
    registry.point("champion", release, "ann", "release.promote")
    mind = opened(options, registry, release, shelves, NoProgress())
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}")
    engine = Engine(mind, store, b"0" * 32, Metrics())
    return PredictorManager(engine, store, registry, options, shelves, NoProgress(), release.id)


def shelved(mind: Predictor | None) -> PooledModel:
    assert mind is not None
    assert isinstance(mind.model, PooledModel)
    return mind.model


def test_champion_and_shadow_share_a_base_and_the_former_ones_go(minds: PredictorManager) -> None:
    registry = minds.registry
    one, two, three = (registry.find(name) for name in ("v1", "v2", "v3"))
    first = shelved(minds.engine.mind)
    before = minds.engine.mind.think(ASKED)
    registry.point("challenger", two, "ann", "release.challenger")
    wanted = minds.shadow()
    assert wanted == two.id
    minds.shade(wanted)
    beside = shelved(minds.engine.shadow.mind)
    assert beside._shelf is first._shelf
    assert set(first._shelf.names) == {one.id, two.id}

    registry.point("champion", two, "ann", "release.promote")
    minds.promote(minds.champion())
    assert minds.engine.mind.release == "v2"
    assert minds.engine.mind.think(ASKED) == before, "the same adapter under another name"
    assert shelved(minds.engine.mind)._shelf is first._shelf
    assert set(first._shelf.names) == {one.id, two.id}, "requests may be under way"
    minds.shade(minds.shadow())
    assert minds.engine.shadow.mind is None

    registry.point("champion", three, "ann", "release.promote")
    minds.promote(minds.champion())
    assert set(first._shelf.names) == {two.id, three.id}
    minds.store.close()
