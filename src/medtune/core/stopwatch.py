"""Elapsed time of the work in a folder, summed over all attempts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medtune.core.errors import FolderError
from medtune.core.run_folder import write_text

ELAPSED_FILE = ".elapsed_s"
"""File beside a run's record; it holds the seconds of earlier attempts."""


class Stopwatch:
    """A timer that adds to the time of earlier attempts in the same folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ELAPSED_FILE
        self._start = time.perf_counter()
        self._before = 0.0
        with suppress(OSError, ValueError):
            self._before = max(0.0, float(self._path.read_text(encoding="ascii")))

    @property
    def seconds(self) -> float:
        """Total seconds over all attempts, including this one."""
        return self._before + time.perf_counter() - self._start

    def save(self) -> None:
        """Save the elapsed time for later attempts; if killed, time after the last save is lost.

        Raises:
            FolderError: The file cannot be written.
        """
        write_text(self._path, f"{self.seconds:.3f}")


@contextmanager
def record_elapsed(folder: Path, keeps: bool = True) -> Iterator[Stopwatch]:
    """Time the work in a folder and save the time, even if the work fails.

    With several processes, only one `keeps` the time.
    """
    watch = Stopwatch(folder)
    try:
        yield watch
    finally:
        # If the work failed before it wrote anything, leave no file behind.
        if keeps and any(path.name not in (ELAPSED_FILE, ".lock") for path in folder.iterdir()):
            with suppress(FolderError):  # report the error of the work, not this one
                watch.save()
