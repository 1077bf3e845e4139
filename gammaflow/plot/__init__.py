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
from gammaflow.plot.spectrum import plot_flux_points, plot_spectrum, significance_per_bin

__all__ = [
    "EXCESS_SMOOTHING",
    "energy_slice",
    "excess_image",
    "plot_dataset",
    "plot_flux_points",
    "plot_map",
    "plot_quantity",
    "plot_residuals",
    "plot_spectrum",
    "safe_sum",
    "significance_image",
    "significance_per_bin",
    "smooth",
]
