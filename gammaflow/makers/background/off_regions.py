"""Copies of a region turned around the pointing, in the tangential plane there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import astropy.units as u
import numpy as np
from astropy.coordinates import Angle
from numpy.typing import NDArray
from regions import (
    CirclePixelRegion,
    CircleSkyRegion,
    PixCoord,
    PixelRegion,
    PointPixelRegion,
    PointSkyRegion,
    SkyRegion,
)

from gammaflow.errors import GeometryError
from gammaflow.maps import (
    RegionGeom,
    WcsGeom,
    frame_matrix,
    lonlat_to_vectors,
    parse_regions,
    rotate,
    separation,
    vectors_to_lonlat,
)

Floats = NDArray[np.float64]

_ARCSEC = 1.0 / 3600.0
_RIM = 0.3  # deg


@dataclass(frozen=True)
class TangentPlane:
    """Square pixels in the plane that touches the sky at a pointing: the projection TAN, without a call of a WCS.

    Attributes
    ----------
    frame : str
        Sky frame; its north is up.
    lon, lat : float
        Where plane and sky touch, deg.
    binsz : float
        Pixel size, deg.
    npix : int
        Number of pixels along each side.
    """

    frame: str
    lon: float
    lat: float
    binsz: float
    npix: int

    @property
    def middle(self) -> float:
        """Both pixel coordinates of the centre."""
        return (self.npix - 1) / 2

    @cached_property
    def geom(self) -> WcsGeom:
        """The same as a map."""
        center = (self.lon, self.lat)
        return WcsGeom.create(center, self.binsz, npix=self.npix, frame=self.frame, proj="TAN")

    @cached_property
    def _axes(self) -> Floats:
        """ICRS unit vectors (3, 3) to the east, to the north and to the centre."""
        lon, lat = np.radians(self.lon), np.radians(self.lat)
        east = [-np.sin(lon), np.cos(lon), 0.0]
        north = [-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)]
        center = [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
        return np.array([east, north, center]) @ frame_matrix(self.frame)

    def to_pix(self, vectors: Floats) -> tuple[Floats, Floats]:
        """Pixel coordinates (x, y) of ICRS unit vectors (3, ...); NaN on the other half of the sky."""
        east, north, up = rotate(self._axes, vectors)
        scale = np.degrees(1.0) / self.binsz / np.where(up > 0, up, np.nan)
        return self.middle - east * scale, self.middle + north * scale

    def to_vectors(self, x: Floats, y: Floats) -> Floats:
        """ICRS unit vectors (3, ...) of pixel coordinates."""
        east, north = np.radians((self.middle - x) * self.binsz), np.radians((y - self.middle) * self.binsz)
        up = 1.0 / np.sqrt(1.0 + east**2 + north**2)
        return rotate(self._axes.T, np.stack([east * up, north * up, up]))

    def lonlat_to_pix(self, lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
        """Pixel coordinates of positions in deg in the plane's frame."""
        return self.to_pix(rotate(frame_matrix(self.frame).T, lonlat_to_vectors(lon, lat)))

    def to_lonlat(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Positions in deg in the plane's frame."""
        return vectors_to_lonlat(rotate(frame_matrix(self.frame), self.to_vectors(x, y)))

    def pixels_per_deg(self, lon: Floats, lat: Floats) -> Floats:
        """Scale at places (n,), towards north."""
        x, y = self.lonlat_to_pix(np.stack([lon, lon]), np.stack([lat, lat + _ARCSEC]))
        return np.hypot(x[1] - x[0], y[1] - y[0]) / _ARCSEC


@dataclass(frozen=True)
class TurnedRegion:
    """A region that can be turned around the pointing. Lengths are in pixels of the plane.

    Attributes
    ----------
    plane : TangentPlane
        At the pointing; large enough for the circle that the region is turned on.
    shape : PixelRegion
        The region in it.
    """

    plane: TangentPlane
    shape: PixelRegion

    @classmethod
    def around(cls, region: RegionGeom, pointing: Floats, binsz: float) -> TurnedRegion:
        """A region and a pointing (ICRS unit vector) in a plane with pixels of ``binsz`` deg.

        With d the distance of the two, the plane has rint((4 d + 0.3 deg) / binsz) pixels a side.

        Raises
        ------
        GeometryError
            If there is not just one region.
        """
        if len(region.regions) != 1:
            raise GeometryError(
                f"{len(region.regions)} regions at a time cannot be turned around the pointing",
                hint="Give one region of the sky",
            )
        lon, lat = vectors_to_lonlat(rotate(frame_matrix(region.frame), pointing))
        npix = round((4 * float(region.separation(pointing)) + _RIM) / binsz)
        plane = TangentPlane(region.frame, float(lon), float(lat), binsz, max(npix, 1))
        return cls(plane, _flat(region.regions[0], plane))

    @property
    def is_point(self) -> bool:
        """Whether the region is a point."""
        return isinstance(self.shape, PointPixelRegion)

    @property
    def is_round(self) -> bool:
        """Whether the region is a circle or a point, which stay the same when they are turned."""
        return isinstance(self.shape, CirclePixelRegion | PointPixelRegion)

    @property
    def _arm(self) -> tuple[float, float]:
        """From the pointing to the centre of a round region."""
        return float(self.shape.center.x - self.plane.middle), float(self.shape.center.y - self.plane.middle)

    @property
    def _radius(self) -> float:
        """Of a round region; what is nearer to a point than a pixel counts as in it."""
        return 1.0 if self.is_point else float(self.shape.radius)

    @cached_property
    def reach(self) -> tuple[float, float]:
        """Distances from the pointing between which all of the region lies, or a little more."""
        middle = self.plane.middle
        if self.is_round:
            distance, radius = float(np.hypot(*self._arm)), self._radius
            return max(distance - radius - 1, 0.0), distance + radius + 1
        box = self.shape.bounding_box
        x = np.array([box.ixmin - 1, box.ixmax + 1]) - middle
        y = np.array([box.iymin - 1, box.iymax + 1]) - middle
        near_x, near_y = (0.0 if low < 0 < up else min(abs(low), abs(up)) for low, up in (x, y))
        return float(np.hypot(near_x, near_y)), float(np.hypot(abs(x).max(), abs(y).max()))

    def within_reach(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether points can lie in the region when it is turned."""
        squared = (x - self.plane.middle) ** 2 + (y - self.plane.middle) ** 2
        low, up = self.reach
        return (squared >= low**2) & (squared <= up**2)

    def holds(self, x: Floats, y: Floats, angle: float = 0.0) -> NDArray[np.bool_]:
        """Whether points lie in the region turned by an angle (rad, counter-clockwise); at a point: within a pixel."""
        middle, c, s = self.plane.middle, np.cos(angle), np.sin(angle)
        if self.is_round:
            dx, dy = self._arm
            return np.hypot(x - (middle + c * dx - s * dy), y - (middle + s * dx + c * dy)) < self._radius
        # To turn the points back is the same for every shape
        back_x, back_y = x - middle, y - middle
        inside = self.shape.contains(
            PixCoord(middle + c * back_x + s * back_y, middle - s * back_x + c * back_y)
        )
        return np.asarray(inside, dtype=bool)

    def pixels(self) -> tuple[Floats, Floats]:
        """Coordinates x and y (n,) of the plane's pixels that the region can reach when it is turned."""
        along = np.arange(self.plane.npix, dtype=np.float64)
        row, column = np.nonzero(self.within_reach(along, along[:, None]))
        return column.astype(np.float64), row.astype(np.float64)

    def centers(self, angles: tuple[float, ...]) -> tuple[Floats, Floats]:
        """Pixel coordinates (n,) of the centres of a round region turned by some angles."""
        (dx, dy), c, s = self._arm, np.cos(angles), np.sin(angles)
        return self.plane.middle + c * dx - s * dy, self.plane.middle + s * dx + c * dy


@dataclass(frozen=True)
class OffRegions:
    """Regions beside a source, of its region's shape and at its distance from the pointing.

    Attributes
    ----------
    on : TurnedRegion
        The region of the source.
    angles : tuple of float
        By which it is turned, rad, counter-clockwise in the plane.
    reason : str
        Why there are none, if there are none.
    """

    on: TurnedRegion
    angles: tuple[float, ...]
    reason: str = ""

    def __len__(self) -> int:
        return len(self.angles)

    @property
    def ds9(self) -> str:
        """The regions in DS9's notation, one a line."""
        plane = self.on.plane
        if not self.on.is_round:
            middle = PixCoord(plane.middle, plane.middle)
            shapes = [self.on.shape.rotate(middle, Angle(angle, "rad")) for angle in self.angles]
            return RegionGeom.create([shape.to_sky(plane.geom.wcs) for shape in shapes]).ds9
        lon, lat = plane.to_lonlat(*self.on.centers(self.angles))
        if self.on.is_point:
            return "\n".join(
                f"{plane.frame};point({a!r},{d!r})" for a, d in zip(lon.tolist(), lat.tolist(), strict=True)
            )
        radius = self.on.shape.radius / plane.pixels_per_deg(lon, lat)
        rows = zip(lon.tolist(), lat.tolist(), radius.tolist(), strict=True)
        return "\n".join(f"{plane.frame};circle({a!r},{d!r},{r!r})" for a, d, r in rows)

    @property
    def regions(self) -> list[SkyRegion]:
        """The regions of the sky."""
        return parse_regions(self.ds9) if self.angles else []

    @property
    def center_vectors(self) -> Floats:
        """ICRS unit vectors (3, n) of the centres of circles or points."""
        return self.on.plane.to_vectors(*self.on.centers(self.angles))

    def contains(self, vectors: Floats) -> NDArray[np.bool_]:
        """Whether ICRS unit vectors (3, n) lie in any of the regions."""
        x, y = self.on.plane.to_pix(vectors)
        near = np.flatnonzero(self.on.within_reach(x, y))
        x, y = x[near], y[near]
        held = np.zeros(near.size, dtype=bool)
        for angle in self.angles:
            held |= self.on.holds(x, y, angle)
        inside = np.zeros(vectors.shape[1], dtype=bool)
        inside[near[held]] = True
        return inside


def _flat(region: SkyRegion, plane: TangentPlane) -> PixelRegion:
    """The region in a plane.

    Versions of `regions` differ in the scale that they give a circle off the centre of a plane. Here it is that
    along the meridian, as in the numbers this is held against.
    """
    if not isinstance(region, CircleSkyRegion | PointSkyRegion):
        return region.to_pixel(plane.geom.wcs)
    place = region.center.spherical
    lon, lat = np.array([place.lon.deg]), np.array([place.lat.deg])
    x, y = plane.lonlat_to_pix(lon, lat)
    center = PixCoord(float(x[0]), float(y[0]))
    if isinstance(region, PointSkyRegion):
        return PointPixelRegion(center)
    return CirclePixelRegion(center, float(region.radius.to_value(u.deg) * plane.pixels_per_deg(lon, lat)[0]))


def closest(vectors: Floats) -> float:
    """Smallest angle in deg between any two of some unit vectors (3, n)."""
    n = vectors.shape[1]
    return min(float(separation(vectors[:, i + 1 :], vectors[:, i]).min()) for i in range(n - 1))
