"""How a run survives signals, stops and many processes, and goes on as if nothing had been."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
