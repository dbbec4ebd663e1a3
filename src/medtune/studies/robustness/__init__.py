"""Measure how an accuracy depends on option order, stem and suggested answers."""
