"""Directions as ICRS unit vectors: displacing them, and the field of view around a pointing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def to_vectors(lon: Floats, lat: Floats) -> Floats:
    """Unit vectors ``(3, ...)`` of angles in deg."""
    lon, lat = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def to_angles(vectors: Floats) -> tuple[Floats, Floats]:
    """Longitude in [0, 360) and latitude in deg of unit vectors ``(3, ...)``."""
    lon = np.degrees(np.arctan2(vectors[1], vectors[0])) % 360.0
    return lon, np.degrees(np.arcsin(np.clip(vectors[2], -1.0, 1.0)))


def offsets(vectors: Floats, centre: Floats) -> Floats:
    """Angles in deg between unit vectors ``(3, n)`` and one ``(3,)``; by the chord, exact near zero."""
    chord = np.sqrt(((vectors - centre[:, np.newaxis]) ** 2).sum(axis=0))
    return np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1.0)))


def displace(vectors: Floats, radii: Floats, rng: np.random.Generator) -> Floats:
    """Each unit vector moved by its radius (deg) in a random direction, shape ``(3, n)``."""
    phi = rng.uniform(0.0, 2 * np.pi, vectors.shape[1])
    # a vector that is never parallel to the direction, and the two that span its tangent plane
    helper = np.where(
        np.abs(vectors[2]) < 0.9, np.array([[0.0], [0.0], [1.0]]), np.array([[1.0], [0.0], [0.0]])
    )
    east = np.cross(helper, vectors, axis=0)
    east /= np.sqrt((east**2).sum(axis=0))
    north = np.cross(vectors, east, axis=0)
    r = np.radians(radii)
    return np.cos(r) * vectors + np.sin(r) * (np.cos(phi) * east + np.sin(phi) * north)


def fov_matrix(ra: float, dec: float) -> Floats:
    """Rotation from ICRS to the field of view of a pointing (deg).

    The pointing is +x; longitude ``atan2(y, x)`` grows to the west, latitude ``arcsin(z)`` to the north
    (Gammapy's RADEC alignment).
    """
    a, d = np.radians(ra), np.radians(dec)
    return np.array(
        [
            [np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)],
            [np.sin(a), -np.cos(a), 0.0],
            [-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)],
        ]
    )


def to_fov(vectors: Floats, matrix: Floats) -> tuple[Floats, Floats]:
    """Field-of-view longitude and latitude in deg of ICRS unit vectors ``(3, n)``."""
    x, y, z = matrix @ vectors
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(np.clip(z, -1.0, 1.0)))


def from_fov(lon: Floats, lat: Floats, matrix: Floats) -> Floats:
    """ICRS unit vectors ``(3, n)`` of field-of-view angles in deg."""
    return matrix.T @ to_vectors(lon, lat)
