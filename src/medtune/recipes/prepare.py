"""`medtune prepare EXPERIMENT`: read, clean and separate the data, and write the snapshot.

Nothing is trained.  The snapshot is the first step of every run; here it is made alone, so that
its counts and exclusions can be read before anything is spent on it.
"""

from __future__ import annotations

from pathlib import Path

from medtune.core.config import Experiment
from medtune.core.folder import locked
from medtune.core.progress import Progress
from medtune.data.snapshot import SnapshotManifest, load_snapshot, write_snapshot


def prepare(experiment: Experiment, folder: Path, progress: Progress) -> SnapshotManifest:
    """Write `data/` of a run folder.

    Raises:
        DataError: A source cannot be used.
        FolderError: The folder is busy or cannot be written.
    """
    snapshot = load_snapshot(experiment.data)
    with locked(folder):
        manifest = write_snapshot(snapshot, folder / "data")
    progress.say(f"snapshot {manifest.hash[:12]} written to {folder / 'data'}")
    return manifest
