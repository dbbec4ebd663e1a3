"""Shared foundations: records, errors, configuration, the prompt, the model protocol."""
