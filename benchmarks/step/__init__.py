"""What a training step costs: distillation against stock BasicSR, a plain loop, and the floor of its parts."""
