"""Runs a generator on image files."""
