"""One walk over the pixels of a map: exposure, background and what the safe mask needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.makers.background_rate import BackgroundProjector
from gammaflow.makers.exposure import ExposureProjector
from gammaflow.makers.field_of_view import SkyToField
from gammaflow.maps import WcsGeom, separation

Floats = NDArray[np.float64]

# Pixels that are worked on together: few enough for the cache, enough to forget the cost of each call
CHUNK_PIXELS = 16000


@dataclass(frozen=True)
class SkyMaps:
    """What `sky_pass` makes.

    Attributes
    ----------
    pointing : ndarray, shape (3,)
        ICRS unit vector.
    offset : ndarray of float64, shape (ny, nx)
        Distance from the pointing in deg; NaN for pixels off the sky.
    exposure : ndarray of float32, shape (n_energy_true, ny, nx), or None
        m2 s.
    background : ndarray of float32, shape (n_energy, ny, nx), or None
        Counts.
    positive : ndarray of bool, shape (n_energy, ny, nx), or None
        Where the background is above 0 in float64. Tiny values vanish in float32, and are safe all the same.
    """

    pointing: Floats
    offset: Floats
    exposure: NDArray[np.float32] | None = None
    background: NDArray[np.float32] | None = None
    positive: NDArray[np.bool_] | None = None


def sky_pass(
    geom: WcsGeom,
    pointing: Floats,
    exposure: ExposureProjector | None = None,
    background: BackgroundProjector | None = None,
    field: SkyToField | None = None,
    ontime: float = 0.0,
) -> SkyMaps:
    """Evaluate exposure and background on the pixels of a map, in float64, a few rows at a time.

    Parameters
    ----------
    geom : WcsGeom
        The map; its axes do not matter.
    pointing : ndarray, shape (3,)
        ICRS unit vector.
    exposure : ExposureProjector, optional
        Over true energy and offset.
    background : BackgroundProjector, optional
        Over energy and offset, or energy and field-of-view position.
    field : SkyToField, optional
        Field of view, for a background over longitude and latitude.
    ontime : float
        s; multiplies the background rate.
    """
    ny, nx = geom.shape_image
    vectors, solid_angle = geom.pixel_vectors(), geom.solid_angle()
    offset = np.empty((ny, nx))
    maps = SkyMaps(
        pointing,
        offset,
        None if exposure is None else np.empty((len(exposure.table), ny, nx), dtype=np.float32),
        None if background is None else np.empty((background.n_energy, ny, nx), dtype=np.float32),
        None if background is None else np.empty((background.n_energy, ny, nx), dtype=bool),
    )
    rows = max(1, CHUNK_PIXELS // nx)
    for start in range(0, ny, rows):
        part = slice(start, min(start + rows, ny))
        n = vectors[:, part].reshape(3, -1)
        theta = separation(n, pointing)
        offset[part] = theta.reshape(-1, nx)
        if exposure is not None and maps.exposure is not None:
            maps.exposure[:, part] = exposure(theta).reshape(-1, theta.size // nx, nx)
        if background is not None and maps.background is not None and maps.positive is not None:
            counts = mean_counts(background, field, n, theta, (solid_angle[part] * ontime).ravel())
            counts = counts.reshape(-1, theta.size // nx, nx)
            maps.background[:, part] = counts
            np.greater(counts, 0.0, out=maps.positive[:, part])
    return maps


def mean_counts(
    background: BackgroundProjector, field: SkyToField | None, n: Floats, theta: Floats, factor: Floats
) -> Floats:
    """Background counts (n_energy, m), averaged over the instants of a field of view that turns."""
    if field is None:
        return background(theta, factor=factor)
    n = field.apparent(n)
    # The logarithm of the rate is what is interpolated, so that only integrated rates can be averaged
    total = background(*field.lonlat(n, 0), factor=factor * field.weights[0])
    for instant in range(1, len(field.weights)):
        total += background(*field.lonlat(n, instant), factor=factor * field.weights[instant])
    return total
