"""`medtune serve MODEL`: answer questions behind guards, on this machine or many.

Opens the model, its calibration, the policy and the store, and listens; a shadow is opened
meanwhile.  What is kept lies in one folder: the store (unless a database is named) and the secret
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
from medtune.guardrails.classifier.learned import opened as learned
from medtune.guardrails.classifier.learned import shipped
from medtune.guardrails.policy import load_policy
from medtune.models.adapters.adapter_pools import AdapterPools
from medtune.models.open_model import open_model
from medtune.models.sources import resolve
from medtune.models.weights_card import ADAPTER
from medtune.releases.build import model_of
from medtune.releases.registry import Registry
from medtune.releases.schema import ALIASES, LEARNED, POLICY, Release
from medtune.serving.auth.authorize import Authorizer, StartToken, is_loopback
from medtune.serving.data_dir import secret_in, url_in
from medtune.serving.dependencies import Probe, Services
from medtune.serving.inference.alias_watcher import follow
from medtune.serving.inference.engine import PATIENCE_S, Engine
from medtune.serving.inference.predictor import Predictor
from medtune.serving.inference.request_batcher import model_thread
from medtune.serving.metrics import Metrics
from medtune.serving.server import check_port, listen
from medtune.serving.storage.audit_heads import Anchor
from medtune.serving.storage.store import Store
from medtune.workflows.load_predictor import mind_for, with_calibration

RELEASE = "release:"
"""Opens the name of a release, or of an alias, which is followed."""
WEIGHTLESS = ("fake:", "remote:")
"""Models without weights to read here."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the command line may say."""

    model: str
    """A model, or the folder of a run."""
    folder: Path
    """Where store and secret are."""
    policy: Path | None = None
    """None is the starter policy."""
    calibration: Path | None = None
    """Evaluation of calibration questions; None takes a run's own, or goes without."""
    method: Method | None = None
    """None is letter for a model that was taught letters, else cloze."""
    database: str | None = None
    """None is SQLite in the folder."""
    host: str = "127.0.0.1"
    port: int = 8000
    patience_s: float = PATIENCE_S
    keys_always: bool = False
    """Whether the loopback interface needs a key, too."""
    unfit: bool = False
    """Serve a packed model even if it did not pass the parity gate."""
    registry: Path = Path("runs") / "registry"
    """Where `release:NAME` is found."""
    shadow: str | None = None
    """A model or release that answers beside, for nobody to see."""


def serve(options: ServeOptions, progress: Progress) -> None:
    """Answer questions until told to stop.

    Raises:
        MedtuneError: Model, calibration, policy, store or port cannot be used.
    """
    check_port(options.host, options.port)
    registry, thread = Registry(options.registry), model_thread()
    _, is_release, wanted = options.model.partition(RELEASE)
    release, shelves = registry.find(wanted) if is_release else None, AdapterPools()
    mind = thread.submit(opened, options, registry, release, shelves, progress).result()
    secret = secret_in(options.folder)
    url = url_in(options.folder, options.database)
    store = Store.open(url, anchor=Anchor.beside(options.folder))
    try:
        start = None if options.keys_always or not _is_local(options.host) else StartToken.new()
        gate = Authorizer(store.key_of, open_on_loopback=not options.keys_always, start=start)
        _check_keys(options.host, store)
        metrics = Metrics()
        engine = Engine(mind, store, secret, metrics, options.patience_s, thread)
        probes: dict[str, Probe] = {"store": store.check, "model": engine.check}
        parts = Services(engine, store, gate, metrics, secret, probes)
        progress.say(f"{mind.release}: {_address(options, start)}")
        served = release.id if release else options.model
        minds = PredictorManager(engine, store, registry, options, shelves, progress, served)
        with ExitStack() as stack:
            if wanted in ALIASES:
                stack.enter_context(follow("champion", served, minds.champion, minds.promote))
            if options.shadow is not None:
                failed = partial(metrics.shadow, "failed")
                stack.enter_context(follow("shadow", None, minds.shadow, minds.shade, failed))
            listen(parts, options.host, options.port)
    finally:
        store.close()


@dataclass
class PredictorManager:
    """Which minds an endpoint should have, and how it comes by them while it answers.

    Attributes:
        engine: Has them.
        store: Is told of the exchange of releases.
        registry: Where releases and aliases are.
        options: What the command line said.
        shelves: Where adapters share a base.
        progress: Told of long openings.
        served: Id of the release that answers, or name of the model.
    """

    engine: Engine
    store: Store
    registry: Registry
    options: ServeOptions
    shelves: AdapterPools
    progress: Progress
    served: str
    _former: str = ""
    """What answered before; requests that it was asked may still be under way."""
    _id_of: Callable[[str], str] = field(init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    """One opens at a time: what it put on a shelf is not tidied away by another."""

    def __post_init__(self) -> None:
        self._id_of = cache(lambda name: self.registry.find(name).id)

    def champion(self) -> str:
        """Tell what should answer; what an alias that stands for nothing stood for, goes on."""
        return self._wanted(self.options.model) or self.served

    def promote(self, release_id: str) -> None:
        """Have a release answer; the old one does until it is open."""
        release = self.registry.find(release_id)
        with self._turn, _beside(release.base):
            self.engine.mind = opened(
                self.options, self.registry, release, self.shelves, self.progress
            )
            self._former, self.served = self.served, release_id
            self._tidy(self.shadow() if self.options.shadow is not None else None)
        self.store.audit("endpoint", "release.serve", release_id, name=release.name)

    def shadow(self) -> str | None:
        """Tell what should answer beside; None is nothing: nothing is wanted, or what answers."""
        assert self.options.shadow is not None, "nobody asks otherwise"
        found = self._wanted(self.options.shadow)
        return None if found == self.served else found

    def shade(self, name: str | None) -> None:
        """Have a release or a model answer beside; the former one makes room for it first."""
        self.engine.shadow.mind = None
        if name is None:
            return
        is_release = (self.options.shadow or "").startswith(RELEASE)
        release = self.registry.find(name) if is_release else None
        # Calibration and method were given for the champion.
        options = replace(self.options, model=name, calibration=None, method=None)
        with self._turn, _beside(release.base if release else name):
            mind = opened(options, self.registry, release, self.shelves, NoProgress())
            self.engine.shadow.mind = mind
            self._tidy(name)
        self.progress.say(f"shadow: {mind.release}")
        if release is not None:
            self.store.audit("endpoint", "release.shadow", name, name=release.name)

    def _tidy(self, shadow: str | None) -> None:
        """Free adapters that nobody asks any more."""
        self.shelves.keep({self.served, self._former, shadow or ""})

    def _wanted(self, model: str) -> str | None:
        """Find a release's id, or say a model's name again; None for an alias of nothing."""
        _, is_release, name = model.partition(RELEASE)
        if not is_release:
            return model
        if name not in ALIASES:
            return self._id_of(name)
        found: str | None = getattr(self.registry.aliases(), name)
        return found


def opened(
    options: ServeOptions,
    registry: Registry,
    release: Release | None,
    shelves: AdapterPools,
    progress: Progress,
) -> Predictor:
    """Open a release, or else the model that is named, with everything that decides its answers.

    Raises:
        CheckFailed: The model is marked unfit.
        ReleaseError: The release is damaged.
        MedtuneError: Model or calibration cannot be used.
    """
    if release is not None:
        return _released(registry, release, shelves, progress)
    name, evaluation = with_calibration(options.model, options.calibration, options.method)
    policy = load_policy(options.policy)
    return mind_for(
        name, evaluation, options.method, policy, shipped(), progress, unfit=options.unfit
    )


def _released(
    registry: Registry, release: Release, shelves: AdapterPools, progress: Progress
) -> Predictor:
    """Open a release; every byte of it is hashed on the way."""
    name = model_of(registry, release)
    model: AnswerModel
    if release.weights == "adapter":
        folder = Path(name.removeprefix(ADAPTER))
        model = shelves.model(resolve(release.base, progress), release.id, folder)
    else:
        model = open_model(name, style=release.style, progress=progress, light=True)
    return Predictor(
        model=model,
        style=release.style,
        method=release.method,
        policy=load_policy(registry.objects.place(release.files[POLICY].sha256)),
        classifier=learned(registry.objects.place(release.files[LEARNED].sha256)),
        calibration=release.calibration,
        release=release.name,
    )


def _beside(model: str) -> AbstractContextManager[None]:
    """Let a model be opened beside one that answers: torch reads its weights in one thread."""
    if model.startswith(WEIGHTLESS):
        return nullcontext()
    from medtune.models.device import single_threaded

    return single_threaded()


def _is_local(host: str) -> bool:
    return is_loopback("127.0.0.1" if host == "localhost" else host)


def _address(options: ServeOptions, start: StartToken | None) -> str:
    """Write where the endpoint is; with the token of this start, whoever opens it may do all."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{options.port}/{f'?token={start.text}' if start else ''}"


def _check_keys(host: str, store: Store) -> None:
    """Refuse to listen to others as long as there is no key.

    Raises:
        InputError: There is none, and everybody would be turned away.
    """
    alive = [key for key in store.keys() if key.revoked is None]  # noqa: SIM118 - no dict
    if not _is_local(host) and not alive:
        raise InputError(
            f"--host {host} without a key: nobody could ask",
            fix="medtune keys add NAME --role ask",
        )
