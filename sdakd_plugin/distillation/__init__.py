"""What a distillation step is made of: teacher, taps, stages, terms. No knowledge of BasicSR's loop."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
