"""What is checked before a run costs anything: the option file, its keys, data, weights, memory; and a dry run."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
