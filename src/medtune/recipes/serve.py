"""`medtune serve MODEL`: answer questions behind guards, on this machine or many.

Opens the model, its calibration, the policy and the store, and listens.  What is kept lies in one
folder: the store (unless a database is named) and the secret that signs sessions and hashes texts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from medtune.analysis.confidence import calibrated
from medtune.core.errors import InputError, MedtuneError
from medtune.core.progress import Progress
from medtune.core.prompt import likelihood_of
from medtune.core.records import Method
from medtune.core.release import ALIASES, POLICY, WEIGHTS, Release
from medtune.guard.learned import shipped
from medtune.guard.policy import Policy, load_policy
from medtune.models.card import ADAPTER, manner, refuse_unfit
from medtune.models.door import open_model
from medtune.registry.store import Registry
from medtune.serving.access import Gatekeeper, is_loopback
from medtune.serving.batching import model_thread
from medtune.serving.edge import log
from medtune.serving.engine import PATIENCE_S, Engine
from medtune.serving.listen import listen
from medtune.serving.metrics import Metrics
from medtune.serving.mind import Mind
from medtune.serving.place import secret_in, url_in
from medtune.serving.services import Probe, Services
from medtune.serving.store import Store

RELEASE = "release:"
"""Opens the name of a release, or of an alias, which is followed."""
FOLLOW_S = 0.3


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


def serve(options: ServeOptions, progress: Progress) -> None:
    """Answer questions until told to stop.

    Raises:
        MedtuneError: Model, calibration, policy, store or port cannot be used.
    """
    registry, thread = Registry(options.registry), model_thread()
    _, is_release, wanted = options.model.partition(RELEASE)
    if is_release:
        release = registry.find(wanted)
        mind = thread.submit(released, registry, release, progress).result()
    else:
        policy = load_policy(options.policy)
        mind = thread.submit(opened, options, policy, progress).result()
    secret = secret_in(options.folder)
    store = Store.open(url_in(options.folder, options.database))
    try:
        gate = Gatekeeper(store.key_of, open_on_loopback=not options.keys_always)
        _check_keys(options.host, store)
        metrics = Metrics()
        engine = Engine(mind, store, secret, metrics, options.patience_s, thread)
        probes: dict[str, Probe] = {"store": store.check, "model": engine.check}
        parts = Services(engine, store, gate, metrics, secret, probes)
        progress.say(f"{mind.release}: http://{options.host}:{options.port}/")
        with ExitStack() as stack:
            if wanted in ALIASES:
                stack.enter_context(follow(engine, store, registry, wanted, release.id, progress))
            listen(parts, options.host, options.port)
    finally:
        store.close()


def opened(options: ServeOptions, policy: Policy, progress: Progress) -> Mind:
    """Open a model with everything that decides its answers.

    Raises:
        CheckFailed: It is marked unfit.
        MedtuneError: Model or calibration cannot be used.
    """
    name, evaluation = _named(options)
    refuse_unfit(name, anyway=options.unfit)
    asked = manner(name)
    method = options.method or likelihood_of(asked.target)
    model = open_model(name, style=asked.style, progress=progress, light=True)
    calibration = None
    if evaluation is not None:
        risk, level = policy.confidence.risk, policy.confidence.level
        calibration = calibrated(evaluation, model.describe(), method, risk, level)
    if calibration is None:
        progress.say("not calibrated: confidences are the model's own, and bounded by nothing")
    return Mind(
        model=model,
        style=asked.style,
        method=method,
        policy=policy,
        classifier=shipped(),
        calibration=calibration,
        release=name,
    )


def released(registry: Registry, release: Release, progress: Progress) -> Mind:
    """Open a release; every byte of it is hashed on the way.

    Raises:
        ReleaseError: It is damaged.
        MedtuneError: Its base cannot be found.
    """
    tree = registry.tree(release)
    kind = {"adapter": ADAPTER, "model": "path:"}.get(release.weights)
    name = f"{kind}{tree / WEIGHTS}" if kind else release.base
    model = open_model(name, style=release.style, progress=progress, light=True)
    return Mind(
        model=model,
        style=release.style,
        method=release.method,
        policy=load_policy(tree / POLICY),
        classifier=shipped(),
        calibration=release.calibration,
        release=release.name,
    )


@contextmanager
def follow(
    engine: Engine,
    store: Store,
    registry: Registry,
    alias: str,
    served: str,
    progress: Progress,
) -> Iterator[None]:
    """Serve whatever release an alias stands for, from within a second of its move.

    The old one answers until the new one is open; one that cannot be opened is told in the log.
    """
    from medtune.models.device import single_threaded

    ended = threading.Event()

    def watch() -> None:
        nonlocal served
        while not ended.wait(FOLLOW_S):
            try:
                now = getattr(registry.aliases(), alias)
                if now in (served, None):
                    continue
                served = now
                release = registry.find(now)
                with single_threaded():
                    engine.mind = released(registry, release, progress)
                store.audit("endpoint", "release.serve", now, name=release.name)
            except MedtuneError as error:
                log.warning("release", alias=alias, fault=error.found)

    watcher = threading.Thread(target=watch, name="alias", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _named(options: ServeOptions) -> tuple[str, Path | None]:
    """Find model and calibration; a run's folder has both."""
    run = Path(options.model)
    if not (run / "adapter").is_dir():
        return options.model, options.calibration
    found = sorted((run / "eval").glob("tuned-calibration-*"))
    wanted = [f for f in found if options.method is None or f.name.endswith(options.method)]
    own = wanted[0] if wanted else None
    return f"{ADAPTER}{run / 'adapter'}", options.calibration or own


def _check_keys(host: str, store: Store) -> None:
    """Refuse to listen to others as long as there is no key.

    Raises:
        InputError: There is none, and everybody would be turned away.
    """
    local = is_loopback("127.0.0.1" if host == "localhost" else host)
    alive = [key for key in store.keys() if key.revoked is None]  # noqa: SIM118 - no dict
    if not local and not alive:
        raise InputError(
            f"--host {host} without a key: nobody could ask",
            fix="medtune keys add NAME --role ask",
        )
