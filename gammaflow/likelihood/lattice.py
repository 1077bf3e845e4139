"""The window of pixels around a source, and where the source lies in it.

Sky frequencies are ``u = J^T nu`` (cycles/deg), ``nu`` those of the window (`frequencies`), J the derivative of the
pixel position with respect to east and north of the model's own frame, taken once, at the anchor. The position itself
enters exactly, by the WCS, as a phase.

Pixel positions are *absolute*: counted from the pixel that holds the projection's reference point. So
cut-outs of one parent have the same lattice for the same source, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from gammaflow.errors import GeometryError
from gammaflow.likelihood.frequencies import Frequencies, frequencies_of
from gammaflow.maps import WcsGeom
from gammaflow.maps.frames import frame_matrix
from gammaflow.maps.projection import SkyProjection

Floats = NDArray[np.float64]

JACOBIAN_STEP = 2e-3  # deg
POSITION_STEP = 1e-3  # deg
#: Projections whose columns come round after a turn of longitude.
CYLINDRICAL = ("CAR", "CEA", "CYP", "MER")
_STENCIL = np.array(
    [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)], dtype=np.float64
)


@dataclass(frozen=True)
class PixelGrid:
    """The pixels of a map, counted from the one at the reference point of its projection.

    Parameters
    ----------
    sky : SkyProjection
    phase : tuple of float
        Where in its pixel the reference point lies, [0, 1).
    """

    sky: SkyProjection
    phase: tuple[float, float]

    @classmethod
    def of(cls, geom: WcsGeom) -> tuple[PixelGrid, tuple[int, int]]:
        """The grid of a geometry, and the absolute column and row of the geometry's first pixel."""
        reference = [float(geom.crpix[0]) - 1.0, float(geom.crpix[1]) - 1.0]
        whole = [math.floor(r) for r in reference]
        phase = [round(r - w, 9) for r, w in zip(reference, whole, strict=True)]
        return cls(geom.sky, (phase[0], phase[1])), (-whole[0], -whole[1])

    def pixels(self, vectors: Floats) -> Floats:
        """Absolute pixel positions (2, ...) of ICRS unit vectors (3, ...)."""
        i, j = self.sky.to_plane(vectors)
        return np.stack([i + self.phase[0], j + self.phase[1]])

    def vectors(self, x: Floats, y: Floats) -> Floats:
        """ICRS unit vectors (3, ...) of absolute pixel positions; NaN off the sky."""
        return self.sky.to_vectors(np.asarray(x) - self.phase[0], np.asarray(y) - self.phase[1])

    @property
    def turn(self) -> float:
        """Columns in a turn of longitude, 0 where columns do not come round."""
        return abs(360.0 / self.sky.cdelt[0]) if self.sky.code in CYLINDRICAL else 0.0


@dataclass(frozen=True)
class Position:
    """Where a source lies in its window, and how that changes with its coordinates.

    Parameters
    ----------
    pixel : array (2,)
        x and y, counted from the window's first pixel.
    first : array (2, 2)
        ``d pixel / d (lon, lat)``, pixel/deg; a row per coordinate lon, lat.
    second : array (2, 2, 2)
        Second derivatives, pixel/deg2, first two indices the coordinates.
    """

    pixel: Floats
    first: Floats
    second: Floats


@dataclass(frozen=True)
class Lattice:
    """N x N pixels around the place where a source starts (the anchor).

    Parameters
    ----------
    grid : PixelGrid
    frame : str
        Sky frame of the model.
    anchor : tuple of float
        lon, lat in deg in that frame.
    near : tuple of float
        The anchor's absolute pixel position, on the map's turn of longitude.
    half_size : int
        The window reaches at least so many pixels to each side.
    size : int
        N.
    alias : int
        Alias order a.
    """

    grid: PixelGrid
    frame: str
    anchor: tuple[float, float]
    near: tuple[float, float]
    half_size: int
    size: int
    alias: int = 1

    @classmethod
    def around(
        cls,
        geom: WcsGeom,
        frame: str,
        lon: float,
        lat: float,
        half_size: int,
        *,
        alias: int = 1,
        size: int | None = None,
    ) -> Lattice:
        """The window of a source on a map.

        Parameters
        ----------
        geom : WcsGeom
            The map; the window may stick out of it.
        frame : str
            Frame of ``lon`` and ``lat`` (deg).
        half_size : int
            Pixels that the window reaches at least to each side.
        alias : int
            Alias order.
        size : int, optional
            N; the next number above ``2 half_size`` that transforms fast when not given.

        Raises
        ------
        GeometryError
            When the position is not on the map's projection.
        """
        grid, origin = PixelGrid.of(geom)
        vector = unit_vectors(frame, np.array(lon), np.array(lat))
        x, y = geom.vectors_to_pix(vector)
        if not (np.isfinite(x) and np.isfinite(y)):
            raise GeometryError(
                f"lon {lon:g}, lat {lat:g} deg ({frame}) is not on the map's {geom.projection} projection",
                hint="Move the source, or choose a projection that holds it.",
            )
        near = (float(x) + origin[0], float(y) + origin[1])
        n = scipy.fft.next_fast_len(2 * half_size + 1, real=True) if size is None else size
        return cls(
            grid, frame, (float(lon), float(lat)), (round(near[0], 6), round(near[1], 6)), half_size, n, alias
        )

    @cached_property
    def origin(self) -> tuple[int, int]:
        """Absolute column and row of the window's first pixel."""
        return round(self.near[0]) - self.size // 2, round(self.near[1]) - self.size // 2

    @cached_property
    def jacobian(self) -> Floats:
        """J = d(pixel x, y) / d(east, north) at the anchor, (2, 2), pixel/deg."""
        lon, lat = np.radians(self.anchor)
        here = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        east = np.array([-np.sin(lon), np.cos(lon), 0.0])
        north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
        step = math.radians(JACOBIAN_STEP)
        places = np.stack(
            [math.cos(step) * here + sign * math.sin(step) * way for way in (east, north) for sign in (1, -1)]
        )
        pixels = self._local(frame_matrix(self.frame).T @ places.T)
        return np.stack([pixels[:, 0] - pixels[:, 1], pixels[:, 2] - pixels[:, 3]], axis=1) / (
            2 * JACOBIAN_STEP
        )

    @property
    def pixel_size(self) -> float:
        """Size of a pixel in deg at the anchor: the root of its area."""
        return float(abs(np.linalg.det(self.jacobian)) ** -0.5)

    def position(self, lon: float, lat: float) -> Position:
        """Pixel position of a place, exactly, with its derivatives by central differences of the WCS."""
        steps = POSITION_STEP * _STENCIL
        pixels = self._local(unit_vectors(self.frame, lon + steps[:, 0], lat + steps[:, 1]))
        p, h = pixels, POSITION_STEP
        first = np.stack([p[:, 1] - p[:, 2], p[:, 3] - p[:, 4]]) / (2 * h)
        mixed = (p[:, 5] - p[:, 6] - p[:, 7] + p[:, 8]) / (4 * h * h)
        second = np.empty((2, 2, 2))
        second[0, 0] = (p[:, 1] - 2 * p[:, 0] + p[:, 2]) / h**2
        second[1, 1] = (p[:, 3] - 2 * p[:, 0] + p[:, 4]) / h**2
        second[0, 1] = second[1, 0] = mixed
        return Position(p[:, 0], first, second)

    def _local(self, vectors: Floats) -> Floats:
        """Pixel positions (2, ...) of ICRS unit vectors, counted from the window's first pixel."""
        pixels = self.grid.pixels(vectors)
        if self.grid.turn:
            turn = self.grid.turn
            pixels[0] -= turn * np.rint((pixels[0] - self.near[0]) / turn)
        pixels[0] -= self.origin[0]
        pixels[1] -= self.origin[1]
        return pixels

    def drift(self, lon: float, lat: float) -> float:
        """Distance of a place from the anchor, deg."""
        here = unit_vectors(self.frame, np.array([lon, self.anchor[0]]), np.array([lat, self.anchor[1]]))
        return float(
            np.degrees(2 * np.arcsin(min(1.0, 0.5 * float(np.linalg.norm(here[:, 0] - here[:, 1])))))
        )

    def overlap(self, geom: WcsGeom) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Where the window lies on a map: slices (y, x) in the map, slices (y, x) in the window; None if
        it does not.
        """
        _, first = PixelGrid.of(geom)
        in_map, in_window = [], []
        for axis in (1, 0):
            begin = self.origin[axis] - first[axis]
            lo, hi = max(begin, 0), min(begin + self.size, geom.npix[axis])
            if lo >= hi:
                return None
            in_map.append(slice(lo, hi))
            in_window.append(slice(lo - begin, hi - begin))
        return (in_map[0], in_map[1]), (in_window[0], in_window[1])

    def frequencies(self, cut: float = math.inf) -> Frequencies:
        """All frequencies with ``|u| < cut`` (cycles/deg), alias block by alias block."""
        return frequencies_of(self.size, self.alias, tuple(self.jacobian.ravel().tolist()), cut)

    @property
    def highest(self) -> float:
        """Largest ``|u|`` that the alias order lets in, cycles/deg."""
        corner = self.alias + 0.5
        return float(
            max(np.linalg.norm(self.jacobian.T @ np.array([corner, sign * corner])) for sign in (1, -1))
        )


def unit_vectors(frame: str, lon: Floats, lat: Floats) -> Floats:
    """ICRS unit vectors (3, ...) of longitudes and latitudes in deg in a frame; latitudes may run over a pole."""
    lon, lat = np.radians(lon), np.radians(lat)
    cos_lat = np.cos(lat)
    vectors = np.stack([cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat) + 0.0 * lon])
    return np.tensordot(frame_matrix(frame).T, vectors, axes=1)
