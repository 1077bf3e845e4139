"""Models without a shape: a point, and the same value everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray
from regions import PointSkyRegion

from gammaflow.errors import UnsupportedError
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.spatial.base import SpatialModel, Transform, center_parameters


class PointSpatialModel(SpatialModel):
    """A point source.

    Parameters
    ----------
    lon_0, lat_0 : Quantity
    frame : str
    """

    tag = ("PointSpatialModel", "point")
    lon_0, lat_0 = center_parameters()
    has_transform = True

    def evaluate(self, lon: Any, lat: Any, **parameters: Any) -> NDArray[np.float64]:
        """A point has no value per solid angle."""
        raise UnsupportedError(
            "a point source has no surface brightness",
            where=type(self).__name__,
            hint="Predict counts instead",
        )

    @property
    def evaluation_radius(self) -> u.Quantity:
        """0 deg."""
        return 0 * u.deg

    def transform(
        self,
        u_east: NDArray[np.float64],
        u_north: NDArray[np.float64],
        parameters: Sequence[str] | None = None,
        order: int = 2,
    ) -> Transform:
        """1 at every frequency."""
        return self._in_own_units(self._asked(parameters), np.ones_like(u_east), {}, {}, order)

    def to_region(self) -> PointSkyRegion:
        """The position as a region."""
        return PointSkyRegion(self.position)


class ConstantSpatialModel(SpatialModel):
    """The same value everywhere.

    Parameters
    ----------
    value : Quantity
        By default 1 sr-1; frozen.
    """

    tag = ("ConstantSpatialModel", "const")
    value = Parameter("value", "1 sr-1", frozen=True)

    @staticmethod
    def evaluate(lon: NDArray[np.float64], lat: NDArray[np.float64], value: Any) -> NDArray[np.float64]:
        """Values in sr-1."""
        return np.full(np.broadcast_shapes(np.shape(lon), np.shape(lat)), value)

    @property
    def evaluation_radius(self) -> None:
        """None: it ends nowhere."""
        return None

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML, which writes the value only where it is not 1 sr-1."""
        data = super().to_dict(full_output)["spatial"]
        if self.value.quantity == 1 / u.sr and not full_output:
            data["parameters"] = []
        return {"spatial": {"type": data["type"], "parameters": data["parameters"]}}

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> ConstantSpatialModel:
        check_keys(entry, ("type", "frame", "parameters"))
        return cls(frame=entry.get("frame", "icrs"), **cls._read_parameters(entry))
