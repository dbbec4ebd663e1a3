"""Audit training batches: do ids and labels teach a model what they should?"""
