"""The losses that the plugin adds to BasicSR."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works

from sdakd_plugin.losses.feature_alignment_loss import FeatureAlignmentLoss
from sdakd_plugin.losses.lpips_loss import LPIPSLoss
from sdakd_plugin.losses.mutual_loss import MutualDiscriminatorLoss
from sdakd_plugin.losses.vgg_mse_loss import VGGMSELoss

__all__ = ['FeatureAlignmentLoss', 'LPIPSLoss', 'MutualDiscriminatorLoss', 'VGGMSELoss']
