"""Check gradients against derivatives of the values, with tolerances that are estimated."""

from minihash.gradient_check.check import check_gradients
from minihash.gradient_check.heat_map import heat_map
from minihash.gradient_check.report import ArrayReport, GradientError, GradientReport, Offender

__all__ = ["ArrayReport", "GradientError", "GradientReport", "Offender", "check_gradients", "heat_map"]
