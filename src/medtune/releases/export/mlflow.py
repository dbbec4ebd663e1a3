"""A release in MLflow: one run with its identity and numbers, one version of a registered model.

Exporting a release again makes nothing new: its run and its version are found by their tags.
Where the gate was asked again since, the new numbers follow the old ones in the same run; the tag
that says which verdict a run holds is written last, so that a kill leaves work that is done again.

MLflow reports its use to its makers unless told not to; here it is told not to.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from medtune.core.errors import InputError, StoreError
from medtune.core.records import content_hash
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.metrics import figures
from medtune.releases.export.schema import MlflowRecord
from medtune.releases.schema import ALIASES, Alias, Release

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

MODEL = "medtune"
"""Name of the registered model, and of the experiment."""
ARTIFACTS = "release"
RELEASE, VERDICT, TIMES = "medtune.release", "medtune.verdict", "medtune.verdicts"
"""Tags: id of the release; hash of the verdict that a run holds; how many it has held."""
LONGEST = 250
"""Characters of a parameter; MLflow's stores differ, all take so many."""


def register(
    dossier: ReleaseContext, folder: Path, aliases: Sequence[Alias], tracking_uri: str
) -> MlflowRecord:
    """Register a release.

    Args:
        dossier: What is known of it.
        folder: Its export, which becomes the run's artifacts.
        aliases: What it is called in the registry now; its version is called the same.
        tracking_uri: Of the store: sqlite:///FILE, or a server's.

    Raises:
        InputError: MLflow is not installed.
        StoreError: The store cannot be used.
    """
    uri, release = absolute(tracking_uri), dossier.release
    client = _client(uri)
    with _translated(uri):
        experiment = _experiment(client, uri)
        run = _run(client, experiment, release)
        metrics = _write(client, run, dossier, folder)
        version, made = _version(client, run, release)
        _point(client, version, aliases)
    return MlflowRecord(
        id=release.id,
        name=release.name,
        run_id=run.info.run_id,
        model=MODEL,
        version=int(version.version),
        aliases=tuple(aliases),
        made=made,
        metrics=metrics,
    )


def absolute(tracking_uri: str) -> str:
    """Name an SQLite file wherever one stands: MLflow keeps stores by their names."""
    scheme, _, file = tracking_uri.partition(":///")
    return f"sqlite:///{Path(file).absolute()}" if scheme == "sqlite" and file else tracking_uri


def identity(release: Release) -> dict[str, str]:
    """Write everything that decides an answer as MLflow's parameters."""
    calibration = release.calibration
    found: dict[str, object] = {
        "release": release.id,
        "name": release.name,
        "base": release.base,
        "base_fingerprint": release.base_fingerprint,
        "weights": release.weights,
        "weights_hash": release.weights_hash,
        "scheme": release.scheme,
        "prompt_hash": release.prompt_hash,
        "method": release.method,
        "target": release.target,
        "data_hash": release.data_hash,
        "policy": release.policy,
        "policy_hash": release.policy_hash,
        "temperature": calibration and calibration.temperature,
        "threshold": calibration and calibration.threshold,
        "calibration_hash": calibration and calibration.hash,
        "medtune": release.provenance.medtune,
        "commit": release.provenance.commit,
    }
    return {name: str(value)[:LONGEST] for name, value in found.items() if value is not None}


def numbers(dossier: ReleaseContext) -> dict[str, float]:
    """Write every figure with its interval, and every rule's figure, as MLflow's metrics."""
    found: dict[str, float] = {}
    for figure in figures(dossier.evidence):
        found[figure.key] = figure.value
        for end, value in (("low", figure.low), ("high", figure.high), ("n", figure.n)):
            if value is not None:
                found[f"{figure.key}.{end}"] = float(value)
    for result in dossier.verdict.results if dossier.verdict else ():
        found[f"gate.{result.rule}.met"] = float(result.outcome == "passed")
        for name, bound in (("figure", result.figure), ("bound", result.bound)):
            if bound is not None:
                found[f"gate.{result.rule}.{name}"] = bound
    return found


def _client(tracking_uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # Migrations of a new database are told line by line otherwise.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise InputError(
            f"MLflow is not installed: {error}", fix="pip install 'medtune[mlflow]'"
        ) from error
    with _translated(tracking_uri):
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def _translated(tracking_uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    place = re.sub(r"//[^@/]*@", "//", tracking_uri)  # a password is nobody's to read
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise StoreError(
            f"{place}: {str(error).strip().splitlines()[0]}",
            expected="a store of this version of MLflow that can be written",
            fix="name another with --tracking-uri, or bring it up to date: mlflow db upgrade",
        ) from error


def _experiment(client: MlflowClient, tracking_uri: str) -> str:
    found = client.get_experiment_by_name(MODEL)
    if found is not None:
        return str(found.experiment_id)
    # A database alone has no place for files: MLflow would put them where the command is run.
    scheme, _, file = tracking_uri.partition(":///")
    place = Path(file).parent / "mlartifacts"
    return str(client.create_experiment(MODEL, place.as_uri() if scheme == "sqlite" else None))


def _run(client: MlflowClient, experiment: str, release: Release) -> Run:
    found = client.search_runs([experiment], f"tags.`{RELEASE}` = '{release.id}'", max_results=1)
    if found:
        return found[0]
    return client.create_run(experiment, run_name=release.name, tags={RELEASE: release.id})


def _write(client: MlflowClient, run: Run, dossier: ReleaseContext, folder: Path) -> int:
    """Write what a run holds; nothing where it holds it already."""
    from mlflow.entities import Metric, Param

    found = numbers(dossier)
    verdict = dossier.verdict
    digest = content_hash(verdict.model_dump(mode="json")) if verdict else dossier.standing
    if run.data.tags.get(VERDICT) == digest:
        return len(found)
    name, step, now = run.info.run_id, int(run.data.tags.get(TIMES, 0)), int(1000 * time.time())
    client.log_batch(
        name,
        metrics=[Metric(key, value, now, step) for key, value in found.items()],
        params=[Param(key, value) for key, value in identity(dossier.release).items()],
    )
    client.log_artifacts(name, str(folder), ARTIFACTS)
    client.set_tag(name, "medtune.gate", dossier.standing)
    client.set_terminated(name)
    client.set_tag(name, TIMES, str(step + 1))
    client.set_tag(name, VERDICT, digest)
    return len(found)


def _version(client: MlflowClient, run: Run, release: Release) -> tuple[ModelVersion, bool]:
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(
            MODEL, description="Answers medical exam questions. Not medical advice."
        )
    wanted = f"name = '{MODEL}' and tag.`{RELEASE}` = '{release.id}'"
    if found := client.search_model_versions(wanted):
        return found[0], False
    source = f"{run.info.artifact_uri}/{ARTIFACTS}"
    tags = {RELEASE: release.id, "medtune.name": release.name}
    return client.create_model_version(MODEL, source, run.info.run_id, tags=tags), True


def _point(client: MlflowClient, version: ModelVersion, aliases: Sequence[Alias]) -> None:
    """Give a version the aliases that its release has, and take away those it has no more."""
    there = client.get_registered_model(MODEL).aliases
    for alias in ALIASES:
        if alias in aliases:
            client.set_registered_model_alias(MODEL, alias, version.version)
        elif str(there.get(alias)) == str(version.version):
            client.delete_registered_model_alias(MODEL, alias)
