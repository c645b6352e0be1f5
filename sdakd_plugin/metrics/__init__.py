"""The metrics that the plugin adds to BasicSR."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works

from sdakd_plugin.metrics import dists_metric, iqa_metric, lpips_metric, niqe_metric  # noqa: F401
