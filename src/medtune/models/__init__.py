"""Everything that answers questions."""
