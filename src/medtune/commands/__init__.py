"""Implement the commands, one module per verb."""
