"""Distances and directions on the sphere, in deg."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def separation(lon: ArrayLike, lat: ArrayLike, lon_0: float, lat_0: float) -> NDArray[np.float64]:
    """Angle in deg between positions and a centre, exact also where it is small or near 180 (Vincenty)."""
    lam = np.radians(np.asarray(lon, dtype=np.float64) - lon_0)
    phi, phi_0 = np.radians(np.asarray(lat, dtype=np.float64)), np.radians(lat_0)
    sin, cos, sin_0, cos_0 = np.sin(phi), np.cos(phi), np.sin(phi_0), np.cos(phi_0)
    across = np.hypot(cos * np.sin(lam), cos_0 * sin - sin_0 * cos * np.cos(lam))
    return np.degrees(np.arctan2(across, sin_0 * sin + cos_0 * cos * np.cos(lam)))


def position_angle(lon: ArrayLike, lat: ArrayLike, lon_0: float, lat_0: float) -> NDArray[np.float64]:
    """Direction in deg, from north through east, in which positions are seen from a centre."""
    lam = np.radians(np.asarray(lon, dtype=np.float64) - lon_0)
    phi, phi_0 = np.radians(np.asarray(lat, dtype=np.float64)), np.radians(lat_0)
    east = np.sin(lam) * np.cos(phi)
    north = np.sin(phi) * np.cos(phi_0) - np.cos(phi) * np.sin(phi_0) * np.cos(lam)
    return np.degrees(np.arctan2(east, north))
