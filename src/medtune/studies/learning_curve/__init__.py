"""Measure accuracy against the number of training questions."""
