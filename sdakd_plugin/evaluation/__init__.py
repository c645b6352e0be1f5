"""Measures a generator against other generators."""
