"""Trials on real images that are too slow for the tests; each makes a page of ``docs/``."""
