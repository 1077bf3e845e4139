"""The pixel grid of a map on the sky."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import GeometryError, NoOverlapError
from gammaflow.maps.alignment import (
    axes_difference,
    crpix_difference,
    sky_difference,
    trim_window,
    whole_shift,
)
from gammaflow.maps.angles import check_width, pair_deg
from gammaflow.maps.axis import MapAxis
from gammaflow.maps.frames import position_lonlat, position_vector, vectors_to_lonlat
from gammaflow.maps.pixel_arrays import PixelWindow
from gammaflow.maps.projection import SkyProjection
from gammaflow.maps.region_mask import RegionLike, region_mask
from gammaflow.maps.sky_mask import SkyMask
from gammaflow.maps.sky_pixels import SkyPixels

_MAX_PIXELS = 2**31 - 1
_HINT_ALIGN = "One must be a cutout of the other: the same skydir, binsz, frame, projection and axes."


@dataclass(frozen=True, eq=False, repr=False)
class WcsGeom(SkyPixels):
    """A map's pixels on the sky, with the non-spatial axes of the map.

    Made by `create`, `from_header` and `cutout`. A cutout knows its parent, and shares what is computed for
    it. Equality is that of pixels and axes, within 1e-6; it does not ask for parents.

    Parameters
    ----------
    window : `PixelWindow`
        Projection and pixels.
    axes : tuple of `MapAxis`
        Non-spatial axes, the one that varies fastest in `data_shape` first.
    """

    axes: tuple[MapAxis, ...] = ()

    @classmethod
    def create(
        cls,
        skydir: SkyCoord | tuple[float, float] | None = None,
        binsz: object = 1.0,
        width: object = None,
        npix: int | tuple[int, int] | None = None,
        frame: str = "icrs",
        proj: str = "CAR",
        axes: Sequence[MapAxis] = (),
    ) -> WcsGeom:
        """Geometry centred on a sky position, which is also the reference point of the projection.

        The number of pixels is rint(width / binsz), the reference pixel (npix + 1) / 2, the pixel size
        (-binsz, +binsz).

        Parameters
        ----------
        skydir : `~astropy.coordinates.SkyCoord` or (float, float), optional
            Centre; numbers are longitude and latitude in deg in ``frame``. Default (0, 0).
        binsz, width : float [deg], str or `~astropy.units.Quantity`; or a pair of them
            Pixel size, and size of the map, along longitude and latitude. Without ``width`` and ``npix``:
            all the sky.
        npix : int or (int, int), optional
            Number of pixels, in place of ``width``.
        frame : {"icrs", "galactic", "fk5"}
            Sky frame.
        proj : str
            FITS projection code.
        axes : sequence of `MapAxis`
            Non-spatial axes.

        Raises
        ------
        GeometryError
            An unknown frame or projection, sizes that are not positive, a map larger than the sky.
        """
        crval = position_lonlat(skydir, frame)
        size = pair_deg(binsz, "binsz")
        if npix is not None:
            pixels = (npix, npix) if isinstance(npix, int | np.integer) else (npix[0], npix[1])
        else:
            extent = (360.0, 180.0) if width is None else pair_deg(width, "width")
            check_width(extent, proj)
            # rounded first, as a size too small for its map may overflow
            pixels = (round(min(extent[0] / size[0], 1e12)), round(min(extent[1] / size[1], 1e12)))
        sky = SkyProjection(frame, proj, crval, (-size[0], size[1]))
        return cls._whole(
            sky, ((pixels[0] + 1) / 2, (pixels[1] + 1) / 2), (int(pixels[0]), int(pixels[1])), axes
        )

    @classmethod
    def from_header(
        cls, header: Mapping[str, Any] | fits.Header, axes: Sequence[MapAxis] = (), where: str = ""
    ) -> WcsGeom:
        """Geometry of a FITS image header; axes of a cube beyond the sky are left out.

        Raises
        ------
        GeometryError
            If the header has no image size, or no celestial WCS of a supported kind.
        """
        sky, crpix, npix = SkyProjection.from_header(header, where)
        return cls._whole(sky, crpix, npix, axes)

    @classmethod
    def _whole(
        cls, sky: SkyProjection, crpix: tuple[float, float], npix: tuple[int, int], axes: Sequence[MapAxis]
    ) -> WcsGeom:
        if min(npix) < 1 or npix[0] * npix[1] > _MAX_PIXELS:
            raise GeometryError(
                f"a map of {npix[0]} x {npix[1]} pixels of {abs(sky.cdelt[0]):g} x {abs(sky.cdelt[1]):g} deg",
                hint="Check width and binsz, and their units: deg where none is said.",
            )
        return cls(PixelWindow(sky, crpix, npix, (0, 0), npix), tuple(axes))

    def __post_init__(self) -> None:
        names = [axis.name for axis in self.axes]
        if len(set(names)) != len(names):
            raise GeometryError(f"two axes of the same name among {names}")

    # --- what it is

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of a map's array: the axes in reverse order, then (ny, nx)."""
        return (*(axis.nbin for axis in reversed(self.axes)), *self.shape_image)

    @property
    def is_image(self) -> bool:
        """Whether there are no axes but the sky's."""
        return not self.axes

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

    def region_mask(self, regions: RegionLike, inside: bool = True) -> SkyMask:
        """Pixels whose centre lies inside any of some regions, (ny, nx); it knows its image.

        Parameters
        ----------
        regions : region, DS9 string, or a sequence of them
            Sky or pixel regions of the `regions` package.
        inside : bool
            With ``False`` the pixels outside all of them.
        """
        mask = region_mask(self.window, regions)
        return SkyMask.of(mask if inside else ~mask, self.to_image())

    # --- relatives

    @property
    def parent(self) -> WcsGeom:
        """The geometry this one was cut from; itself if it was not."""
        size = self.window.parent_npix
        return (
            self if self.npix == size else WcsGeom(replace(self.window, offset=(0, 0), npix=size), self.axes)
        )

    @property
    def parent_slices(self) -> tuple[slice, slice]:
        """Rows and columns of the parent that this geometry covers."""
        (x, y), (nx, ny) = self.window.offset, self.npix
        return slice(y, y + ny), slice(x, x + nx)

    def cutout(
        self,
        position: SkyCoord | ArrayLike,
        width: object,
        min_npix: int = 1,
        odd_npix: bool = False,
        mode: str = "trim",
    ) -> WcsGeom:
        """The part of this geometry around a position, as Gammapy's cutout.

        s = round(width / pixel size) pixels from ceil(p - s / 2) on, p the position's pixel; what lies
        outside is trimmed. See `alignment.trim_window`.

        Parameters
        ----------
        position : `~astropy.coordinates.SkyCoord` or array (3,)
            Centre, a sky coordinate or an ICRS unit vector.
        width : float [deg], str or `~astropy.units.Quantity`; or a pair of them
            Size along longitude and latitude.
        min_npix : int
            Least number of pixels, before trimming.
        odd_npix : bool
            Round the number of pixels up to an odd one.
        mode : {"trim", "strict"}
            Whether something may lie outside.

        Raises
        ------
        NoOverlapError
            If no pixel is left.
        GeometryError
            If something lies outside that must not, or the mode is unknown.
        """
        if mode not in ("trim", "strict"):
            raise GeometryError(
                f"a cutout of mode {mode!r}",
                hint="Known are trim and strict; to have more pixels, pad the map.",
            )
        extent = pair_deg(width, "width")
        vector = position_vector(position)
        offset, npix = [0, 0], [0, 0]
        for k, center in enumerate(self.vectors_to_pix(vector)):
            wanted = max(extent[k] / self.pixel_scales[k], float(min_npix))
            size = math.ceil(wanted) // 2 * 2 + 1 if odd_npix else round(wanted)
            first, last = trim_window(float(center), size, self.npix[k]) if np.isfinite(center) else (0, 0)
            if first >= last:
                cut = f"{extent[0]:g} x {extent[1]:g} deg around {_say(vector)}"
                whole = f"{self.width[0]:g} x {self.width[1]:g} deg around {_say(self.center_vector)}"
                raise NoOverlapError(
                    f"a cutout of {cut} does not touch the map of {whole}",
                    hint="Choose a larger map, or exclude the observation.",
                )
            if mode == "strict" and last - first < size:
                raise GeometryError(
                    f"of a cutout of {size} {('columns', 'rows')[k]} only {last - first} are on the map",
                    hint="Choose a smaller width, or the mode trim.",
                )
            offset[k], npix[k] = self.window.offset[k] + first, last - first
        return WcsGeom(
            replace(self.window, offset=(offset[0], offset[1]), npix=(npix[0], npix[1])), self.axes
        )

    def slices_in(self, other: WcsGeom) -> tuple[slice, slice]:
        """Rows and columns of another geometry that this one covers.

        Axes are compared where both geometries have some.

        Raises
        ------
        GeometryError
            If the pixels are not those of the other geometry, or lie partly outside it; it says which
            number differs.
        """
        difference = sky_difference(self.sky, other.sky)
        if difference is None and self.axes and other.axes:
            difference = axes_difference(self.axes, other.axes)
        starts = [0, 0]
        for k in (0, 1):
            if difference is None:
                starts[k], difference = whole_shift(self.crpix[k], other.crpix[k], f"CRPIX{k + 1}")
        if difference is not None:
            raise GeometryError(f"the geometries are not aligned: {difference}", hint=_HINT_ALIGN)
        for k, what in enumerate(("columns", "rows")):
            start, stop = starts[k], starts[k] + self.npix[k]
            if start < 0 or stop > other.npix[k]:
                raise GeometryError(
                    f"{what} {start} to {stop} of another geometry that has 0 to {other.npix[k]}",
                    hint="One must lie inside the other.",
                )
        (x, y), (nx, ny) = starts, self.npix
        return slice(y, y + ny), slice(x, x + nx)

    def to_binsz(self, binsz: object) -> WcsGeom:
        """Geometry of the same centre, frame, projection and axes, of rint(width / binsz) pixels of another
        size.
        """
        center, width = self.center_lonlat, self.width
        return WcsGeom.create(center, binsz, width, frame=self.frame, proj=self.projection, axes=self.axes)

    def to_image(self) -> WcsGeom:
        """The same without axes."""
        return WcsGeom(self.window)

    def to_cube(self, axes: Sequence[MapAxis]) -> WcsGeom:
        """The same with further axes after its own."""
        return WcsGeom(self.window, (*self.axes, *axes))

    def drop(self, name: str) -> WcsGeom:
        """The same without the axis of a name."""
        gone = self.axis(name)
        return WcsGeom(self.window, tuple(axis for axis in self.axes if axis is not gone))

    # --- comparison

    def difference(self, other: WcsGeom) -> str | None:
        """In words, the first thing in which another geometry differs; ``None`` if they are the same.

        The WCS within 1e-6 (deg, pixels, relative), the edges of axes within 1e-6 (relative), as in Gammapy.
        """
        if self.npix != other.npix:
            return f"{self.npix[0]} x {self.npix[1]} and {other.npix[0]} x {other.npix[1]} pixels"
        return (
            axes_difference(self.axes, other.axes)
            or sky_difference(self.sky, other.sky)
            or crpix_difference(self.crpix, other.crpix)
        )

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, WcsGeom) and self.difference(other) is None)

    def __hash__(self) -> int:
        # equality is tolerant, so no float can enter
        return hash((self.frame, self.projection, self.npix, self.axes))

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # and not the WCS

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        (lon, lat), (dx, dy), (nx, ny) = self.center_lonlat, self.pixel_scales, self.npix
        axes = "".join(f", {axis.name} {axis.nbin}" for axis in self.axes)
        return (
            f"WcsGeom({self.projection}, {self.frame}, {nx} x {ny} pixels of {dx:.6g} x {dy:.6g} deg "
            f"around ({lon:.6g}, {lat:.6g}) deg{axes})"
        )


def _say(vector: NDArray[np.float64]) -> str:
    ra, dec = vectors_to_lonlat(vector)
    return f"RA {float(ra):.5g}, Dec {float(dec):.5g} deg"
