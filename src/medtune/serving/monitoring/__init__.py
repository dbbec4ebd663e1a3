"""Drift, activity, corrections and retention of an endpoint."""
