"""BasicSR's model interface on top of ``distillation/``."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works

from sdakd_plugin.models import mutual_srgan_model, plugin_model, sdakd_model  # noqa: F401
