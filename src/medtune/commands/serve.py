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

from medtune.core.errors import InputError
from medtune.core.progress import NoProgress, Progress
from medtune.core.protocols import AnswerModel
from medtune.core.records import Method
from medtune.guardrails.classifier.learned import load_classifier, load_default_classifier
from medtune.guardrails.policy import load_policy
from medtune.models.adapters.adapter_pools import AdapterPools
from medtune.models.open_model import open_model
from medtune.models.sources import resolve_model
from medtune.models.weights_card import ADAPTER_PREFIX
from medtune.releases.build import model_reference
from medtune.releases.registry import Registry
from medtune.releases.schema import ALIASES, LEARNED, POLICY, Release
from medtune.serving.auth.authorize import Authorizer, StartToken, is_loopback
from medtune.serving.data_dir import load_secret, resolve_database_url
from medtune.serving.dependencies import Probe, Services
from medtune.serving.inference.alias_watcher import watch_alias
from medtune.serving.inference.engine import MAX_WAIT_S, Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.inference.request_batcher import create_model_executor
from medtune.serving.metrics import Metrics
from medtune.serving.schemas import ENDPOINT
from medtune.serving.server import check_port, run_server
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.store import Store
from medtune.workflows.load_predictor import find_calibration, load_predictor

RELEASE_PREFIX = "release:"
"""Prefix of the name of a release, or of an alias, which is polled."""
WEIGHTLESS_PREFIXES = ("fake:", "remote:")
"""Prefixes of models without local weights."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Options of `medtune serve`."""

    model: str
    """A model name, or a run folder."""
    folder: Path
    """Folder of the store and the secret."""
    policy: Path | None = None
    """Policy file; None is the starter policy."""
    calibration: Path | None = None
    """Evaluation of calibration questions; None uses that of the run, if any."""
    method: Method | None = None
    """None is letter for a model trained on letters, else cloze."""
    database: str | None = None
    """Database URL; None is SQLite in the folder."""
    host: str = "127.0.0.1"
    port: int = 8000
    patience_s: float = MAX_WAIT_S
    keys_always: bool = False
    """Whether requests from the loopback interface need a key, too."""
    unfit: bool = False
    """Serve a quantized model even if it did not pass the parity gate."""
    registry: Path = Path("runs") / "registry"
    """Registry folder of `release:NAME`."""
    shadow: str | None = None
    """A model or release that answers in shadow mode; its answers are only stored."""


def serve(options: ServeOptions, progress: Progress) -> None:
    """Run the endpoint until it is stopped.

    Raises:
        MedtuneError: Model, calibration, policy, store or port cannot be used.
    """
    check_port(options.host, options.port)
    registry, thread = Registry(options.registry), create_model_executor()
    _, is_release, wanted = options.model.partition(RELEASE_PREFIX)
    release, pools = registry.find(wanted) if is_release else None, AdapterPools()
    predictor = thread.submit(
        load_served_predictor, options, registry, release, pools, progress
    ).result()
    secret = load_secret(options.folder)
    url = resolve_database_url(options.folder, options.database)
    store = Store.open(url, anchor=Anchor.from_folder(options.folder))
    try:
        start = (
            None
            if options.keys_always or not _is_loopback_host(options.host)
            else StartToken.create()
        )
        gate = Authorizer(store.keys.find, open_on_loopback=not options.keys_always, start=start)
        _require_key(options.host, store)
        metrics = Metrics()
        engine = Engine(predictor, store, secret, metrics, options.patience_s, thread)
        probes: dict[str, Probe] = {"store": store.check_writable, "model": engine.check_model}
        parts = Services(engine, store, gate, metrics, secret, probes)
        progress.log_message(f"{predictor.release}: {_format_url(options, start)}")
        served = release.id if release else options.model
        predictors = PredictorManager(engine, store, registry, options, pools, progress, served)
        with ExitStack() as stack:
            if wanted in ALIASES:
                stack.enter_context(
                    watch_alias(
                        "champion", served, predictors.wanted_champion, predictors.swap_champion
                    )
                )
            if options.shadow is not None:
                failed = partial(metrics.count_shadow_outcome, "failed")
                stack.enter_context(
                    watch_alias(
                        "shadow", None, predictors.wanted_shadow, predictors.set_shadow, failed
                    )
                )
            run_server(parts, options.host, options.port)
    finally:
        store.close()


@dataclass
class PredictorManager:
    """Champion and shadow predictors of an endpoint, which are swapped while it runs.

    Attributes:
        engine: Engine whose predictors are swapped.
        store: Store whose audit log records the swaps.
        registry: Registry of releases and aliases.
        options: Command-line options.
        pools: Adapter pools, where adapters share a base model.
        progress: Reports long loading.
        served: Id of the served release, or name of the served model.
    """

    engine: Engine
    store: Store
    registry: Registry
    options: ServeOptions
    pools: AdapterPools
    progress: Progress
    served: str
    _former: str = ""
    """Previous release or model; some of its requests may still be running."""
    _id_of: Callable[[str], str] = field(init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """Serialises loading, so that no new adapter is unloaded by another thread."""

    def __post_init__(self) -> None:
        self._id_of = cache(lambda name: self.registry.find(name).id)

    def wanted_champion(self) -> str:
        """Return the release to serve; if the alias is unset, the current one."""
        return self._resolve_target(self.options.model) or self.served

    def swap_champion(self, release_id: str) -> None:
        """Load a release and serve it in place of the current one."""
        release = self.registry.find(release_id)
        with self._turn, _background_loading(release.base):
            self.engine.predictor = load_served_predictor(
                self.options, self.registry, release, self.pools, self.progress
            )
            self._former, self.served = self.served, release_id
            self._unload_unused_adapters(
                self.wanted_shadow() if self.options.shadow is not None else None
            )
        self.store.audit.append(ENDPOINT, "release.serve", release_id, name=release.name)

    def wanted_shadow(self) -> str | None:
        """Return the release or model to run as shadow; None if unset or the served one."""
        assert self.options.shadow is not None, "called only with a shadow option"
        found = self._resolve_target(self.options.shadow)
        return None if found == self.served else found

    def set_shadow(self, name: str | None) -> None:
        """Unload the current shadow, then load another release or model as shadow."""
        self.engine.shadow.predictor = None
        if name is None:
            return
        is_release = (self.options.shadow or "").startswith(RELEASE_PREFIX)
        release = self.registry.find(name) if is_release else None
        # The options calibration and method apply to the champion only.
        options = replace(self.options, model=name, calibration=None, method=None)
        with self._turn, _background_loading(release.base if release else name):
            predictor = load_served_predictor(
                options, self.registry, release, self.pools, NoProgress()
            )
            self.engine.shadow.predictor = predictor
            self._unload_unused_adapters(name)
        self.progress.log_message(f"shadow: {predictor.release}")
        if release is not None:
            self.store.audit.append(ENDPOINT, "release.shadow", name, name=release.name)

    def _unload_unused_adapters(self, shadow: str | None) -> None:
        """Unload the adapters that are no longer used."""
        self.pools.retain({self.served, self._former, shadow or ""})

    def _resolve_target(self, model: str) -> str | None:
        """Return the id of a release, or the name of a model; None for an unset alias."""
        _, is_release, name = model.partition(RELEASE_PREFIX)
        if not is_release:
            return model
        if name not in ALIASES:
            return self._id_of(name)
        found: str | None = getattr(self.registry.read_aliases(), name)
        return found


def load_served_predictor(
    options: ServeOptions,
    registry: Registry,
    release: Release | None,
    pools: AdapterPools,
    progress: Progress,
) -> Predictor:
    """Load a release, or else the named model, as a predictor.

    Raises:
        CheckFailed: The model is marked unfit.
        ReleaseError: The release is damaged.
        MedtuneError: Model or calibration cannot be used.
    """
    if release is not None:
        return _load_release(registry, release, pools, progress)
    name, evaluation = find_calibration(options.model, options.calibration, options.method)
    policy = load_policy(options.policy)
    return load_predictor(
        name,
        evaluation,
        options.method,
        policy,
        load_default_classifier(),
        progress,
        unfit=options.unfit,
    )


def _load_release(
    registry: Registry, release: Release, pools: AdapterPools, progress: Progress
) -> Predictor:
    """Load a release as a predictor; the hash of every file is checked."""
    name = model_reference(registry, release)
    model: AnswerModel
    if release.weights == "adapter":
        folder = Path(name.removeprefix(ADAPTER_PREFIX))
        model = pools.load_adapter(resolve_model(release.base, progress), release.id, folder)
    else:
        model = open_model(name, style=release.style, progress=progress, light=True)
    return Predictor(
        model=model,
        style=release.style,
        method=release.method,
        policy=load_policy(registry.objects.object_path(release.files[POLICY].sha256)),
        classifier=load_classifier(registry.objects.object_path(release.files[LEARNED].sha256)),
        calibration=release.calibration,
        release=release.name,
    )


def _background_loading(model: str) -> AbstractContextManager[None]:
    """Return a context that limits torch to one thread, to load while another model serves."""
    if model.startswith(WEIGHTLESS_PREFIXES):
        return nullcontext()
    from medtune.models.device import single_threaded

    return single_threaded()


def _is_loopback_host(host: str) -> bool:
    return is_loopback("127.0.0.1" if host == "localhost" else host)


def _format_url(options: ServeOptions, start: StartToken | None) -> str:
    """Format the URL of the endpoint; the start token in it grants all permissions."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{options.port}/{f'?token={start.text}' if start else ''}"


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
