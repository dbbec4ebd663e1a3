"""Run the endpoint (`medtune serve MODEL`): answer questions behind guards.

Loads the model, its calibration and the policy, opens the store, and listens; a shadow model is
loaded meanwhile.  The data folder contains the store (unless a database is named) and the secret
that signs sessions and hashes texts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

from fastapi import FastAPI

from medtune.core.errors import InputError, check_choice
from medtune.core.model_names import SEARCH_PREFIX
from medtune.core.progress import NoProgress, Progress
from medtune.core.protocols import AnswerModel
from medtune.core.records import Method
from medtune.core.run_folder import as_optional_path, as_path
from medtune.models.adapters.adapter_pools import AdapterPools
from medtune.models.open_index import open_index
from medtune.models.open_model import open_model
from medtune.models.sources import resolve_model
from medtune.models.weights_card import ADAPTER_PREFIX
from medtune.releases.build import (
    check_search_index,
    find_release_evidence,
    model_reference,
)
from medtune.releases.registry import Registry
from medtune.releases.schema import ALIASES, LEARNED, POLICY, Release
from medtune.retrieval.index import PassageIndex
from medtune.serving.app import build_app
from medtune.serving.auth.authorize import Authorizer, StartToken, is_loopback
from medtune.serving.data_dir import load_secret, resolve_database_url
from medtune.serving.dependencies import Probe, Services
from medtune.serving.inference.alias_watcher import watch_alias
from medtune.serving.inference.engine import Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.inference.request_batcher import create_model_executor
from medtune.serving.metrics import Metrics
from medtune.serving.schemas import ENDPOINT
from medtune.serving.server import check_port, run_server
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.store import Store
from medtune.workflows.load_predictor import find_calibration, load_predictor, own_index
from medtune.workflows.open_guards import open_guards
from medtune.workflows.progress_bars import choose_progress
from medtune.workflows.starter_search import STARTER_SEARCH

DATA_FOLDER = Path("runs") / "serve"
"""Default folder of the store and the secret."""
REGISTRY_FOLDER = Path("runs") / "registry"
RELEASE_PREFIX = "release:"
"""Prefix of the name of a release, or of an alias, which is polled."""
WEIGHTLESS_PREFIXES = ("fake:", "remote:", SEARCH_PREFIX)
"""Prefixes of models without local weights."""


def serve(
    model: str,
    progress: Progress,
    *,
    folder: Path,
    registry: Path,
    policy: Path | None,
    calibration: Path | None,
    method: Method | None,
    unfit: bool,
    database: str | None,
    host: str,
    port: int,
    patience_s: float,
    keys_always: bool,
    shadow: str | None,
    index: Path | None,
) -> None:
    """Run the endpoint until it is stopped.

    Args:
        model: A model name, a run folder, or `release:NAME`.
        progress: Reports long loading.
        folder: Folder of the store and the secret.
        registry: Registry folder of `release:NAME`.
        policy: Policy file; None is the starter policy.
        calibration: Evaluation of calibration questions; None uses that of the run, if any.
        method: None is letter for a model trained on letters, else cloze.
        unfit: Serve a quantized model even if it did not pass the parity gate.
        database: Database URL; None is SQLite in the folder.
        host: Name or address to listen on.
        port: TCP port.
        patience_s: Longest wait for the model.
        keys_always: Whether requests from the loopback interface need a key, too.
        shadow: A model or release that answers in shadow mode; its answers are only stored.
        index: Folder of an index, whose passages are shown with answers.

    Raises:
        MedtuneError: Model, calibration, policy, store or port cannot be used.
    """
    check_port(host, port)
    start = None if keys_always or not _is_loopback_host(host) else StartToken.create()
    endpoint = _open_endpoint(
        model,
        progress,
        folder=folder,
        registry=registry,
        policy=policy,
        calibration=calibration,
        method=method,
        unfit=unfit,
        database=database,
        patience_s=patience_s,
        keys_always=keys_always,
        start=start,
        shadow=shadow,
        index=index,
    )
    services, predictors = endpoint.services, endpoint.predictors
    store = services.require_store()
    try:
        _require_key(host, store)
        shown = services.engine.predictor.release
        progress.log_message(f"{shown}: {_format_url(host, port, start)}")
        with ExitStack() as stack:
            if model.removeprefix(RELEASE_PREFIX) in ALIASES:
                stack.enter_context(
                    watch_alias(
                        "champion",
                        predictors.served,
                        predictors.wanted_champion,
                        predictors.swap_champion,
                    )
                )
            if shadow is not None:
                failed = partial(services.metrics.count_shadow_outcome, "failed")
                stack.enter_context(
                    watch_alias(
                        "shadow", None, predictors.wanted_shadow, predictors.set_shadow, failed
                    )
                )
            run_server(services, host, port)
    finally:
        store.close()


def create_app(
    model: str = STARTER_SEARCH,
    *,
    folder: str | Path = DATA_FOLDER,
    registry: str | Path = REGISTRY_FOLDER,
    policy: str | Path | None = None,
    calibration: str | Path | None = None,
    method: Method | None = None,
    unfit: bool = False,
    database: str | None = None,
    patience_s: float = 10.0,
    keys_always: bool = False,
    index: str | Path | None = None,
    logs: bool = True,
    progress: Progress | None = None,
) -> FastAPI:
    """Create the endpoint's application, ready for `uvicorn.run` or a `TestClient`.

    Requests from this machine need no key. The application closes the store when it stops, and is
    run once.

    Args:
        model: A model name, a run folder, or `release:NAME`.
        folder: Folder of the store and the secret.
        registry: Registry folder of `release:NAME`.
        policy: Policy file; None is the starter policy.
        calibration: Evaluation of calibration questions; None uses that of the run, if any.
        method: None is letter for a model trained on letters, else cloze.
        unfit: Serve a quantized model even if it did not pass the parity gate.
        database: Database URL; None is SQLite in the folder.
        patience_s: Longest wait for the model.
        keys_always: Whether requests from the loopback interface need a key, too.
        index: Folder of an index, whose passages are shown with answers.
        logs: Whether every request is logged.
        progress: Progress of long loading; None is a bar in a terminal or a notebook.

    Raises:
        MedtuneError: Model, calibration, policy or store cannot be used.
    """
    if method is not None:
        check_choice("method", method, ("letter", "cloze"))
    endpoint = _open_endpoint(
        model,
        choose_progress(progress),
        folder=as_path(folder),
        registry=as_path(registry),
        policy=as_optional_path(policy),
        calibration=as_optional_path(calibration),
        method=method,
        unfit=unfit,
        database=database,
        patience_s=patience_s,
        keys_always=keys_always,
        start=None,
        shadow=None,
        index=as_optional_path(index),
    )
    return build_app(endpoint.services, logs=logs)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """The services of an endpoint whose model is loaded and whose store is open."""

    services: Services
    predictors: PredictorManager


def _open_endpoint(
    model: str,
    progress: Progress,
    *,
    folder: Path,
    registry: Path,
    policy: Path | None,
    calibration: Path | None,
    method: Method | None,
    unfit: bool,
    database: str | None,
    patience_s: float,
    keys_always: bool,
    start: StartToken | None,
    shadow: str | None,
    index: Path | None,
) -> _Endpoint:
    """Load the model and open the store; see `serve`."""
    passages = open_index(index) if index is not None else None
    loader = PredictorLoader(
        Registry(registry), progress, policy, calibration, method, unfit, passages
    )
    thread, release = create_model_executor(), loader.find_release(model)
    predictor = thread.submit(loader.load, model, release).result()
    secret = load_secret(folder)
    url = resolve_database_url(folder, database)
    store = Store.open(url, anchor=Anchor.from_folder(folder))
    authorizer = Authorizer(store.keys.find, open_on_loopback=not keys_always, start=start)
    metrics = Metrics()
    engine = Engine(predictor, store, secret, metrics, patience_s, thread)
    probes: dict[str, Probe] = {"store": store.check_writable, "model": engine.check_model}
    services = Services(engine, store, authorizer, metrics, secret, probes)
    served = release.id if release else model
    return _Endpoint(services, PredictorManager(engine, store, loader, model, shadow, served))


@dataclass(frozen=True)
class PredictorLoader:
    """Loads models and releases as predictors.

    Attributes:
        registry: Registry of releases and aliases.
        progress: Reports long loading.
        policy: Policy file of a model; None is the starter policy. A release has its own.
        calibration: Evaluation of a model's calibration questions; None uses that of its run.
        method: Method of a model; None is letter if it was trained on letters, else cloze.
        unfit: Load a quantized model even if it did not pass the parity gate.
        index: Passages to show with answers and in prompts; None takes those of a search model
            or of a model's run.
        pools: Adapter pools, where adapters share a base model.
    """

    registry: Registry
    progress: Progress
    policy: Path | None = None
    calibration: Path | None = None
    method: Method | None = None
    unfit: bool = False
    index: PassageIndex | None = None
    pools: AdapterPools = field(default_factory=AdapterPools)

    def find_release(self, model: str) -> Release | None:
        """Return the release that a name stands for; None for the name of a model."""
        _, is_release, name = model.partition(RELEASE_PREFIX)
        return self.registry.find(name) if is_release else None

    def load(self, model: str, release: Release | None) -> Predictor:
        """Load a release, or else the named model.

        Raises:
            CheckFailed: The model is marked unfit.
            ReleaseError: The release is damaged.
            MedtuneError: Model or calibration cannot be used.
        """
        if release is not None:
            return self._load_release(release)
        name, evaluation = find_calibration(model, self.calibration, self.method)
        return load_predictor(
            name,
            evaluation,
            self.method,
            open_guards(self.policy),
            self.progress,
            unfit=self.unfit,
            index=self.index,
        )

    def _load_release(self, release: Release) -> Predictor:
        """Load a release; the hash of every file, and of an index, is checked."""
        name, objects = model_reference(self.registry, release), self.registry.objects
        open_book = find_release_evidence(release, name, self.index)
        model: AnswerModel
        if release.weights == "adapter":
            base = resolve_model(release.base, self.progress)
            folder = Path(name.removeprefix(ADAPTER_PREFIX))
            model = self.pools.load_adapter(base, release.id, folder)
        else:
            model = open_model(
                name,
                style=release.style,
                progress=self.progress,
                light=True,
                retrieval=open_book.settings if open_book is not None else None,
            )
        check_search_index(release, model)
        return Predictor(
            model=model,
            style=release.style,
            method=release.method,
            guards=open_guards(
                *(objects.object_path(release.files[name].sha256) for name in (POLICY, LEARNED))
            ),
            calibration=release.calibration,
            release=release.name,
            index=self.index or own_index(model),
            open_book=open_book,
        )


@dataclass
class PredictorManager:
    """Champion and shadow predictors of an endpoint, which are swapped while it runs.

    Attributes:
        engine: Engine whose predictors are swapped.
        store: Store whose audit log records the swaps.
        loader: Loads the predictors.
        model: Model or release to serve, as it was named.
        shadow: Model or release to run in shadow mode, as it was named; None for none.
        served: Id of the served release, or name of the served model.
    """

    engine: Engine
    store: Store
    loader: PredictorLoader
    model: str
    shadow: str | None
    served: str
    _former: str = ""
    """Previous release or model; some of its requests may still be running."""
    _id_of: Callable[[str], str] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Serialises loading, so that no new adapter is unloaded by another thread."""

    def __post_init__(self) -> None:
        self._id_of = cache(lambda name: self.loader.registry.find(name).id)

    def wanted_champion(self) -> str:
        """Return the release to serve; if the alias is unset, the current one."""
        return self._resolve_target(self.model) or self.served

    def swap_champion(self, release_id: str) -> None:
        """Load a release and serve it in place of the current one."""
        release = self.loader.registry.find(release_id)
        with self._lock, _background_loading(release.base):
            self.engine.predictor = self.loader.load(release_id, release)
            self._former, self.served = self.served, release_id
            self._unload_unused_adapters(None if self.shadow is None else self.wanted_shadow())
        self.store.audit.append(ENDPOINT, "release.serve", release_id, name=release.name)

    def wanted_shadow(self) -> str | None:
        """Return the release or model to run as shadow; None if unset or the served one."""
        assert self.shadow is not None, "called only with a shadow option"
        found = self._resolve_target(self.shadow)
        return None if found == self.served else found

    def set_shadow(self, name: str | None) -> None:
        """Unload the current shadow, then load another release or model as shadow."""
        self.engine.shadow.predictor = None
        if name is None:
            return
        is_release = (self.shadow or "").startswith(RELEASE_PREFIX)
        release = self.loader.registry.find(name) if is_release else None
        # The options calibration and method apply to the champion only.
        loader = replace(self.loader, calibration=None, method=None, progress=NoProgress())
        with self._lock, _background_loading(release.base if release else name):
            predictor = loader.load(name, release)
            self.engine.shadow.predictor = predictor
            self._unload_unused_adapters(name)
        self.loader.progress.log_message(f"shadow: {predictor.release}")
        if release is not None:
            self.store.audit.append(ENDPOINT, "release.shadow", name, name=release.name)

    def _unload_unused_adapters(self, shadow: str | None) -> None:
        self.loader.pools.retain({self.served, self._former, shadow or ""})

    def _resolve_target(self, model: str) -> str | None:
        """Return the id of a release, or the name of a model; None for an unset alias."""
        _, is_release, name = model.partition(RELEASE_PREFIX)
        if not is_release:
            return model
        if name not in ALIASES:
            return self._id_of(name)
        found: str | None = getattr(self.loader.registry.read_aliases(), name)
        return found


def _background_loading(model: str) -> AbstractContextManager[None]:
    """Return a context that limits torch to one thread, to load while another model serves."""
    if model.startswith(WEIGHTLESS_PREFIXES):
        return nullcontext()
    from medtune.models.device import single_threaded

    return single_threaded()


def _is_loopback_host(host: str) -> bool:
    return is_loopback("127.0.0.1" if host == "localhost" else host)


def _format_url(host: str, port: int, start: StartToken | None) -> str:
    """Format the URL of the endpoint; the start token in it grants all permissions."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/{f'?token={start.text}' if start else ''}"


def _require_key(host: str, store: Store) -> None:
    """Refuse to listen on a public address without a valid key.

    Raises:
        InputError: There is no valid key, so every request would be refused.
    """
    alive = [key for key in store.keys.list_all() if key.revoked is None]
    if not _is_loopback_host(host) and not alive:
        raise InputError(
            f"--host {host} without a key: every request would be refused",
            fix="medtune keys add NAME --role ask",
        )
