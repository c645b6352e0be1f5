"""Writes a generator as a file that other programs can run."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
