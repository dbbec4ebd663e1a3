"""Poll a release alias and call back when it points to another release."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from medtune.core.errors import MedtuneError
from medtune.serving.middleware import log

POLL_INTERVAL_S = 0.3
Wanted = TypeVar("Wanted", str, str | None)


@contextmanager
def watch_alias(
    place: str,
    there: Wanted,
    wanted: Callable[[], Wanted],
    put: Callable[[Wanted], object],
    failed: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Poll a value in a thread, and apply each change within about a second.

    A failure is logged and not retried until the value changes again.

    Args:
        place: Name of the slot, for the log.
        there: The current value.
        wanted: Returns the desired value.
        put: Applies a new value; may take long.
        failed: Called when `wanted` or `put` failed.
    """
    ended = threading.Event()

    def watch() -> None:
        present, fault = there, ""
        while not ended.wait(POLL_INTERVAL_S):
            try:
                now, fault = wanted(), ""
                if now != present:
                    present = now
                    put(now)
            except Exception as error:  # noqa: BLE001 - the process keeps serving
                found = error.found if isinstance(error, MedtuneError) else type(error).__name__
                if found != fault:
                    log.warning("release", place=place, fault=found)
                    failed()
                fault = found

    watcher = threading.Thread(target=watch, name=f"follow {place}", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
