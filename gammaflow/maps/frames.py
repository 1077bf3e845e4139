"""Sky positions as unit vectors, and the rotations between sky frames.

Inside the package a position is an ICRS unit vector, an array of shape (3, ...). Longitude and latitude,
and astropy's coordinates, appear where users give or get them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import GeometryError

FRAMES = ("icrs", "galactic", "fk5")


@cache
def frame_matrix(frame: str) -> NDArray[np.float64]:
    """The rotation from ICRS to a frame, (3, 3): its columns are the images of the ICRS axes under astropy.

    Parameters
    ----------
    frame : {"icrs", "galactic", "fk5"}
        Name of the frame; fk5 is of the equinox J2000.

    Raises
    ------
    GeometryError
        An unknown frame.
    """
    if frame not in FRAMES:
        raise GeometryError(f"sky frame {frame!r} is unknown", hint=f"Use one of {', '.join(FRAMES)}.")
    if frame == "icrs":
        matrix = np.eye(3)
    else:
        axes = SkyCoord(x=[1, 0, 0], y=[0, 1, 0], z=[0, 0, 1], representation_type="cartesian", frame="icrs")
        images = axes.transform_to(frame).cartesian.xyz.value
        # orthogonal to the last bit, so that there and back is the identity
        left, _, right = np.linalg.svd(images)
        matrix = left @ right
    matrix.flags.writeable = False
    return matrix


def lonlat_to_vectors(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
    """Unit vectors (3, ...) of longitudes and latitudes in deg, in the frame these are given in."""
    lon = np.radians(np.asarray(lon, dtype=np.float64))
    lat = np.radians(np.asarray(lat, dtype=np.float64))
    cos_lat = np.cos(lat)
    return np.stack(np.broadcast_arrays(cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat)))


def vectors_to_lonlat(vectors: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude in [0, 360) and latitude in deg of unit vectors (3, ...); accurate at the poles, too."""
    x, y, z = np.asarray(vectors, dtype=np.float64)
    lon = np.degrees(np.arctan2(y, x))
    lon = np.where(lon < 0, lon + 360.0, lon)
    # a longitude of -1e-20 becomes 360 in the line above
    return np.where(lon >= 360.0, 0.0, lon), np.degrees(np.arctan2(z, np.hypot(x, y)))


def rotate(matrix: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """``matrix @ vectors`` for vectors of shape (3, ...), element by element.

    The sums are written out: a matrix product may add in another order for another number of vectors, and a
    cutout must hold the very bits of its parent.
    """
    x, y, z = vectors
    out = np.empty((3, *np.shape(x)))
    for row, (mx, my, mz) in enumerate(matrix):
        out[row] = mx * x + my * y + mz * z
    return out


def position_vector(position: SkyCoord | ArrayLike) -> NDArray[np.float64]:
    """ICRS unit vector (3,) of one position, given as a sky coordinate or as such a vector.

    Raises
    ------
    GeometryError
        If the position is not one position.
    """
    if isinstance(position, SkyCoord):
        if not position.isscalar:
            raise GeometryError(f"{position.size} positions where one is needed")
        icrs = position.icrs
        vector = lonlat_to_vectors(icrs.ra.deg, icrs.dec.deg)
    else:
        vector = np.asarray(position, dtype=np.float64)
        if vector.shape != (3,) or not abs(float(vector @ vector) - 1.0) < 1e-6:
            raise GeometryError(
                f"position {position!r} is not a unit vector",
                hint="Give a SkyCoord, or an ICRS unit vector of shape (3,).",
            )
    if not np.isfinite(vector).all():
        raise GeometryError("the position is not finite")
    return vector


def position_lonlat(position: SkyCoord | ArrayLike | None, frame: str) -> tuple[float, float]:
    """Longitude and latitude in deg in a frame of one position.

    Parameters
    ----------
    position : `~astropy.coordinates.SkyCoord`, (lon, lat) or array (3,), optional
        Two numbers are deg in the frame already, three an ICRS unit vector; ``None`` is (0, 0).
    frame : {"icrs", "galactic", "fk5"}
        The frame.
    """
    matrix = frame_matrix(frame)
    if position is None:
        return 0.0, 0.0
    if isinstance(position, SkyCoord):
        position_vector(position)  # is one position, and finite
        there = position.transform_to(frame).spherical
        return float(there.lon.deg), float(there.lat.deg)
    numbers = np.asarray(position, dtype=np.float64)
    if numbers.shape == (2,):
        return float(numbers[0]), float(numbers[1])
    lon, lat = vectors_to_lonlat(rotate(matrix, position_vector(numbers)))
    return float(lon), float(lat)


def separation(vectors: NDArray[np.float64], center: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angle in deg between unit vectors (3, ...) and one (3,): 2 arcsin(|n - c| / 2), exact also where it
    vanishes.
    """
    dx, dy, dz = vectors[0] - center[0], vectors[1] - center[1], vectors[2] - center[2]
    chord = np.sqrt(dx * dx + dy * dy + dz * dz)
    return np.degrees(2.0 * np.arcsin(np.minimum(0.5 * chord, 1.0)))
