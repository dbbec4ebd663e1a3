"""Log a run to experiment trackers through accelerate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from medtune.core.errors import ConfigError, first_line
from medtune.core.experiment import TrackerName
from medtune.core.run_folder import translate_disk_errors

LogMetrics = Callable[[Mapping[str, float], int], None]
"""Log values by name at a step."""


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Check that the trackers are installed: accelerate skips missing ones silently.

    Raises:
        ConfigError: A tracker is missing; the message says how to install it.
    """
    at_hand = {str(found.value) for found in get_available_trackers()}
    if missing := [name for name in names if name not in at_hand]:
        faults = [f"track: {name} is not installed (pip install {name})" for name in missing]
        raise ConfigError("the experiment", faults)


def build_accelerator(names: Sequence[TrackerName], folder: Path, cpu: bool) -> Accelerator:
    """Build an accelerator with trackers.

    Trackers that write files use `folder`, unless their own variables are set.
    """
    if names:
        os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{folder.absolute()}/mlflow.db")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("WANDB_DIR", str(folder))
        os.environ.setdefault("TRACKIO_DIR", str(folder / "trackio"))
        with translate_disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    return Accelerator(
        mixed_precision="no", cpu=cpu, log_with=list(names) or None, project_dir=str(folder)
    )


@contextmanager
def open_trackers(
    accelerator: Accelerator, name: str, settings: Mapping[str, object]
) -> Iterator[LogMetrics]:
    """Open the trackers of a run; close them when it ends or fails.

    Args:
        accelerator: The result of `build_accelerator`.
        name: Name of the run or project in the tracker.
        settings: Logged at the start, flattened to keys such as `lora.rank`.
    """
    try:
        accelerator.init_trackers(name, config=dict(_flatten_settings(settings)))
    except Exception as error:  # every tracker raises errors of its own
        what = ", ".join(map(str, accelerator.log_with))
        fault = f"track: {what} cannot start: {first_line(error)}"
        raise ConfigError("the experiment", [fault]) from error
    try:
        yield lambda values, step: accelerator.log(dict(values), step=step)
    finally:
        # accelerate's end_training would also destroy the process group.
        for tracker in accelerator.trackers:
            tracker.finish()


def _flatten_settings(
    settings: Mapping[str, object], above: str = ""
) -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten_settings(value, f"{above}{name}.")
        else:
            plain = isinstance(value, (bool, int, float, str))
            yield f"{above}{name}", value if plain else str(value)
