"""What comes after training: comparison, report, picture."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
