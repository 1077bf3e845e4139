"""Between the pixels and the energies of a template: everything is linear in ln(value)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Stands for zero where a logarithm is taken.
TINY = float(np.finfo(np.float64).tiny)


def plane_edges(energy: Floats) -> Floats:
    """Edges (E + 1,) half-way between energies (E,) in ln E, and as far beyond the first and the last."""
    log = np.log(energy)
    middle = 0.5 * (log[1:] + log[:-1])
    return np.exp(np.concatenate([[1.5 * log[0] - 0.5 * log[1]], middle, [1.5 * log[-1] - 0.5 * log[-2]]]))


def plane_numbers(energy: Floats, at: Floats) -> Floats:
    """Where energies ``at`` lie among a cube's planes, linear in ln E, also half a plane before and beyond."""
    log = np.log(energy)
    if log.size == 1:
        return np.zeros(np.shape(at))
    before, after = 2 * log[0] - log[1], 2 * log[-1] - log[-2]
    nodes = np.concatenate([[before], log, [after]])
    return np.interp(np.log(at), nodes, np.arange(-1.0, log.size + 1))


def log_interpolate(data: Floats, coordinates: Sequence[Floats]) -> Floats:
    """Multilinear in ln(data) at pixel coordinates; 0 where the nearest pixel is outside."""
    inside = np.ones(coordinates[0].shape, dtype=bool)
    for axis, at in enumerate(coordinates):
        inside &= (at >= -0.5) & (at < data.shape[axis] - 0.5)
    log = np.log(np.maximum(data, TINY))
    points = [at[inside] for at in coordinates]
    total = np.zeros(points[0].shape)
    lower = [
        np.clip(np.floor(p).astype(np.intp), 0, max(n - 2, 0))
        for p, n in zip(points, data.shape, strict=True)
    ]
    for corner in np.ndindex(*(2,) * data.ndim):
        weight = np.ones(points[0].shape)
        index = []
        for up, point, low, n in zip(corner, points, lower, data.shape, strict=True):
            fraction = point - low if n > 1 else np.zeros_like(point)
            weight *= fraction if up else 1 - fraction
            index.append(np.minimum(low + up, n - 1))
        total += weight * log[tuple(index)]
    result = np.zeros(coordinates[0].shape)
    result[inside] = _without_tiny(np.exp(total))
    return result


class BetweenPixels:
    """Places between the pixels of an image, found once for all planes on them; as `log_interpolate` otherwise.

    Parameters
    ----------
    y, x : array (n,)
        Pixel coordinates, the nearest pixel inside.
    shape : tuple of int
        (ny, nx).
    """

    def __init__(self, y: Floats, x: Floats, shape: tuple[int, ...]) -> None:
        sides = []
        for at, n in ((y, shape[0]), (x, shape[1])):
            low = np.clip(np.floor(at).astype(np.intp), 0, max(n - 2, 0))
            sides.append((low, at - low if n > 1 else np.zeros(len(at)), min(1, n - 1)))
        (row, down, next_row), (column, right, next_column) = sides
        first = row * shape[1] + column
        self._corners = (
            (first, (1 - down) * (1 - right)),
            (first + next_column, (1 - down) * right),
            (first + next_row * shape[1], down * (1 - right)),
            (first + next_row * shape[1] + next_column, down * right),
        )

    def values(self, plane: Floats) -> Floats:
        """Values (n,) of an image (ny, nx)."""
        log = np.log(np.maximum(plane, TINY)).ravel()
        total = np.zeros(len(self._corners[0][0]))
        for index, weight in self._corners:
            total += weight * log.take(index)
        return _without_tiny(np.exp(total, out=total))


def bin_means(data: Floats, energy: Floats, edges: Floats) -> Floats:
    """Means of a cube over energy bins, ``int M(E) dE / (E_hi - E_lo)``; a part without planes counts as 0.

    Exact for what `log_interpolate` gives between the planes, a power law:

        ``int = E_1 M_1 ln(E_2 / E_1) (e^x - 1) / x,    x = ln(E_2 M_2 / (E_1 M_1))``

    Parameters
    ----------
    data : array (E, ny, nx)
    energy : array (E,)
        Of its planes, rising.
    edges : array (K + 1,)
        Of the bins, in the same unit.

    Returns
    -------
    array (K, ny, nx)
    """
    if len(energy) == 1:
        return np.repeat(data, len(edges) - 1, axis=0)
    own = plane_edges(energy)
    breaks = np.concatenate([np.clip(edges, own[0], own[-1]), energy])
    breaks = np.unique(breaks[(breaks >= edges[0]) & (breaks <= edges[-1])])
    means = np.zeros((len(edges) - 1, *data.shape[1:]))
    if len(breaks) < 2:
        return means
    at = plane_numbers(energy, breaks)
    low = np.clip(np.floor(at).astype(np.intp), 0, len(energy) - 2)
    after: Floats | None = None
    for i, place in enumerate(breaks):
        before, fraction = after, at[i] - low[i]
        logs = [np.log(np.maximum(data[plane], TINY)) for plane in (low[i], low[i] + 1)]
        after = (1 - fraction) * logs[0] + fraction * logs[1]
        if before is not None:
            width = np.log(place / breaks[i - 1])
            x = width + after - before
            growth = np.divide(np.expm1(x), x, out=np.ones_like(x), where=np.abs(x) > 1e-12)
            k = int(np.searchsorted(edges, 0.5 * (place + breaks[i - 1]))) - 1
            means[k] += breaks[i - 1] * width * np.exp(before) * growth
    return _without_tiny(means / np.diff(edges)[:, None, None])


def _without_tiny(values: Floats) -> Floats:
    """The values, in place, with 0 where a zero has come back."""
    values[values <= 2 * TINY] = 0.0
    return values
