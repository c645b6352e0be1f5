"""Initial weights of a student, cut out of those of its teacher."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
