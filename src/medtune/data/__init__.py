"""From rows to snapshots."""
