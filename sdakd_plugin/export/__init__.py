"""Writes a generator as a file that other programs can run."""
