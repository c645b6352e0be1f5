"""The metrics that the plugin adds to BasicSR."""

from sdakd_plugin.metrics import dists_metric, iqa_metric, lpips_metric, niqe_metric  # noqa: F401
