"""Register a release in MLflow: a run with parameters and metrics, and a model version.

Exporting a release again creates nothing: its run and version are found by their tags. After a new
verdict, the new metrics are added to the same run; the tag with the verdict's hash is written last,
so that an interrupted export is repeated. MLflow's telemetry is switched off.
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

from medtune.core.errors import InputError, StoreError, first_line
from medtune.core.records import content_hash
from medtune.releases.export.context import ReleaseContext
from medtune.releases.export.metrics import list_figures
from medtune.releases.export.schema import MlflowRecord
from medtune.releases.schema import ALIASES, Alias, Release

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

MODEL_NAME = "medtune"
"""Name of the registered model and of the experiment."""
ARTIFACTS = "release"
RELEASE, VERDICT, TIMES = "medtune.release", "medtune.verdict", "medtune.verdicts"
"""Tags: id of the release; hash of the run's verdict; number of verdicts so far."""
MAX_PARAM_LENGTH = 250
"""Longest parameter value that all of MLflow's stores accept."""


def register_release(
    context: ReleaseContext, folder: Path, aliases: Sequence[Alias], tracking_uri: str
) -> MlflowRecord:
    """Register a release as a run and a model version.

    Args:
        context: The release and its records.
        folder: Its export, logged as the run's artifacts.
        aliases: Its aliases in the registry, which the version gets as well.
        tracking_uri: URI of the store: sqlite:///FILE, or a server's.

    Raises:
        InputError: MLflow is not installed.
        StoreError: The store cannot be used.
    """
    uri, release = absolute_uri(tracking_uri), context.release
    client = _create_client(uri)
    with _translate_errors(uri):
        experiment = _find_or_create_experiment(client, uri)
        run = _find_or_create_run(client, experiment, release)
        metrics = _write_run(client, run, context, folder)
        version, made = _find_or_create_version(client, run, release)
        _set_aliases(client, version, aliases)
    return MlflowRecord(
        id=release.id,
        name=release.name,
        run_id=run.info.run_id,
        model=MODEL_NAME,
        version=int(version.version),
        aliases=tuple(aliases),
        made=made,
        metrics=metrics,
    )


def absolute_uri(tracking_uri: str) -> str:
    """Return the URI with an absolute SQLite path, since MLflow caches stores by URI."""
    scheme, _, file = tracking_uri.partition(":///")
    return f"sqlite:///{Path(file).absolute()}" if scheme == "sqlite" and file else tracking_uri


def release_params(release: Release) -> dict[str, str]:
    """Return everything that determines an answer, as MLflow parameters."""
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
    return {
        name: str(value)[:MAX_PARAM_LENGTH] for name, value in found.items() if value is not None
    }


def release_metrics(context: ReleaseContext) -> dict[str, float]:
    """Return every figure with its interval, and every rule's figure, as MLflow metrics."""
    found: dict[str, float] = {}
    for figure in list_figures(context.evidence):
        found[figure.key] = figure.value
        for end, value in (("low", figure.low), ("high", figure.high), ("n", figure.n)):
            if value is not None:
                found[f"{figure.key}.{end}"] = float(value)
    for result in context.verdict.results if context.verdict else ():
        found[f"gate.{result.rule}.met"] = float(result.outcome == "passed")
        for name, bound in (("figure", result.figure), ("bound", result.bound)):
            if bound is not None:
                found[f"gate.{result.rule}.{name}"] = bound
    return found


def _create_client(tracking_uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # Otherwise the migrations of a new database are logged line by line.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise InputError(
            f"MLflow is not installed: {error}", fix="pip install 'medtune[mlflow]'"
        ) from error
    with _translate_errors(tracking_uri):
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)


@contextmanager
def _translate_errors(tracking_uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    place = re.sub(r"//[^@/]*@", "//", tracking_uri)  # hide the password
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise StoreError(
            f"{place}: {first_line(error)}",
            expected="a store of this version of MLflow that can be written",
            fix="name another with --tracking-uri, or bring it up to date: mlflow db upgrade",
        ) from error


def _find_or_create_experiment(client: MlflowClient, tracking_uri: str) -> str:
    found = client.get_experiment_by_name(MODEL_NAME)
    if found is not None:
        return str(found.experiment_id)
    # Without this, MLflow would write artifacts to the current directory.
    scheme, _, file = tracking_uri.partition(":///")
    place = Path(file).parent / "mlartifacts"
    return str(client.create_experiment(MODEL_NAME, place.as_uri() if scheme == "sqlite" else None))


def _find_or_create_run(client: MlflowClient, experiment: str, release: Release) -> Run:
    found = client.search_runs([experiment], f"tags.`{RELEASE}` = '{release.id}'", max_results=1)
    if found:
        return found[0]
    return client.create_run(experiment, run_name=release.name, tags={RELEASE: release.id})


def _write_run(client: MlflowClient, run: Run, context: ReleaseContext, folder: Path) -> int:
    """Write parameters, metrics and artifacts, unless the run has this verdict already."""
    from mlflow.entities import Metric, Param

    found = release_metrics(context)
    verdict = context.verdict
    digest = content_hash(verdict.model_dump(mode="json")) if verdict else context.standing
    if run.data.tags.get(VERDICT) == digest:
        return len(found)
    name, step, now = run.info.run_id, int(run.data.tags.get(TIMES, 0)), int(1000 * time.time())
    client.log_batch(
        name,
        metrics=[Metric(key, value, now, step) for key, value in found.items()],
        params=[Param(key, value) for key, value in release_params(context.release).items()],
    )
    client.log_artifacts(name, str(folder), ARTIFACTS)
    client.set_tag(name, "medtune.gate", context.standing)
    client.set_terminated(name)
    client.set_tag(name, TIMES, str(step + 1))
    client.set_tag(name, VERDICT, digest)
    return len(found)


def _find_or_create_version(
    client: MlflowClient, run: Run, release: Release
) -> tuple[ModelVersion, bool]:
    if not client.search_registered_models(f"name = '{MODEL_NAME}'"):
        client.create_registered_model(
            MODEL_NAME, description="Answers medical exam questions. Not medical advice."
        )
    wanted = f"name = '{MODEL_NAME}' and tag.`{RELEASE}` = '{release.id}'"
    if found := client.search_model_versions(wanted):
        return found[0], False
    source = f"{run.info.artifact_uri}/{ARTIFACTS}"
    tags = {RELEASE: release.id, "medtune.name": release.name}
    return client.create_model_version(MODEL_NAME, source, run.info.run_id, tags=tags), True


def _set_aliases(client: MlflowClient, version: ModelVersion, aliases: Sequence[Alias]) -> None:
    """Give a version the aliases of its release, and remove the others."""
    there = client.get_registered_model(MODEL_NAME).aliases
    for alias in ALIASES:
        if alias in aliases:
            client.set_registered_model_alias(MODEL_NAME, alias, version.version)
        elif str(there.get(alias)) == str(version.version):
            client.delete_registered_model_alias(MODEL_NAME, alias)
