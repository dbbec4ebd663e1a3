"""Keeps in step with what moves elsewhere: an alias that stands for another release by now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from medtune.core.errors import MedtuneError
from medtune.serving.middleware import log

FOLLOW_S = 0.3
Wanted = TypeVar("Wanted", str, str | None)


@contextmanager
def follow(
    place: str,
    there: Wanted,
    wanted: Callable[[], Wanted],
    put: Callable[[Wanted], object],
    failed: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Have in place whatever is wanted, from within a second of its change.

    What cannot be put is told in the log, and not tried again before another is wanted.

    Args:
        place: Its name, for the log.
        there: What is there now.
        wanted: Tells what should be.
        put: Puts it there, however long that takes.
        failed: Told that either could not be done.
    """
    ended = threading.Event()

    def watch() -> None:
        present, fault = there, ""
        while not ended.wait(FOLLOW_S):
            try:
                now, fault = wanted(), ""
                if now != present:
                    present = now
                    put(now)
            except Exception as error:  # noqa: BLE001 - a process that answers goes on answering
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
