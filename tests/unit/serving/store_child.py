"""A process that works on a store until it is done, or killed."""

from __future__ import annotations

import resource
import signal
import sys
from datetime import UTC, datetime

from medtune.core.errors import StoreError
from medtune.serving.schemas import Decision, RequestRecord
from medtune.serving.storage.store import Store


def work(store: Store, reviewer: str) -> None:
    """Decide what waits; name each item once its decision is acknowledged."""
    while (item := store.reviews.claim(reviewer, 600)) is not None:
        store.reviews.decide(item.request_id, reviewer, Decision(kind="approve"))
        say(item.request_id)


def fill(store: Store, bytes_: int) -> None:
    """Keep requests until the file may not grow any more; name each that was acknowledged."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))
    for number in range(10_000):
        entry = RequestRecord(
            request_id=f"r{number}",
            time=datetime.now(UTC),
            caller=None,
            text_hmac="ab" * 32,
            length=1,
            options=2,
            subject=None,
            status="answered",
            reasons=(),
            chosen=None,
            probabilities=None,
            release="r-1",
            duration_s=0.0,
            redacted="x" * 5000,
        )
        store.requests.add(entry, None)
        say(entry.request_id)


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(url: str, action: str, *arguments: str) -> None:
    """Do one thing on a store; say what it raises."""
    try:
        store = Store.open(url)
        if action == "work":
            work(store, *arguments)
        elif action == "fill":
            fill(store, *map(int, arguments))
        store.close()
    except StoreError as error:
        say(f"StoreError: {error.found}")


main(*sys.argv[1:])
