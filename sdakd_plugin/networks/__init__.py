"""Builds networks from option blocks or weight files."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
