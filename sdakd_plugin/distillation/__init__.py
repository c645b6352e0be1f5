"""The training iteration of distillation, independent of BasicSR's loop."""

import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works

from sdakd_plugin.distillation.forward_pass import ForwardPass
from sdakd_plugin.distillation.taps import TapError, Taps
from sdakd_plugin.distillation.teacher import Teacher, TeacherOutput

__all__ = ['ForwardPass', 'TapError', 'Taps', 'Teacher', 'TeacherOutput']
