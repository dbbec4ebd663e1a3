"""Leave the progress bars of transformers and huggingface_hub as they were."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def restore_progress_bars() -> Iterator[None]:
    """Restore, after work that switches them off, the bars that a caller had on."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    name = "transformers.utils.logging"  # its import takes a second, and light loading needs none
    hidden, logging = are_progress_bars_disabled(), sys.modules.get(name)
    shown = logging.is_progress_bar_enabled() if logging is not None else not hidden
    try:
        yield
    finally:
        if shown and (logging := sys.modules.get(name)) is not None:
            logging.enable_progress_bar()  # and those of the Hub
        if hidden:
            disable_progress_bars()
        elif are_progress_bars_disabled():
            enable_progress_bars()
