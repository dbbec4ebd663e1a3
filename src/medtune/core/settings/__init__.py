"""Describe the settings of an experiment, and write a commented one."""
