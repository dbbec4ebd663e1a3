"""The time that a folder's work took, over all attempts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medtune.core.errors import FolderError
from medtune.core.run_folder import write_text

FILE = ".elapsed_s"
"""Beside a run's record: seconds of its earlier attempts."""


class Stopwatch:
    """Measures on from where earlier attempts in the same folder stopped."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._start = time.perf_counter()
        self._before = 0.0
        with suppress(OSError, ValueError):
            self._before = max(0.0, float(self._path.read_text(encoding="ascii")))

    @property
    def seconds(self) -> float:
        """Seconds of all attempts, this one included."""
        return self._before + time.perf_counter() - self._start

    def save(self) -> None:
        """Keep the time for attempts to come; a kill loses what came after this.

        Raises:
            FolderError: It cannot be written.
        """
        write_text(self._path, f"{self.seconds:.3f}")


@contextmanager
def timed(folder: Path, keeps: bool = True) -> Iterator[Stopwatch]:
    """Time work in a folder, and keep the time however it ends.

    Args:
        folder: Of the work.
        keeps: Whether this process writes; of several, one does.
    """
    watch = Stopwatch(folder)
    try:
        yield watch
    finally:
        # Work that failed before it wrote anything leaves nothing behind.
        if keeps and any(path.name not in (FILE, ".lock") for path in folder.iterdir()):
            with suppress(FolderError):  # why the work failed is told, not this
                watch.save()
