"""Where regions can be found in which the background of a region is the same: on a circle around the pointing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import combinations
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle, SkyCoord
from astropy.wcs import WCS
from numpy.typing import NDArray
from regions import SkyRegion

from gammaflow.errors import ConfigError, GeometryError
from gammaflow.makers.background.exclusion import Exclusion
from gammaflow.makers.background.off_regions import OffRegions, TurnedRegion
from gammaflow.maps import RegionGeom, position_vector

Floats = NDArray[np.float64]

_FULL_TURN = 2 * np.pi


class RegionsFinder(ABC):
    """Finds regions of the shape of a given one, at the same distance from the pointing, outside of a mask.

    Parameters
    ----------
    binsz : str, Quantity or float
        Pixel size (deg) of the plane in which regions and exclusion mask are compared.
    """

    tag: str

    def __init__(self, binsz: str | float | u.Quantity = "0.01 deg") -> None:
        self.binsz = _angle(binsz, u.deg)
        if not self.binsz > 0:
            raise ConfigError(f"binsz {self.binsz:g} deg", where=self.tag, hint="Give a positive angle")

    @abstractmethod
    def find(
        self, region: RegionGeom, pointing: Floats, exclusion_mask: Exclusion | None = None
    ) -> OffRegions:
        """The regions, with the reason where there are none.

        Parameters
        ----------
        region : RegionGeom
            What is to be turned around the pointing.
        pointing : ndarray, shape (3,)
            ICRS unit vector.
        exclusion_mask : ExclusionMask or ExclusionRegions, optional
            No pixel that it excludes may lie in a region. What is outside of the mask may be used.

        Raises
        ------
        GeometryError
            If the region cannot be turned.
        """

    def run(
        self, region: SkyRegion, center: SkyCoord, exclusion_mask: Exclusion | None = None
    ) -> tuple[list[SkyRegion], WCS]:
        """As `find`, from and to regions of the sky, and the projection in which they were looked for."""
        found = self.find(RegionGeom.create(region), position_vector(center), exclusion_mask)
        return found.regions, found.on.plane.geom.wcs


class ReflectedRegionsFinder(RegionsFinder):
    """Finds as many regions as there is place for.

    With s the angle under which the region is seen from the pointing, a region is tried at the angle
    s + min_distance + min_distance_input from the one given. If it touches nothing excluded it is taken, and the
    next one tried s + min_distance further on; otherwise angle_increment further on; up to the angle
    2 pi - (s + min_distance + min_distance_input).

    Parameters
    ----------
    angle_increment, min_distance, min_distance_input : str, Quantity or float
        rad.
    max_region_number : int
        No more regions than this.
    binsz : str, Quantity or float
        See `RegionsFinder`.

    Raises
    ------
    ConfigError
        If an argument means nothing.
    """

    tag = "ReflectedRegionsFinder"

    def __init__(
        self,
        angle_increment: str | float | u.Quantity = "0.1 rad",
        min_distance: str | float | u.Quantity = "0 rad",
        min_distance_input: str | float | u.Quantity = "0.1 rad",
        max_region_number: int = 10000,
        binsz: str | float | u.Quantity = "0.01 deg",
    ) -> None:
        super().__init__(binsz)
        self.angle_increment = _angle(angle_increment, u.rad)
        self.min_distance = _angle(min_distance, u.rad)
        self.min_distance_input = _angle(min_distance_input, u.rad)
        self.max_region_number = int(max_region_number)
        if not self.angle_increment > 0:
            raise ConfigError(
                f"angle_increment {self.angle_increment:g} rad", where=self.tag, hint="Give a positive angle"
            )
        if min(self.min_distance, self.min_distance_input) < 0 or self.max_region_number < 1:
            raise ConfigError(
                "a negative distance, or no region at all", where=self.tag, hint="Give at least 0, and 1"
            )

    def find(
        self, region: RegionGeom, pointing: Floats, exclusion_mask: Exclusion | None = None
    ) -> OffRegions:
        """See `RegionsFinder.find`; a point has no size, and is refused."""
        if region.is_point:
            raise GeometryError(
                "a point has no size, and its reflections no end",
                where=self.tag,
                hint="Use a WobbleRegionsFinder, which is told how many regions to find",
            )
        on = TurnedRegion.around(region, pointing, self.binsz)
        size = self._angular_size(on)
        step = size + self.min_distance
        last = _FULL_TURN - step - self.min_distance_input
        x, y = _excluded(on, exclusion_mask)
        angles: list[float] = []
        angle = step + self.min_distance_input
        if not angle < last:
            return OffRegions(
                on,
                (),
                f"the region is {region.separation(pointing):.3f} deg from the pointing and seen from there under "
                f"{np.degrees(size):.0f} deg, which leaves no place beside it",
            )
        while angle < last and len(angles) < self.max_region_number:
            if on.holds(x, y, angle).any():
                angle += self.angle_increment
            else:
                angles.append(angle)
                angle += step
        reason = "" if angles else "every place on the circle around the pointing touches the exclusion mask"
        return OffRegions(on, tuple(angles), reason)

    def _angular_size(self, on: TurnedRegion) -> float:
        """Angle in rad under which the pixels of the region are seen from the pointing."""
        npix, box = on.plane.npix, on.shape.bounding_box
        x, y = np.meshgrid(
            np.arange(max(box.ixmin, 0), min(box.ixmax, npix), dtype=np.float64),
            np.arange(max(box.iymin, 0), min(box.iymax, npix), dtype=np.float64),
        )
        inside = on.holds(x, y)
        if not inside.any():
            raise GeometryError(
                f"the region holds no pixel of {self.binsz:g} deg",
                where=self.tag,
                hint="Choose a smaller binsz, or a larger region",
            )
        angles = np.arctan2(on.plane.middle - x[inside], on.plane.middle - y[inside])
        if np.ptp(angles) > np.pi:
            angles = np.where(angles >= 0, angles - _FULL_TURN, angles)
        return float(np.ptp(angles))

    def __repr__(self) -> str:
        return f"ReflectedRegionsFinder(max_region_number={self.max_region_number}, binsz={self.binsz:g} deg)"


class WobbleRegionsFinder(RegionsFinder):
    """Finds a fixed number of regions, which together with the given one are spread evenly over the circle.

    Those that touch something excluded are left out. If two regions overlap there are none; whether those of a
    point do is for the directional cut to say.

    Parameters
    ----------
    n_off_regions : int
    binsz : str, Quantity or float
        See `RegionsFinder`.

    Raises
    ------
    ConfigError
        If an argument means nothing.
    """

    tag = "WobbleRegionsFinder"

    def __init__(self, n_off_regions: int, binsz: str | float | u.Quantity = "0.01 deg") -> None:
        super().__init__(binsz)
        self.n_off_regions = int(n_off_regions)
        if self.n_off_regions < 1:
            raise ConfigError(f"n_off_regions {n_off_regions}", where=self.tag, hint="Give at least 1")

    def find(
        self, region: RegionGeom, pointing: Floats, exclusion_mask: Exclusion | None = None
    ) -> OffRegions:
        """See `RegionsFinder.find`."""
        on = TurnedRegion.around(region, pointing, self.binsz)
        x, y = _excluded(on, exclusion_mask)
        positions = self.n_off_regions + 1
        angles = [i * _FULL_TURN / positions for i in range(1, positions)]
        free = tuple(angle for angle in angles if not on.holds(x, y, angle).any())
        if not free:
            return OffRegions(on, (), f"each of {len(angles)} places touches the exclusion mask")
        if not on.is_point and _overlap(on, (0.0, *free)):
            return OffRegions(
                on, (), f"{len(free)} regions around the pointing and that of the source overlap"
            )
        return OffRegions(on, free)

    def __repr__(self) -> str:
        return f"WobbleRegionsFinder(n_off_regions={self.n_off_regions}, binsz={self.binsz:g} deg)"


def _angle(value: Any, unit: u.UnitBase) -> float:
    """A plain number is in the unit already."""
    try:
        return float(Angle(value, None if isinstance(value, str | u.Quantity) else unit).to_value(unit))
    except (ValueError, TypeError, u.UnitsError) as error:
        raise ConfigError(f"{value!r} is no angle", hint="E.g. '0.1 rad' or '5 deg'") from error


def _excluded(on: TurnedRegion, mask: Exclusion | None) -> tuple[Floats, Floats]:
    """Coordinates (n,) of the excluded pixels that the region can reach."""
    if mask is None:
        return np.zeros(0), np.zeros(0)
    x, y = on.pixels()
    excluded = ~mask.at(on.plane.to_vectors(x, y), outside=True)
    return x[excluded], y[excluded]


def _overlap(on: TurnedRegion, angles: tuple[float, ...]) -> bool:
    """Whether a pixel lies in two of the regions."""
    x, y = on.pixels()
    held = [on.holds(x, y, angle) for angle in angles]
    return any((one & other).any() for one, other in combinations(held, 2))
