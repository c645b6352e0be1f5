"""BasicSR's model interface on top of ``distillation/``."""

from sdakd_plugin.models import mutual_srgan_model, plugin_model, sdakd_model  # noqa: F401
