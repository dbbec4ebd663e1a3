"""Check by hand, blind, how the parser read free answers."""
