"""What a run tells experiment trackers, through accelerate's doors to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from medtune.core.errors import ConfigError
from medtune.core.experiment import TrackerName
from medtune.core.run_folder import disk_errors

Log = Callable[[Mapping[str, float], int], None]
"""Take values by name, and the step they belong to."""


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Refuse trackers that are not installed: accelerate leaves them out without a word.

    Raises:
        ConfigError: Naming them, and how to install them.
    """
    at_hand = {str(found.value) for found in get_available_trackers()}
    if missing := [name for name in names if name not in at_hand]:
        faults = [f"track: {name} is not installed (pip install {name})" for name in missing]
        raise ConfigError("the experiment", faults)


def accelerator_with(names: Sequence[TrackerName], folder: Path, cpu: bool) -> Accelerator:
    """Make an accelerator that knows the trackers.

    Those that write files do it in `folder`, unless their own variables say otherwise.
    """
    if names:
        os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{folder.absolute()}/mlflow.db")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("WANDB_DIR", str(folder))
        os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    return Accelerator(
        mixed_precision="no", cpu=cpu, log_with=list(names) or None, project_dir=str(folder)
    )


@contextmanager
def tracked(accelerator: Accelerator, name: str, settings: Mapping[str, object]) -> Iterator[Log]:
    """Open the trackers for a run and close them, however it ends.

    Args:
        accelerator: Of `accelerator_with`.
        name: Of the run or project, as the tracker calls it.
        settings: Written down at the start, flattened to `lora.rank` and the like.
    """
    try:
        accelerator.init_trackers(name, config=dict(_flat(settings)))
    except Exception as error:  # every tracker has its own kinds
        what = ", ".join(map(str, accelerator.log_with))
        fault = f"track: {what} cannot start: {str(error).strip().splitlines()[0]}"
        raise ConfigError("the experiment", [fault]) from error
    try:
        yield lambda values, step: accelerator.log(dict(values), step=step)
    finally:
        # accelerate's end_training would leave the other processes as well.
        for tracker in accelerator.trackers:
            tracker.finish()


def _flat(settings: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            plain = isinstance(value, (bool, int, float, str))
            yield f"{above}{name}", value if plain else str(value)
