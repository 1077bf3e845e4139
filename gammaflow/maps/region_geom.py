"""The geometry of a spectrum: a region on the sky, and the axes of what is counted in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike, NDArray
from regions import (
    CircleSkyRegion,
    PixCoord,
    PixelRegion,
    PointSkyRegion,
    SkyRegion,
)

from gammaflow.errors import GeometryError
from gammaflow.maps.alignment import axes_difference
from gammaflow.maps.angles import pair_deg
from gammaflow.maps.axis import MapAxis
from gammaflow.maps.frames import (
    frame_matrix,
    rotate,
    separation,
    vectors_to_lonlat,
)
from gammaflow.maps.geom import WcsGeom
from gammaflow.maps.region_mask import RegionLike, parse_regions
from gammaflow.maps.region_text import HINT, anchors, ds9_text, mean_vector, region_numbers, united_parts

DEFAULT_BINSZ_WCS = 0.01
_SAME_DEG = 1e-6


@dataclass(frozen=True, eq=False, repr=False)
class RegionGeom:
    """A region of the sky as the one pixel of a spectrum.

    Whether a position is inside, how large the region is, and its pixels are decided in the tangential plane
    (TAN) around the centre. Several regions are their union. Equality is that of the regions' numbers within
    1e-6 deg, and of the axes.

    Made by `create`.

    Parameters
    ----------
    ds9 : str
        The region or regions in DS9's notation, one a line; empty when there is none.
    axes : tuple of `MapAxis`
        Non-spatial axes.
    binsz_wcs : float
        Pixel size of the tangential plane, deg.
    """

    ds9: str
    axes: tuple[MapAxis, ...] = ()
    binsz_wcs: float = DEFAULT_BINSZ_WCS

    @classmethod
    def create(
        cls,
        region: RegionLike | None,
        axes: Sequence[MapAxis] | None = None,
        binsz_wcs: object = DEFAULT_BINSZ_WCS,
    ) -> RegionGeom:
        """Geometry of a region.

        Parameters
        ----------
        region : SkyRegion, DS9 string, or a sequence of them; or None
            Circle, annulus, ellipse, rectangle, polygon or point. Several are their union.
        axes : sequence of `MapAxis`, optional
            Non-spatial axes.
        binsz_wcs : float [deg], str or `~astropy.units.Quantity`
            Pixel size of the plane in which the region is looked at.

        Raises
        ------
        GeometryError
            A region in pixels, or one that is an intersection or the outside of another.
        DataError
            What is no region.
        """
        parts = [] if region is None else united_parts(region)
        return cls(ds9_text(parts), tuple(axes or ()), pair_deg(binsz_wcs, "binsz_wcs")[0])

    # --- what it is

    @cached_property
    def regions(self) -> tuple[SkyRegion, ...]:
        """The regions whose union it is; not to be changed."""
        return tuple(parse_regions(self.ds9)) if self.ds9 else ()

    @property
    def region(self) -> SkyRegion | None:
        """The region; a compound one where there are several; None where there is none."""
        if not self.regions:
            return None
        whole = self.regions[0]
        for part in self.regions[1:]:
            whole = whole | part
        return whole

    @property
    def frame(self) -> str:
        """Sky frame of the (first) region."""
        return str(anchors(self.regions[0]).frame.name) if self.regions else "icrs"

    @property
    def is_point(self) -> bool:
        """Whether all regions are points."""
        return bool(self.regions) and all(isinstance(part, PointSkyRegion) for part in self.regions)

    @property
    def radius(self) -> float:
        """Radius of a circle in deg; GeometryError where it is another region."""
        if len(self.regions) != 1 or not isinstance(self.regions[0], CircleSkyRegion):
            raise GeometryError(f"the region {self.ds9!r} has no radius", hint="Only a circle has one.")
        return float(self.regions[0].radius.to_value(u.deg))

    @cached_property
    def center_vector(self) -> NDArray[np.float64]:
        """ICRS unit vector (3,) of the centre; of several regions, and of a polygon's corners, the mean."""
        total = sum(mean_vector(part) for part in self._required())
        center = np.asarray(total / np.linalg.norm(total))
        center.flags.writeable = False
        return center

    @property
    def center_lonlat(self) -> tuple[float, float]:
        """Longitude and latitude of the centre in the own frame, deg."""
        if len(self.regions) == 1 and hasattr(self.regions[0], "center"):
            there = self.regions[0].center.spherical  # free of rounding
            return float(there.lon.deg), float(there.lat.deg)
        lon, lat = vectors_to_lonlat(rotate(frame_matrix(self.frame), self.center_vector))
        return float(lon), float(lat)

    @property
    def center_skydir(self) -> SkyCoord:
        """The centre, in the own frame; not a number where there is no region."""
        if not self.regions:
            return SkyCoord(np.nan, np.nan, unit="deg", frame="icrs")
        return SkyCoord(*self.center_lonlat, unit="deg", frame=self.frame)

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of a spectrum's array: the axes in reverse order."""
        return tuple(axis.nbin for axis in reversed(self.axes))

    def energy_mask(self, energy_min: object = None, energy_max: object = None) -> NDArray[np.bool_]:
        """Bins that lie between two energies as a whole, of shape `data_shape`; see `MapAxis.energy_mask`."""
        inside = self.axis("energy").energy_mask(energy_min, energy_max)
        place = len(self.axes) - 1 - [axis.name for axis in self.axes].index("energy")
        shape = [1] * len(self.data_shape)
        shape[place] = len(inside)
        return np.broadcast_to(inside.reshape(shape), self.data_shape).copy()

    def axis(self, name: str) -> MapAxis:
        """The axis of a name; GeometryError if there is none."""
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise GeometryError(
            f"there is no axis {name!r}", hint=f"There are: {[axis.name for axis in self.axes]}."
        )

    # --- in the plane

    def contains(self, vectors: ArrayLike) -> NDArray[np.bool_]:
        """Whether ICRS unit vectors (3, ...) lie in the region.

        A point holds nothing: what is counted there is decided by the response's RAD_MAX.
        """
        return self._contains_pix(*self._plane.vectors_to_pix(np.asarray(vectors, dtype=np.float64)))

    def separation(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Angle in deg between ICRS unit vectors (3, ...) and the centre."""
        return separation(np.asarray(vectors, dtype=np.float64), self.center_vector)

    def solid_angle(self) -> float:
        """Solid angle in sr: the area in the tangential plane.

        Of several regions that overlap, what is common counts once (to a hundredth of a plane's pixel). A point
        has none: 0.
        """
        self._required()
        pixel = np.radians(self.binsz_wcs) ** 2
        if any(_may_overlap(a, b) for a, b in combinations(self._flat, 2)):
            return float(self.pixels_and_weights()[1].sum() * pixel)
        return float(sum(part.area for part in self._flat) * pixel)

    @property
    def width(self) -> tuple[float, float]:
        """Size in deg of the box of whole plane's pixels around the region, along longitude and latitude."""
        first, last = self._bounds
        return (last[0] - first[0]) * self.binsz_wcs, (last[1] - first[1]) * self.binsz_wcs

    def to_wcs_geom(self, width_min: object = None) -> WcsGeom:
        """The map in the tangential plane that just holds the region, with the same axes.

        Parameters
        ----------
        width_min : float [deg], str or `~astropy.units.Quantity`; or a pair of them, optional
            Least width along longitude and latitude.
        """
        (x0, y0), (x1, y1) = self._bounds
        # centred on the region's centre, so that each side is twice the longer half
        half = [max(-x0, x1), max(-y0, y1)]
        if width_min is not None:
            least = pair_deg(width_min, "width_min")
            half = [max(h, least[k] / self.binsz_wcs / 2) for k, h in enumerate(half)]
        npix = [max(1, int(np.ceil(2 * h - 1e-9))) for h in half]
        return WcsGeom.create(
            self.center_lonlat, self.binsz_wcs, npix=(npix[0], npix[1]), frame=self.frame, proj="TAN",
            axes=self.axes,
        )  # fmt: skip

    def pixels_and_weights(self, oversampling: int = 10) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The pixels of `to_wcs_geom` that the region touches, and how much of each is inside.

        Parameters
        ----------
        oversampling : int
            Each pixel is looked at in this many points along each side.

        Returns
        -------
        vectors : (3, n)
            ICRS unit vectors of the pixel centres. A point is one pixel, its own.
        weights : (n,)
            Fractions, above 0 and up to 1.
        """
        if self.is_point:
            vectors = np.stack([mean_vector(part) for part in self.regions], axis=1)
            return vectors, np.ones(vectors.shape[1])
        geom = self.to_wcs_geom().to_image()
        weights = self.weights_on(geom, oversampling)
        inside = weights > 0
        return geom.pixel_vectors()[:, inside], weights[inside]

    def weights_on(self, geom: WcsGeom, oversampling: int = 10) -> NDArray[np.float64]:
        """How much of each pixel (ny, nx) of a map is inside the region, 0 to 1, from a grid of points in it."""
        ny, nx = geom.shape_image
        weights = np.zeros((ny, nx))
        step = (np.arange(oversampling) + 0.5) / oversampling - 0.5
        columns = (np.arange(nx)[:, None] + step).ravel()
        for row in range(ny):
            x, y = np.broadcast_arrays(columns, (row + step)[:, None])
            inside = self.contains(geom.pix_to_vectors(x, y))
            weights[row] = inside.reshape(oversampling, nx, oversampling).mean(axis=(0, 2))
        return weights

    # --- relatives

    def to_image(self) -> RegionGeom:
        """The same without axes."""
        return RegionGeom(self.ds9, (), self.binsz_wcs)

    def to_cube(self, axes: Sequence[MapAxis]) -> RegionGeom:
        """The same with further axes after its own."""
        return RegionGeom(self.ds9, (*self.axes, *axes), self.binsz_wcs)

    def with_axes(self, axes: Sequence[MapAxis]) -> RegionGeom:
        """The same region with other axes."""
        return RegionGeom(self.ds9, tuple(axes), self.binsz_wcs)

    def drop(self, name: str) -> RegionGeom:
        """The same without the axis of a name."""
        gone = self.axis(name)
        return RegionGeom(self.ds9, tuple(axis for axis in self.axes if axis is not gone), self.binsz_wcs)

    def union(self, other: RegionGeom) -> RegionGeom:
        """Both regions together, on the axes of the first."""
        return RegionGeom("\n".join(t for t in (self.ds9, other.ds9) if t), self.axes, self.binsz_wcs)

    # --- comparison

    def difference(self, other: RegionGeom) -> str | None:
        """In words, the first thing in which another geometry differs; ``None`` if they are the same."""
        return self.region_difference(other) or axes_difference(self.axes, other.axes)

    def region_difference(self, other: RegionGeom) -> str | None:
        """In words, the first thing in which another region differs, whatever the axes."""
        if self.ds9 == other.ds9:
            return None
        kinds = [[type(part).__name__ for part in geom.regions] for geom in (self, other)]
        if kinds[0] != kinds[1]:
            return f"regions {', '.join(kinds[0]) or 'none'} and {', '.join(kinds[1]) or 'none'}"
        for mine, theirs in zip(self.regions, other.regions, strict=True):
            for (name, a), (_, b) in zip(region_numbers(mine), region_numbers(theirs), strict=True):
                if not abs(a - b) <= _SAME_DEG:
                    return f"{name} of the region: {a:.10g} and {b:.10g} deg"
        return None

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, RegionGeom) and self.difference(other) is None)

    def __hash__(self) -> int:
        # equality is tolerant, so no number of the region can enter
        return hash((self.ds9.count("("), self.axes))

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # and nothing that is cached

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        axes = "".join(f", {axis.name} {axis.nbin}" for axis in self.axes)
        return f"RegionGeom({self.ds9 or 'no region'}{axes})".replace("\n", " ")

    # --- what it is made of

    def _required(self) -> tuple[SkyRegion, ...]:
        if not self.regions:
            raise GeometryError("there is no region", where="RegionGeom", hint=HINT)
        return self.regions

    @cached_property
    def _plane(self) -> WcsGeom:
        """One pixel of the plane, at the centre, whose coordinates are (0, 0)."""
        self._required()
        return WcsGeom.create(self.center_lonlat, self.binsz_wcs, npix=1, frame=self.frame, proj="TAN")

    @cached_property
    def _flat(self) -> tuple[PixelRegion, ...]:
        """The regions in the plane."""
        return tuple(part.to_pixel(self._plane.wcs) for part in self._required())

    @cached_property
    def _bounds(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """First and last edges (x, y) in the plane of the whole pixels that the regions touch."""
        if self.is_point and len(self.regions) == 1:
            return (-0.5, -0.5), (0.5, 0.5)
        boxes = [part.bounding_box for part in self._flat]
        return (
            (min(box.ixmin for box in boxes) - 0.5, min(box.iymin for box in boxes) - 0.5),
            (max(box.ixmax for box in boxes) - 0.5, max(box.iymax for box in boxes) - 0.5),
        )

    def _contains_pix(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        inside = np.zeros(np.shape(x), dtype=bool)
        shown = np.isfinite(x) & np.isfinite(y)  # the plane shows half of the sky
        points = PixCoord(np.where(shown, x, 0.0), np.where(shown, y, 0.0))
        for sky, flat in zip(self._required(), self._flat, strict=True):
            if not isinstance(sky, PointSkyRegion):
                inside |= np.asarray(flat.contains(points), dtype=bool)
        return inside & shown


def _may_overlap(one: PixelRegion, two: PixelRegion) -> bool:
    a, b = one.bounding_box, two.bounding_box
    return a.ixmin < b.ixmax and b.ixmin < a.ixmax and a.iymin < b.iymax and b.iymin < a.iymax
