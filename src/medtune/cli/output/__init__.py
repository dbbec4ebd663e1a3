"""Print progress on stderr and records on stdout."""

from medtune.cli.output.console import is_output_process, verbosity
from medtune.cli.output.progress import Terminal
from medtune.cli.output.records import show_record

__all__ = ["Terminal", "is_output_process", "show_record", "verbosity"]
