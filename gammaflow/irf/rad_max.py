"""Directional cut of point-like responses."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammaflow.errors import MissingHduError, UnsupportedError
from gammaflow.irf.axis import Floats, IrfAxis
from gammaflow.irf.effective_area import EffectiveAreaTable2D
from gammaflow.irf.response import Irf


class RadMax2D(Irf):
    """Radius in deg of the directional cut, over energy and offset (GADF ``rad_max_2d``)."""

    tag = "rad_max_2d"
    required_axes = ("energy", "offset")
    unit = "deg"
    column = "RAD_MAX"
    extname = "RAD_MAX"
    hduclas2 = "RAD_MAX"

    @classmethod
    def from_effective_area(cls, aeff: EffectiveAreaTable2D, where: str = "") -> RadMax2D:
        """The one radius that a point-like effective area names in its ``RAD_MAX`` card."""
        if not aeff.is_pointlike:
            raise UnsupportedError("a full-enclosure response has no RAD_MAX", where=where)
        if not isinstance(aeff.meta.get("RAD_MAX"), float):
            raise MissingHduError("no RAD_MAX card in a point-like effective area", where=where)
        energy, offset = aeff.axes
        axes = [
            IrfAxis("energy", energy.edges[:1], energy.edges[-1:], "log"),
            IrfAxis("offset", offset.edges[:1], offset.edges[-1:], "lin"),
        ]
        return cls(axes, np.array([[aeff.meta["RAD_MAX"]]]), is_pointlike=True)

    @property
    def is_fixed_rad_max(self) -> bool:
        """Whether the cut is one number."""
        return self.shape == (1, 1)

    def evaluate(self, **coords: Any) -> Floats:
        """Radius in deg at energies (TeV) and offsets (deg); one fixed radius holds everywhere."""
        if not self.is_fixed_rad_max:
            return super().evaluate(**coords)
        points = self._points(coords, self.required_axes)
        return np.full(np.broadcast_shapes(*(p.shape for p in points)), float(self.data[0, 0]))
