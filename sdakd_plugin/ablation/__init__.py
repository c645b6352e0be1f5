"""What each part of a recipe gains: the same run without it, from the same start, on the same images."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
