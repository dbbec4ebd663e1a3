"""Releases: what is served, content-addressed, gated, reversible."""
