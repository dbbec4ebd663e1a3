"""What a person sees: progress on stderr, records on stdout."""

from medtune.terminal.console import speaks, verbosity
from medtune.terminal.progress import Terminal
from medtune.terminal.show import show

__all__ = ["Terminal", "show", "speaks", "verbosity"]
