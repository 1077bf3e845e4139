"""Pixels on the sky: where each lies, and in which a position falls."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from gammaflow.maps.frames import frame_matrix, lonlat_to_vectors, rotate, vectors_to_lonlat
from gammaflow.maps.pixel_arrays import PixelWindow
from gammaflow.maps.projection import SkyProjection


@dataclass(frozen=True, eq=False, repr=False)
class SkyPixels:
    """The image of a map: a projection, and a window of its pixels. `WcsGeom` adds the other axes.

    Parameters
    ----------
    window : `PixelWindow`
        Projection and pixels.
    """

    window: PixelWindow

    # --- what it is

    @property
    def sky(self) -> SkyProjection:
        """The projection."""
        return self.window.sky

    @property
    def frame(self) -> str:
        """Sky frame: ``icrs``, ``galactic`` or ``fk5``."""
        return self.sky.frame

    @property
    def projection(self) -> str:
        """FITS projection code."""
        return self.sky.code

    @property
    def npix(self) -> tuple[int, int]:
        """Columns and rows (nx, ny)."""
        return self.window.npix

    @property
    def crpix(self) -> tuple[float, float]:
        """Reference pixel (x, y), counted from one."""
        x, y = self.window.origin
        return 1 - x, 1 - y

    @property
    def shape_image(self) -> tuple[int, int]:
        """Rows and columns (ny, nx)."""
        return self.npix[1], self.npix[0]

    @property
    def pixel_scales(self) -> tuple[float, float]:
        """Pixel size along longitude and latitude, deg."""
        return self.sky.pixel_scales

    @property
    def width(self) -> tuple[float, float]:
        """Size along longitude and latitude, deg: pixel size times number of pixels."""
        return self.pixel_scales[0] * self.npix[0], self.pixel_scales[1] * self.npix[1]

    @property
    def center_vector(self) -> NDArray[np.float64]:
        """ICRS unit vector (3,) of the centre."""
        return self.pix_to_vectors((self.npix[0] - 1) / 2, (self.npix[1] - 1) / 2)

    @property
    def center_lonlat(self) -> tuple[float, float]:
        """Longitude and latitude of the centre in the own frame, deg."""
        if self.crpix == ((self.npix[0] + 1) / 2, (self.npix[1] + 1) / 2):
            return self.sky.crval  # free of rounding
        lon, lat = vectors_to_lonlat(rotate(frame_matrix(self.frame), self.center_vector))
        return float(lon), float(lat)

    @property
    def center_skydir(self) -> SkyCoord:
        """The centre, in the own frame."""
        return SkyCoord(*self.center_lonlat, unit="deg", frame=self.frame)

    @property
    def header(self) -> dict[str, str | int | float]:
        """FITS WCS cards of the image, plain values that JSON can hold; `from_header` reads them back."""
        size: dict[str, str | int | float] = {"NAXIS": 2, "NAXIS1": self.npix[0], "NAXIS2": self.npix[1]}
        return size | self.sky.header_cards() | {"CRPIX1": self.crpix[0], "CRPIX2": self.crpix[1]}

    @cached_property
    def wcs(self) -> WCS:
        """The astropy WCS of the image, not to be changed."""
        wcs = self.sky.wcs(*self.crpix)
        wcs.array_shape = self.shape_image
        return wcs

    # --- pixels and sky

    def pixel_vectors(self) -> NDArray[np.float64]:
        """ICRS unit vectors of the pixel centres, (3, ny, nx), read-only; NaN for pixels off the sky.

        Computed once per parent and process; a cutout gets a view.
        """
        return self.window.vectors()

    def solid_angle(self) -> NDArray[np.float64]:
        """Solid angle of the pixels in sr, (ny, nx), read-only; 0 for pixels off the sky.

        Plate carree: the exact cell b (sin lat2 - sin lat1) in native latitude. Other projections: the
        spherical quadrilateral of the pixel's corners.
        """
        return self.window.solid_angles()

    def pix_to_vectors(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """ICRS unit vectors (3, ...) of pixel coordinates, integer at pixel centres, 0 at the first."""
        i, j = self.window.origin
        return self.sky.to_vectors(np.asarray(x, dtype=np.float64) + i, np.asarray(y, dtype=np.float64) + j)

    def vectors_to_pix(self, vectors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixel coordinates ``(x, y)`` of ICRS unit vectors (3, ...); NaN where the projection has no such
        point.
        """
        i, j = self.sky.to_plane(vectors)
        # columns are counted in the turn of longitude that the parent is centred on
        middle = (self.window.parent_npix[0] + 1) / 2 - self.window.parent_crpix[0]
        if self.sky.is_native and middle != 0:
            turn = abs(360.0 / self.sky.cdelt[0])
            i = i - turn * np.floor((i - middle) / turn + 0.5)
        i0, j0 = self.window.origin
        return i - i0, j - j0

    def sky_to_pix(self, lon: ArrayLike, lat: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixel coordinates ``(x, y)`` of longitudes and latitudes in deg in the own frame."""
        return self.vectors_to_pix(rotate(frame_matrix(self.frame).T, lonlat_to_vectors(lon, lat)))

    def pix_to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Longitude and latitude in deg in the own frame of pixel coordinates."""
        return vectors_to_lonlat(rotate(frame_matrix(self.frame), self.pix_to_vectors(x, y)))

    def contains(self, vectors: ArrayLike) -> NDArray[np.bool_]:
        """Whether ICRS unit vectors (3, ...) fall in a pixel."""
        x, y = self.vectors_to_pix(vectors)
        column, row = np.floor(x + 0.5), np.floor(y + 0.5)
        return (column >= 0) & (column < self.npix[0]) & (row >= 0) & (row < self.npix[1])
