"""What several rooms share and no library has."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
