"""Cuts a student's initial weights out of its teacher's."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
