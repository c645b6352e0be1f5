"""Stores the teacher's images of a training set, so that they are computed only once."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
