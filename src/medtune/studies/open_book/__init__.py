"""Compare closed and open book: passages in the prompt, size of the index, search alone."""
