"""Measures what each part of a recipe gains, by the same run without it: same start, same images."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
