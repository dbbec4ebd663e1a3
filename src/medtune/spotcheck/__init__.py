"""Blind human review of the parser's readings of free answers."""
