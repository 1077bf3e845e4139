"""Point spread function as a table, and what all point spread functions have in common."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammaflow.irf.axis import Floats, IrfAxis, interpolate, plain
from gammaflow.irf.response import Irf

_DEG2 = float((1 * u.deg**2).to_value("sr"))
_UPSAMPLING = 20


def default_rad_axis() -> IrfAxis:
    """Radii on which a parametric point spread function is tabulated: 66 bins of 0.01 deg."""
    return IrfAxis.from_edges(np.linspace(0.0, 0.66, 67), "rad", "lin")


class PsfIrf(Irf):
    """A point spread function: probability density in sr-1 over true energy, offset and radius."""

    unit = "sr-1"
    hduclas2 = "RPSF"

    def containment(self, rad: Any, energy_true: Any, offset: Any) -> Floats:
        """Fraction of events within ``rad``.

        Parameters
        ----------
        rad, offset : array_like or Quantity
            deg, if plain numbers.
        energy_true : array_like or Quantity
            TeV, if plain numbers. All three broadcast.

        Returns
        -------
        fraction : ndarray, float64
        """
        raise NotImplementedError

    def _rad_axis(self) -> IrfAxis:
        return default_rad_axis()

    def containment_radius(self, fraction: float, energy_true: Any, offset: Any) -> Floats:
        """Radius in deg that contains ``fraction`` of the events.

        It is the one of the centres of the radius axis, divided by 20, whose containment is nearest.

        Parameters
        ----------
        fraction : float
            Between 0 and 1.
        energy_true, offset : array_like or Quantity
            TeV and deg, if plain numbers; they broadcast.

        Returns
        -------
        radius : ndarray, float64
        """
        edges = self._rad_axis().edges
        steps = np.arange(_UPSAMPLING) + 0.5
        rad = (edges[:-1, None] + np.diff(edges)[:, None] * steps / _UPSAMPLING).ravel()
        energy = plain(energy_true, "TeV")[..., None]
        contained = self.containment(rad, energy, plain(offset, "deg")[..., None])
        return rad[np.argmin(np.abs(contained - fraction), axis=-1)]


class PSF3D(PsfIrf):
    """Point spread function as a table over true energy, offset and radius (GADF ``psf_table``)."""

    tag = "psf_table"
    required_axes = ("energy_true", "offset", "rad")
    column = "RPSF"
    extname = "PSF_2D_TABLE"

    def _rad_axis(self) -> IrfAxis:
        return self.axis("rad")

    @cached_property
    def _cumulative(self) -> NDArray[np.floating]:
        """Containment at the edges of the radius axis: sum of 2 pi r dr psf."""
        rad = self.axis("rad")
        rings = self.data * (2 * np.pi * _DEG2 * rad.nodes * rad.bin_width)
        return np.concatenate([np.zeros((*self.shape[:2], 1)), np.cumsum(rings, axis=2)], axis=2)

    def containment(self, rad: Any, energy_true: Any, offset: Any) -> Floats:
        """Fraction of events within ``rad``; see `PsfIrf.containment`.

        Linear between the edges of the radius axis, constant beyond them; zero outside the range of
        energies and offsets.
        """
        energy, theta, _ = self.axes
        edges = IrfAxis.from_nodes(self.axis("rad").edges, "rad", "lin")
        radius = np.clip(plain(rad, "deg"), edges.nodes[0], edges.nodes[-1])
        points = (plain(energy_true, "TeV"), plain(offset, "deg"), radius)
        values = interpolate((energy, theta, edges), self._cumulative, points)
        inside = energy.contains(points[0]) & theta.contains(points[1])
        return np.where(inside & np.isfinite(values), np.maximum(values, 0.0), 0.0)


def from_deg2(values: ArrayLike) -> Floats:
    """Densities in deg-2 as densities in sr-1."""
    return np.asarray(values, dtype=np.float64) / _DEG2
