"""Releases: content-addressed, gated and reversible."""
