"""A release in a real MLflow on SQLite: one run, one version, the registry's aliases."""

from __future__ import annotations

import os
import shutil
import socket
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import CommandLine
from tests.pipeline.test_export import built, judged
from tests.unit.releases.export import dossiers as make

from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.mlflow import (
    MAX_PARAM_LENGTH,
    MODEL_NAME,
    RELEASE,
    release_metrics,
    release_params,
)
from medtune.releases.registry import Registry
from medtune.releases.schema import Release

pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'medtune[mlflow]'")
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy"),  # MLflow's own tables
]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "runs" / "registry")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: making them takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = tmp_path_factory.mktemp("mlflow") / "empty.db"
        opened(path).search_experiments()
    return path


@pytest.fixture
def client(tmp_path: Path, empty: Path) -> Any:
    shutil.copyfile(empty, tmp_path / "mlflow.db")
    return opened(tmp_path / "mlflow.db")


def opened(path: Path) -> Any:
    from mlflow import MlflowClient

    uri = f"sqlite:///{path}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def exported(medtune: CommandLine, name: str = "v2") -> dict[str, Any]:
    return medtune.record("release", "export", name, "--to", "mlflow")


def context(release: Release) -> ReleaseContext:
    return ReleaseContext(release=release, verdict=make.verdict(of=release), evidence=make.EVIDENCE)


def test_a_run_with_identity_numbers_and_folder(
    medtune: CommandLine, registry: Registry, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nothing leaves this machine")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    release = built(registry)
    judged(registry, release)
    registry.set_alias("champion", release, "ann", "release.promote")
    record = exported(medtune)
    assert (record["version"], record["made"], record["aliases"]) == (1, True, ["champion"])
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"

    run = client.get_run(record["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags[RELEASE] == release.id
    assert run.data.params == release_params(release)
    assert run.data.params["prompt_hash"] == release.prompt_hash
    wanted = release_metrics(context(release))
    assert len(wanted) == record["metrics"] > 80
    assert run.data.metrics == wanted
    exam = make.analysis().evaluation
    assert run.data.metrics["accuracy"] == exam.accuracy.value
    assert run.data.metrics["accuracy.low"] == exam.accuracy.low
    assert run.data.metrics["difference.high"] == make.comparison().difference_high
    assert run.data.metrics["latency_p95_s"] == 0.1345
    assert run.data.metrics["gate.orders.figure"] == pytest.approx(0.42748, abs=1e-5)
    assert run.data.metrics["gate.orders.bound"] == 0.5

    version = client.get_model_version_by_alias(MODEL_NAME, "champion")
    assert (version.version, version.run_id) == (1, run.info.run_id)
    assert version.tags[RELEASE] == release.id
    there = client.list_artifacts(run.info.run_id, "release")
    assert "release/README.md" in [file.path for file in there]
    assert Path("mlartifacts").is_dir()  # beside the database
    taken = Path(client.download_artifacts(run.info.run_id, "release/release.json"))
    assert Release.model_validate_json(taken.read_bytes()) == release
    assert not Path("runs/export").exists()


def test_the_same_release_again_makes_nothing_new(
    medtune: CommandLine, registry: Registry, client: Any
) -> None:
    release = built(registry)
    judged(registry, release)
    first, second = exported(medtune), exported(medtune)
    assert second == {**first, "made": False}
    experiment = client.get_experiment_by_name(MODEL_NAME)
    assert len(client.search_runs([experiment.experiment_id])) == 1
    assert len(client.search_model_versions(f"name = '{MODEL_NAME}'")) == 1
    assert len(client.get_metric_history(first["run_id"], "accuracy")) == 1


def test_a_new_verdict_follows_the_old_one_in_the_same_run(
    medtune: CommandLine, registry: Registry, client: Any
) -> None:
    release = built(registry)
    assert exported(medtune)["metrics"] == 0
    judged(registry, release)
    record = exported(medtune)
    assert record["made"] is False
    better = make.EVIDENCE.model_copy(update={"served": make.served(max_drift=0.01)})
    judged(registry, release, better)
    assert exported(medtune)["run_id"] == record["run_id"]
    drifts = client.get_metric_history(record["run_id"], "served_max_drift")
    assert [(m.step, m.value) for m in drifts] == [(1, 0.0456), (2, 0.01)]


def test_aliases_follow_the_registry(medtune: CommandLine, registry: Registry, client: Any) -> None:
    one, two = built(registry), built(registry, name="v3")
    registry.set_alias("champion", one, "ann", "release.promote")
    registry.set_alias("challenger", two, "ann", "release.challenger")
    _, out, _ = medtune("release", "export", "v2", "--to", "mlflow")
    assert "v2: version 1 of medtune (new), champion, run" in " ".join(out.split())
    assert exported(medtune, "v3")["aliases"] == ["challenger"]
    registry.set_alias("champion", two, "ann", "release.promote")
    assert exported(medtune, "v3")["aliases"] == ["champion"]
    assert exported(medtune)["aliases"] == []
    assert client.get_registered_model(MODEL_NAME).aliases == {"champion": 2}


def test_an_export_that_was_cut_short_is_finished(
    medtune: CommandLine, registry: Registry, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    judged(registry, built(registry))

    def stopped(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", stopped)
        code, _, err = medtune("release", "export", "v2", "--to", "mlflow")
    assert code == 2
    assert "No space left" in err
    assert client.search_model_versions(f"name = '{MODEL_NAME}'") == []
    record = exported(medtune)
    assert record["made"] is True
    experiment = client.get_experiment_by_name(MODEL_NAME)
    assert len(client.search_runs([experiment.experiment_id])) == 1


def test_a_store_that_cannot_be_used_is_one_sentence(
    medtune: CommandLine, registry: Registry
) -> None:
    built(registry)
    Path("broken.db").write_text("no database")
    options = ("--to", "mlflow", "--tracking-uri", "sqlite:///broken.db")
    code, _, err = medtune("release", "export", "v2", *options)
    assert code == 2
    assert "broken.db: " in err
    assert "--tracking-uri" in err


def test_without_mlflow_it_says_how_to_get_it(
    medtune: CommandLine, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    built(registry)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    code, _, err = medtune("release", "export", "v2", "--to", "mlflow")
    assert code == 2
    assert "pip install 'medtune[mlflow]'" in err


def test_a_new_store_is_made_where_none_is(medtune: CommandLine, registry: Registry) -> None:
    built(registry)
    options = ("--to", "mlflow", "--tracking-uri", "sqlite:///deep/new.db")
    Path("deep").mkdir()
    assert medtune.record("release", "export", "v2", *options)["made"] is True
    assert {path.name for path in Path("deep").iterdir()} == {"new.db", "mlartifacts"}


def test_what_is_written_fits_every_store() -> None:
    found = release_params(make.release(name="n" * 64, base="path:" + "x" * 900))
    assert max(map(len, found.values())) <= MAX_PARAM_LENGTH
