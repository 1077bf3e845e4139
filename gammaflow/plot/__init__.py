"""Figures: one map, or everything a dataset holds at a glance.

Figures are returned, never shown; they draw with any matplotlib backend.
"""

from gammaflow.plot.dataset import plot_dataset, plot_quantity
from gammaflow.plot.image import (
    EXCESS_SMOOTHING,
    energy_slice,
    excess_image,
    safe_sum,
    significance_image,
    smooth,
)
from gammaflow.plot.residuals import plot_residuals
from gammaflow.plot.sky import plot_map

__all__ = [
    "EXCESS_SMOOTHING",
    "energy_slice",
    "excess_image",
    "plot_dataset",
    "plot_map",
    "plot_quantity",
    "plot_residuals",
    "safe_sum",
    "significance_image",
    "smooth",
]
