"""Solid angle of spherical quadrilaterals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def net_areas(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solid angles (ny, nx) in sr of the cells of a net of unit vectors (3, ny + 1, nx + 1); see
    `cell_areas`.
    """
    return cell_areas(corners[:, :-1, :-1], corners[:, :-1, 1:], corners[:, 1:, 1:], corners[:, 1:, :-1])


def cell_areas(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solid angles of spherical quadrilaterals with great-circle sides.

    Each is the sum of two spherical triangles a, b, c with

        tan(E / 2) = a . ((b - a) x (c - a)) / (1 + a.b + b.c + c.a)

    (van Oosterom and Strackee 1983, IEEE Trans. Biomed. Eng. 30, 125). With the differences in the triple
    product, small cells lose no digits.

    Parameters
    ----------
    a, b, c, d : array (3, ...)
        Unit vectors of the corners, in turn.

    Returns
    -------
    areas : array (...)
        In sr, not negative; NaN where a corner is NaN.
    """
    return np.abs(_triangle(a, b, c) + _triangle(a, c, d))


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _triangle(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    p, q = b - a, c - a
    triple = (
        a[0] * (p[1] * q[2] - p[2] * q[1])
        + a[1] * (p[2] * q[0] - p[0] * q[2])
        + a[2] * (p[0] * q[1] - p[1] * q[0])
    )
    return 2.0 * np.arctan2(triple, 1.0 + _dot(a, b) + _dot(b, c) + _dot(c, a))
