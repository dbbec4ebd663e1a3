"""Releases over one base are switched without reading it again, and what they were is freed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtune.commands.serve import PredictorManager, ServeOptions, load_served_predictor
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.models.adapters.adapter_pool import PooledModel
from medtune.models.adapters.adapter_pools import AdapterPools
from medtune.releases.build import build_release
from medtune.releases.registry import Registry
from medtune.serving.inference.engine import Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.metrics import Metrics
from medtune.serving.storage.store import Store

ASKED = [Question(id="q", stem="Which is it?", options=("this", "that", "other"), answer=None)]


@pytest.fixture
def minds(adapter: Path, tmp_path: Path) -> PredictorManager:
    registry, pools = Registry(tmp_path / "registry"), AdapterPools()
    for name in ("v1", "v2", "v3"):
        build_release(registry, name, f"adapter:{adapter}", "ann", NoProgress(), note=name)
    options = ServeOptions(
        "release:champion", tmp_path, registry=registry.folder, shadow="release:challenger"
    )
    release = registry.find("v1")
    registry.set_alias("champion", release, "ann", "release.promote")
    predictor = load_served_predictor(options, registry, release, pools, NoProgress())
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}")
    engine = Engine(predictor, store, b"0" * 32, Metrics())
    return PredictorManager(engine, store, registry, options, pools, NoProgress(), release.id)


def pooled(predictor: Predictor | None) -> PooledModel:
    assert predictor is not None
    assert isinstance(predictor.model, PooledModel)
    return predictor.model


def test_champion_and_shadow_share_a_base_and_the_former_ones_go(minds: PredictorManager) -> None:
    registry = minds.registry
    one, two, three = (registry.find(name) for name in ("v1", "v2", "v3"))
    first = pooled(minds.engine.predictor)
    before = minds.engine.predictor.predict(ASKED)
    registry.set_alias("challenger", two, "ann", "release.challenger")
    wanted = minds.wanted_shadow()
    assert wanted == two.id
    minds.set_shadow(wanted)
    beside = pooled(minds.engine.shadow.predictor)
    assert beside._pool is first._pool
    assert set(first._pool.adapter_names) == {one.id, two.id}

    registry.set_alias("champion", two, "ann", "release.promote")
    minds.swap_champion(minds.wanted_champion())
    assert minds.engine.predictor.release == "v2"
    assert minds.engine.predictor.predict(ASKED) == before, "the same adapter under another name"
    assert pooled(minds.engine.predictor)._pool is first._pool
    assert set(first._pool.adapter_names) == {one.id, two.id}, "requests may be under way"
    minds.set_shadow(minds.wanted_shadow())
    assert minds.engine.shadow.predictor is None

    registry.set_alias("champion", three, "ann", "release.promote")
    minds.swap_champion(minds.wanted_champion())
    assert set(first._pool.adapter_names) == {two.id, three.id}
    minds.store.close()
