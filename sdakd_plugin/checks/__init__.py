"""Checks a whole run before it starts."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
