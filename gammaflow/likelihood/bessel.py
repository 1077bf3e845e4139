"""J0 on a grid of equidistant frequencies, several times faster than point by point."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0

Floats = NDArray[np.float64]

#: From this argument on the asymptotic series is exact to 1e-9.
_FAR = 25.0
#: Columns for which one rotation is made at a time; rows that stay in the cache.
_COLUMNS = 64
_ROWS = 64


def j0_grid(r: Floats, step: float, count: int) -> Floats:
    """``J0(2 pi q r)`` (R, T) for radii (R,), ascending, and ``q = step * (0 ... T - 1)``, to 1e-9.

    Beyond x = 25 by the asymptotic series (Abramowitz and Stegun 9.2.5), its cosine and sine by rotations:
    ``exp(i x_j) = exp(i x_(64 k)) exp(i x_(j - 64 k))``.
    """
    out = np.empty((len(r), count))
    steps = 2 * np.pi * step * r
    blocks = math.ceil(count / _COLUMNS)
    index = np.arange(count, dtype=np.float64)
    for start in range(0, len(r), _ROWS):
        h = steps[start : start + _ROWS]
        rows = out[start : start + _ROWS]
        near = count if h[0] * count <= _FAR else min(math.ceil(_FAR / h[0]), count)
        rows[:, :near] = j0(h[:, None] * index[:near])
        first = near // _COLUMNS
        if near == count:
            continue
        coarse = np.exp(1j * (h[:, None] * (_COLUMNS * np.arange(first, blocks)) - np.pi / 4))
        fine = np.exp(1j * h[:, None] * np.arange(_COLUMNS))
        turned = (coarse[:, :, None] * fine[:, None, :]).reshape(len(h), -1)
        turned = turned[:, near - first * _COLUMNS : count - first * _COLUMNS]
        over = 1.0 / (h[:, None] * index[near:])
        square = over * over
        p = 1.0 + square * (-9 / 128 + square * (3675 / 32768 - square * (2401245 / 4194304)))
        q = over * (-1 / 8 + square * (75 / 1024 - square * (59535 / 262144)))
        rows[:, near:] = np.sqrt((2 / np.pi) * over) * (turned.real * p - turned.imag * q)
    return out
