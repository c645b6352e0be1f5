"""What a distillation step is made of: teacher, taps, stages, terms. No knowledge of BasicSR's loop."""
