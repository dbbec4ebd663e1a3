"""Classify texts by a linear model that is trained on labelled lines."""
