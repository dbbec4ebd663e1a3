"""Which model an endpoint has beside the one that answers, as aliases move."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import CommandLine

from medtune.commands.serve import PredictorLoader, PredictorManager
from medtune.core.errors import ModelError, ReleaseError
from medtune.core.progress import NoProgress
from medtune.releases.registry import Registry
from medtune.releases.schema import Alias
from medtune.serving.inference.engine import Engine
from medtune.serving.metrics import Metrics
from medtune.serving.storage.store import Store


class House:
    """A registry with three releases, and an endpoint that is not listening."""

    def __init__(self, medtune: CommandLine, folder: Path) -> None:
        self.registry = Registry(folder / "registry")
        for name, kind in (("v1", "noisy"), ("v2", "constant"), ("v3", "oracle")):
            code, _, err = medtune(
                "release", "build", name, f"fake:{kind}", "--registry", folder / "registry"
            )
            assert code == 0, err
        self.store = Store.open(f"sqlite:///{folder / 's.db'}")

    def point(self, alias: Alias, name: str | None) -> None:
        release = None if name is None else self.registry.find(name)
        self.registry.set_alias(alias, release, "somebody", "release.promote")

    def predictors(self, model: str, shadow: str) -> PredictorManager:
        loader = PredictorLoader(self.registry, NoProgress())
        release = loader.find_release(model)
        engine = Engine(loader.load(model, release), self.store, b"x" * 32, Metrics())
        served = release.id if release else model
        return PredictorManager(engine, self.store, loader, model, shadow, served)

    def id(self, name: str) -> str:
        return self.registry.find(name).id


@pytest.fixture
def house(medtune: CommandLine, tmp_path: Path) -> House:
    return House(medtune, tmp_path)


def settle(predictors: PredictorManager) -> tuple[str, str | None]:
    """Follow both aliases once; tell what answers, and what answers beside."""
    if (now := predictors.wanted_champion()) != predictors.served:
        predictors.swap_champion(now)
    predictors.set_shadow(predictors.wanted_shadow())
    shadow = predictors.engine.shadow.predictor
    return predictors.engine.predictor.release, shadow.release if shadow else None


def test_the_challenger_is_shadow_until_it_is_champion(house: House) -> None:
    house.point("champion", "v1")
    predictors = house.predictors("release:champion", "release:challenger")
    assert settle(predictors) == ("v1", None)
    house.point("challenger", "v2")
    assert settle(predictors) == ("v1", "v2")
    house.point("challenger", "v3")
    assert settle(predictors) == ("v1", "v3")
    house.point("champion", "v3")
    assert settle(predictors) == ("v3", None)
    house.point("challenger", "v3")  # it is both now
    assert settle(predictors) == ("v3", None)
    house.point("challenger", None)
    assert settle(predictors) == ("v3", None)
    lines = [(line.action, line.detail["name"]) for line in house.store.audit.list_lines()]
    assert lines == [("release.shadow", "v2"), ("release.shadow", "v3"), ("release.serve", "v3")]
    house.store.close()


def test_a_named_release_is_shadow_of_all_but_itself(house: House) -> None:
    house.point("champion", "v1")
    predictors = house.predictors("release:champion", f"release:{house.id('v2')[:12]}")
    assert settle(predictors) == ("v1", "v2")
    house.point("champion", "v2")
    assert settle(predictors) == ("v2", None)
    house.point("champion", "v1")
    assert settle(predictors) == ("v1", "v2")
    house.store.close()


@pytest.mark.parametrize(
    ("model", "shadow", "beside"),
    [
        ("fake:biased", "fake:constant", "fake:constant"),
        ("fake:biased", "fake:biased", None),
        ("fake:biased", "release:champion", "v1"),
        ("release:v1", "release:champion", None),
        ("release:v1", "fake:oracle", "fake:oracle"),
        ("release:challenger", "release:champion", "v1"),
    ],
)
def test_any_model_may_stand_beside_any_other(
    house: House, model: str, shadow: str, beside: str | None
) -> None:
    house.point("champion", "v1")
    house.point("challenger", "v2")
    assert settle(house.predictors(model, shadow))[1] == beside
    house.store.close()


def test_the_champions_calibration_and_method_are_not_the_shadows(house: House) -> None:
    predictors = house.predictors("fake:biased", "fake:constant")
    predictors.loader = PredictorLoader(
        house.registry, NoProgress(), Path("policy.toml"), Path("nowhere"), "cloze"
    )
    Path("policy.toml").write_text(
        'version = "mine"\norder = ["size", "privacy", "crisis", "scope"]'
    )
    predictors.set_shadow("fake:constant")
    shadow = predictors.engine.shadow.predictor
    assert shadow is not None
    assert (shadow.calibration, shadow.method, shadow.policy.version) == (None, "letter", "mine")
    house.store.close()


def test_one_that_cannot_be_opened_leaves_none_and_the_champion_answering(house: House) -> None:
    house.point("champion", "v1")
    house.point("challenger", "v2")
    predictors = house.predictors("release:champion", "release:challenger")
    settle(predictors)
    place = house.registry.objects.object_path(
        house.registry.find("v3").files["policy.toml"].sha256
    )
    place.chmod(0o644)
    place.write_text("changed")
    house.point("challenger", "v3")
    with pytest.raises(ReleaseError, match="damaged"):
        settle(predictors)
    assert predictors.engine.shadow.predictor is None
    assert predictors.engine.predictor.release == "v1"
    house.store.close()


def test_a_shadow_that_is_not_there_is_an_error_until_it_is(
    house: House, medtune: CommandLine
) -> None:
    predictors = house.predictors("fake:biased", "release:v9")
    with pytest.raises(ReleaseError, match="no release is called v9"):
        predictors.wanted_shadow()
    medtune("release", "build", "v9", "fake:biased", "--registry", house.registry.folder)
    assert predictors.wanted_shadow() == house.id("v9")
    with pytest.raises(ModelError, match="unheard"):
        house.predictors("fake:biased", "fake:unheard").set_shadow("fake:unheard")
    house.store.close()
