"""Where the pixels of a map lie in the field of view of an observation.

Everything here works on ICRS unit vectors: an offset is a chord, a field-of-view position is a rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def field_of_view_matrix(lon: float, lat: float, reverse_lon: bool = False) -> Floats:
    """Rotation from the frame of the pointing to field-of-view axes, shape (3, 3).

    The first axis points to (``lon``, ``lat``) (deg), the third to the north. The second is reversed, so that
    field-of-view longitude grows to the west (of right ascension or azimuth); ``reverse_lon`` turns it back.
    """
    a, d = np.radians(lon), np.radians(lat)
    sign = -1.0 if reverse_lon else 1.0
    return np.array(
        [
            [np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)],
            [sign * np.sin(a), -sign * np.cos(a), 0.0],
            [-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)],
        ]
    )


@dataclass(frozen=True)
class SkyToField:
    """How sky vectors turn into field-of-view vectors, at one instant or at several.

    ``q = matrix @ n + shift`` for the vectors n that `apparent` gives; an average over the instants has the
    ``weights``, whose sum is 1.

    Attributes
    ----------
    weights : ndarray, shape (n,)
    matrices : ndarray, shape (n, 3, 3)
    shifts : ndarray, shape (n, 3)
    """

    weights: Floats
    matrices: Floats
    shifts: Floats

    @classmethod
    def fixed(cls, ra: float, dec: float, reverse_lon: bool = False) -> SkyToField:
        """A field of view that stays aligned with right ascension and declination."""
        matrix = field_of_view_matrix(ra, dec, reverse_lon)
        return cls(np.ones(1), matrix[None], np.zeros((1, 3)))

    def apparent(self, vectors: Floats) -> Floats:
        """Vectors (3, m) as they have to be given to the matrices."""
        return vectors

    def lonlat(self, vectors: Floats, instant: int) -> tuple[Floats, Floats]:
        """Field-of-view longitude and latitude in deg of apparent vectors (3, m), shape (m,) each."""
        shift = self.shifts[instant]
        q = self.matrices[instant] @ vectors
        if shift.any():
            q += shift[:, None]
            q /= np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
        lon = np.degrees(np.arctan2(q[1], q[0]))
        lat = np.degrees(np.arcsin(np.clip(q[2], -1.0, 1.0)))
        return lon, lat
