"""Load, clean, deduplicate and sample questions into snapshots."""
