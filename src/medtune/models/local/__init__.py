"""Score and generate with a transformers model in this process."""
