"""The version of medtune."""

__version__ = "0.2.0"
