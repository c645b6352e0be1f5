"""A run goes on exactly where it was: random numbers, place in the epoch, signals, training states."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
