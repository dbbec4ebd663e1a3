"""What a person sees: progress on stderr, records on stdout."""

from medtune.cli.output.console import speaks, verbosity
from medtune.cli.output.progress import Terminal
from medtune.cli.output.records import show

__all__ = ["Terminal", "show", "speaks", "verbosity"]
