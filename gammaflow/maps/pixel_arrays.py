"""Unit vectors and solid angles of pixel grids, kept for the process.

A grid is a window of a parent; all windows share what is computed for the parent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.maps.geometry_cache import GEOMETRY_CACHE
from gammaflow.maps.projection import SkyProjection
from gammaflow.maps.solid_angle import cell_areas, net_areas

#: Parents with more pixels are never computed whole: their windows compute what they need (24 bytes a pixel).
WHOLE_PARENT_PIXELS = 2_000_000


@dataclass(frozen=True)
class PixelWindow:
    """Pixels ``offset`` to ``offset + npix`` (x, y) of a parent.

    Compared and hashed by exact value, unlike a geometry: it is a key of the cache.
    """

    sky: SkyProjection
    parent_crpix: tuple[float, float]
    parent_npix: tuple[int, int]
    offset: tuple[int, int]
    npix: tuple[int, int]

    @property
    def origin(self) -> tuple[float, float]:
        """Plane coordinates of the first pixel's centre."""
        return self.offset[0] + 1 - self.parent_crpix[0], self.offset[1] + 1 - self.parent_crpix[1]

    @property
    def centers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Plane coordinates of the columns and of the rows."""
        # a whole number is added to the parent's fraction: a window's numbers are the very ones of its parent
        (x, y), (i, j) = self.offset, (1 - self.parent_crpix[0], 1 - self.parent_crpix[1])
        columns = np.arange(x, x + self.npix[0], dtype=np.float64)
        rows = np.arange(y, y + self.npix[1], dtype=np.float64)
        return columns + i, rows + j

    def vectors(self) -> NDArray[np.float64]:
        """ICRS unit vectors of the pixel centres, (3, ny, nx), read-only; NaN off the sky."""
        return self._shared("vectors", lambda window: window.sky.grid_to_vectors(*window.centers))

    def solid_angles(self) -> NDArray[np.float64]:
        """Solid angles of the pixels in sr, (ny, nx), read-only; 0 off the sky."""
        if self.sky.is_native:
            areas = self.sky.cell_areas(self.centers[1])
            return np.broadcast_to(areas[:, np.newaxis], (self.npix[1], self.npix[0]))
        return self._shared("solid_angles", _quadrilaterals)

    def _shared(
        self, what: str, compute: Callable[[PixelWindow], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        (x, y), (nx, ny) = self.offset, self.npix
        if self.parent_npix[0] * self.parent_npix[1] > WHOLE_PARENT_PIXELS:
            return GEOMETRY_CACHE.get((what, self), lambda: compute(self))
        # whole even for one small window, so that nothing depends on what was asked before
        whole = PixelWindow(self.sky, self.parent_crpix, self.parent_npix, (0, 0), self.parent_npix)
        array = GEOMETRY_CACHE.get((what, whole), lambda: compute(whole))
        return array[..., y : y + ny, x : x + nx]


def _quadrilaterals(window: PixelWindow) -> NDArray[np.float64]:
    i, j = window.centers
    areas = net_areas(
        window.sky.grid_to_vectors(np.append(i, i[-1] + 1) - 0.5, np.append(j, j[-1] + 1) - 0.5)
    )
    rows, columns = np.nonzero(np.isnan(areas))
    if rows.size:
        areas[rows, columns] = _rim_areas(window.sky, i[columns], j[rows])
    return areas


def _rim_areas(sky: SkyProjection, i: NDArray[np.float64], j: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solid angles of pixels of which the sky does not hold every corner, (n,); 0 where it does not hold
    the centre.

    Taken from the largest quadrilateral around the centre that the sky holds, its sides halved until it
    fits, and scaled to the pixel.
    """
    areas = np.zeros(i.size)
    todo = np.flatnonzero(np.isfinite(sky.to_vectors(i, j)[0]))
    for halvings in range(1, 20):
        half = 0.5**halvings / 2
        low_i, up_i, low_j, up_j = i[todo] - half, i[todo] + half, j[todo] - half, j[todo] + half
        corners = ((low_i, low_j), (up_i, low_j), (up_i, up_j), (low_i, up_j))
        found = cell_areas(*(sky.to_vectors(x, y) for x, y in corners)) * 4.0**halvings
        fits = np.isfinite(found)
        areas[todo[fits]] = found[fits]
        todo = todo[~fits]
        if not todo.size:
            break
    return areas
