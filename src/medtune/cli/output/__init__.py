"""Print progress on stderr and records on stdout."""

from medtune.cli.output.console import is_output_process, verbosity
from medtune.cli.output.progress import Terminal
from medtune.core.records import Record

__all__ = ["Terminal", "is_output_process", "show_record", "verbosity"]


def show_record(record: Record) -> None:
    """Print a record as a table on stdout."""
    # `--help` needs neither tables nor their schemas.
    from medtune.cli.output.console import open_console
    from medtune.cli.output.records import print_on_console

    print_on_console(open_console(stderr=False), record)
