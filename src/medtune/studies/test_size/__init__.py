"""Estimate what a smaller test set would have found."""
