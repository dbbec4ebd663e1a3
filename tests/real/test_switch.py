"""Releases over one base are switched without reading it again, and what they were is freed."""

from __future__ import annotations

from pathlib import Path

import pytest

from medtune.commands.serve import PredictorLoader, PredictorManager
from medtune.core.progress import NoProgress
from medtune.core.records import Question
from medtune.models.adapters.adapter_pool import PooledModel
from medtune.releases.build import build_release
from medtune.releases.registry import Registry
from medtune.serving.inference.engine import Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.metrics import Metrics
from medtune.serving.storage.store import Store

ASKED = [Question(id="q", stem="Which is it?", options=("this", "that", "other"), answer=None)]


@pytest.fixture
def predictors(adapter: Path, tmp_path: Path) -> PredictorManager:
    loader = PredictorLoader(Registry(tmp_path / "registry"), NoProgress())
    registry = loader.registry
    for name in ("v1", "v2", "v3"):
        build_release(registry, name, f"adapter:{adapter}", "ann", NoProgress(), note=name)
    registry.set_alias("champion", registry.find("v1"), "ann", "release.promote")
    release = loader.find_release("release:champion")
    assert release is not None
    store = Store.open(f"sqlite:///{tmp_path / 's.db'}")
    engine = Engine(loader.load("release:champion", release), store, b"0" * 32, Metrics())
    return PredictorManager(
        engine, store, loader, "release:champion", "release:challenger", release.id
    )


def pooled(predictor: Predictor | None) -> PooledModel:
    assert predictor is not None
    assert isinstance(predictor.model, PooledModel)
    return predictor.model


def test_champion_and_shadow_share_a_base_and_the_former_ones_go(
    predictors: PredictorManager,
) -> None:
    registry = predictors.loader.registry
    one, two, three = (registry.find(name) for name in ("v1", "v2", "v3"))
    first = pooled(predictors.engine.predictor)
    before = predictors.engine.predictor.predict(ASKED)
    registry.set_alias("challenger", two, "ann", "release.challenger")
    wanted = predictors.wanted_shadow()
    assert wanted == two.id
    predictors.set_shadow(wanted)
    beside = pooled(predictors.engine.shadow.predictor)
    assert beside._pool is first._pool
    assert set(first._pool.adapter_names) == {one.id, two.id}

    registry.set_alias("champion", two, "ann", "release.promote")
    predictors.swap_champion(predictors.wanted_champion())
    assert predictors.engine.predictor.release == "v2"
    assert predictors.engine.predictor.predict(ASKED) == before, (
        "the same adapter under another name"
    )
    assert pooled(predictors.engine.predictor)._pool is first._pool
    assert set(first._pool.adapter_names) == {one.id, two.id}, "requests may be under way"
    predictors.set_shadow(predictors.wanted_shadow())
    assert predictors.engine.shadow.predictor is None

    registry.set_alias("champion", three, "ann", "release.promote")
    predictors.swap_champion(predictors.wanted_champion())
    assert set(first._pool.adapter_names) == {two.id, three.id}
    predictors.store.close()
