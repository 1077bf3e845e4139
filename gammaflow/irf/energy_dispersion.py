"""Energy dispersion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gammaflow.irf.axis import Floats
from gammaflow.irf.response import Irf


class EnergyDispersion2D(Irf):
    """Density of ``migra = E / E_true`` over true energy, migra and offset (GADF ``edisp_2d``).

    Outside its range of true energies the table is extrapolated, not zero: it is zero only where the
    offset is outside, or true energy and migra both are.
    """

    tag = "edisp_2d"
    required_axes = ("energy_true", "migra", "offset")
    column = "MATRIX"
    extname = "ENERGY DISPERSION"
    hduclas2 = "EDISP"

    def _defined(self, points: tuple[Floats, ...]) -> NDArray[np.bool_]:
        energy, migra, offset = (axis.contains(x) for axis, x in zip(self.axes, points, strict=True))
        return (energy | migra) & offset
