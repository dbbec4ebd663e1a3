"""Spot checks: people read free answers again, blind, to score the parser."""
