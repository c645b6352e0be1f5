"""The teacher's images of a training set, computed once."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
