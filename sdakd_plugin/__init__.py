"""Distil super-resolution GANs in stock BasicSR.

Importing this package makes its networks, losses, metrics, data sets and models known to BasicSR: at once where
``basicsr`` is already imported, otherwise as soon as it is. Nothing heavy is imported before that.
"""

from sdakd_plugin import bootstrap

__version__ = '0.1.0'

bootstrap.install()
