"""Models, registered with BasicSR: its contract over ``distillation/``."""
from sdakd_plugin.models import (  # noqa: F401
    mutual_srgan_model,
    repaired_model,
    sdakd_model,
)
