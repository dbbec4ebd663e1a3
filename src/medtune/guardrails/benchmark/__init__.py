"""Measure the guards on labelled texts."""
