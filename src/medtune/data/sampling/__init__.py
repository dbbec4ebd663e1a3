"""Split, balance and curate questions."""
