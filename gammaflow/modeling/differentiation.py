"""Derivatives of vector functions: by a complex step, exact to rounding, or by central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.modeling.parameter import Parameter

STEP = 1e-3
"""Step of the differences in units of a parameter's scale: both truncation and rounding stay near 1e-12."""

_CENTRAL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
_ONE_SIDED = ((0, -25 / 12), (1, 4.0), (2, -3.0), (3, 4 / 3), (4, -1 / 4))


def scale_of(parameter: Parameter) -> float:
    """By how much a parameter may change, in its own unit, before a model does."""
    size = max(abs(parameter.value), parameter.error if np.isfinite(parameter.error) else 0.0)
    if size == 0:
        low, high = parameter.bounds
        size = high - low if np.isfinite(high - low) else 1.0
    return float(size)


def complex_step(
    function: Callable[[NDArray[Any]], NDArray[Any]], point: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Derivatives ``Im f(x + i h e_j) / h`` of an analytic function, without subtraction.

    Parameters
    ----------
    function : callable
        (n,) complex to an array of shape S.
    point : (n,)
        Where.

    Returns
    -------
    (n, *S)
    """
    rows = []
    for index, value in enumerate(point):
        step = 1e-30 * max(abs(value), 1e-30)
        moved = point.astype(np.complex128)
        moved[index] += 1j * step
        rows.append(np.imag(function(moved)) / step)
    return np.array(rows, dtype=np.float64)


def central_gradient(
    function: Callable[[NDArray[np.float64]], NDArray[Any]],
    point: NDArray[np.float64],
    scales: NDArray[np.float64],
    bounds: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Differences of fourth order, central; one-sided where a limit is nearer than two steps.

    Parameters
    ----------
    function : callable
        (n,) to an array of shape S.
    point, scales : (n,)
        Where, and how far each entry may move before the function changes much.
    bounds : (n, 2), optional
        Limits that are not to be left.

    Returns
    -------
    (n, *S)
    """
    rows = []
    for index, (value, scale) in enumerate(zip(point, scales, strict=True)):
        step = STEP * scale
        low, high = (-np.inf, np.inf) if bounds is None else bounds[index]
        stencil: tuple[tuple[int, float], ...] = _CENTRAL
        if value - 2 * step < low:
            stencil = _ONE_SIDED
            step = min(step, (high - value) / 4) if high > value else step
        elif value + 2 * step > high:
            stencil, step = _ONE_SIDED, -min(step, (value - low) / 4)
        total: Any = 0.0
        for multiple, weight in stencil:
            moved = point.copy()
            moved[index] = value + multiple * step
            total = total + weight * np.asarray(function(moved))
        rows.append(total / step)
    return np.array(rows, dtype=np.float64)


def second_differences(
    function: Callable[[NDArray[np.float64]], NDArray[Any]],
    point: NDArray[np.float64],
    scales: NDArray[np.float64],
    bounds: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Second derivatives by central differences, good to about 1e-6; taken further inside at a limit.

    Parameters
    ----------
    function, point, scales, bounds
        As in `central_gradient`.

    Returns
    -------
    (n, n, *S)
    """
    n = len(point)
    step = STEP * scales
    middle = np.clip(point, bounds[:, 0] + step, np.maximum(bounds[:, 1] - step, bounds[:, 0] + step))

    def at(*moves: tuple[int, int]) -> NDArray[Any]:
        moved = middle.copy()
        for index, sign in moves:
            moved[index] += sign * step[index]
        return np.asarray(function(moved))

    center = at()
    hessian = np.zeros((n, n, *center.shape))
    for i in range(n):
        hessian[i, i] = (at((i, 1)) - 2 * center + at((i, -1))) / step[i] ** 2
        for j in range(i):
            cross = at((i, 1), (j, 1)) - at((i, 1), (j, -1)) - at((i, -1), (j, 1)) + at((i, -1), (j, -1))
            hessian[i, j] = hessian[j, i] = cross / (4 * step[i] * step[j])
    return hessian
