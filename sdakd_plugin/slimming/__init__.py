"""A student made of the channels and blocks of its teacher."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
