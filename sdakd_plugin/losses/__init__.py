"""Losses, registered with BasicSR: functions and modules of tensors, without knowledge of training."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works

from sdakd_plugin.losses import (  # noqa: F401
    feature_alignment_loss,
    lpips_loss,
    mutual_loss,
    vgg_mse_loss,
)
