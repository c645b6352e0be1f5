"""What a generator is worth: its quality, and what it costs."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
