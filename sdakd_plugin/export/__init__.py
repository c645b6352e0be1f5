"""A generator as a file that other programs run."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
