"""An elliptical shape as a fit moves it: smooth coordinates in place of size, e and phi.

The likelihood takes the entries ``Sigma = (cov_ee, cov_en, cov_nn)`` of the ellipse's matrix: the
image is linear in its own variable there. Two ways lead to them:

* ``(a, c, b)``, the Cholesky factor of Sigma, when size, e and phi are all free: ``Sigma = (a^2, a
  c, c^2 + b^2)``. A circle is a place like any other, and a >= 0, b >= 0 is all that keeps Sigma an
  ellipse. (e and phi mean nothing for a circle: at e = 0 every derivative by them is zero.)
* ``(size, e, phi)`` themselves, when one of them is frozen, linked, or has a limit or a prior of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DEG = math.pi / 180.0


@dataclass(frozen=True, eq=False)
class Curved:
    """A function of n numbers with three values: values (3,), first derivatives (3, n), second ones (3, n, n)."""

    value: Floats
    first: Floats
    second: Floats


def cholesky(size: float, e: float, phi: float) -> Floats:
    """(a, c, b) of an ellipse; size in deg, phi in deg from north through east."""
    ee, en, nn = from_shape(np.array([size, e, phi])).value
    a = math.sqrt(ee)
    c = en / a if a > 0 else 0.0
    return np.array([a, c, math.sqrt(max(nn - c * c, 0.0))])


def from_cholesky(factor: Floats) -> Curved:
    """Sigma and its derivatives by (a, c, b)."""
    a, c, b = (float(x) for x in factor)
    value = np.array([a * a, a * c, c * c + b * b])
    first = np.array([[2 * a, 0, 0], [c, a, 0], [0, 2 * c, 2 * b]], dtype=np.float64)
    second = np.zeros((3, 3, 3))
    second[0, 0, 0] = 2.0
    second[1, 0, 1] = second[1, 1, 0] = 1.0
    second[2, 1, 1] = second[2, 2, 2] = 2.0
    return Curved(value, first, second)


def from_shape(shape: Floats) -> Curved:
    """Sigma and its derivatives by (size, e, phi), phi in deg.

    ``cov_ee = s^2 (1 - e^2 cos^2 phi)``, ``cov_en = s^2 e^2 sin phi cos phi``, ``cov_nn = s^2 (1 -
    e^2 sin^2 phi)``.
    """
    s, e, phi = (float(x) for x in shape)
    angle = 2 * phi * _DEG
    sin, cos = math.sin(angle), math.cos(angle)
    # Sigma = s^2 (1, 0, 1) + (s e)^2 k(phi)
    k = 0.5 * np.array([-(1 + cos), sin, -(1 - cos)])
    k1 = np.array([sin, cos, -sin]) * _DEG
    k2 = 2 * np.array([cos, -sin, -cos]) * _DEG**2
    one = np.array([1.0, 0.0, 1.0])
    value = s * s * (one + e * e * k)
    first = np.stack([2 * s * (one + e * e * k), 2 * s * s * e * k, s * s * e * e * k1], axis=1)
    second = np.empty((3, 3, 3))
    second[:, 0, 0] = 2 * (one + e * e * k)
    second[:, 1, 1] = 2 * s * s * k
    second[:, 2, 2] = s * s * e * e * k2
    second[:, 0, 1] = second[:, 1, 0] = 4 * s * e * k
    second[:, 0, 2] = second[:, 2, 0] = 2 * s * e * e * k1
    second[:, 1, 2] = second[:, 2, 1] = 2 * s * s * e * k1
    return Curved(value, first, second)


def shape_of(factor: Floats) -> tuple[Floats, Floats]:
    """(size, e, phi) from (a, c, b), and their derivatives (3, 3) by them.

    The rows of e and phi are NaN for a circle: an error of theirs means nothing there.
    """
    sigma = from_cholesky(factor)
    ee, en, nn = (float(x) for x in sigma.value)
    mean, half = 0.5 * (ee + nn), math.hypot(0.5 * (nn - ee), en)
    major, minor = mean + half, max(mean - half, 0.0)
    size = math.sqrt(major)
    e = math.sqrt(1 - minor / major) if major > 0 else 0.0
    phi = 0.5 * math.atan2(2 * en, nn - ee)
    sin, cos = math.sin(phi), math.cos(phi)
    by_major = np.array([sin * sin, 2 * sin * cos, cos * cos])
    by_minor = np.array([cos * cos, -2 * sin * cos, sin * sin])
    by_angle = np.array([sin * cos, cos * cos - sin * sin, -sin * cos])
    jacobian = np.full((3, 3), np.nan)
    if size > 0:
        jacobian[0] = by_major / (2 * size)
    if e > 1e-6:
        jacobian[1] = (by_major * (minor / major) - by_minor) / (2 * major * e)
        jacobian[2] = by_angle / (major * e * e) / _DEG
    return np.array([size, e, phi / _DEG]), jacobian @ sigma.first
