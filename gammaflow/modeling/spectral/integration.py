"""The log-log trapezoid that integrates a spectrum over energy bins, and its exact derivatives.

Between two nodes the spectrum is taken as a power law: with f1 = f(E1), f2 = f(E2), L = ln(E2 / E1) and
x = ln(f2 / f1) + L its integral is ``E1 f1 L g(x)``, g(x) = (e^x - 1) / x. A segment with a zero at either
end counts nothing; one whose ends differ in sign is a trapezoid in E. For a power law a segment is exact.

All functions also take complex values: differentiating them once more is then a matter of a complex step.
"""

from __future__ import annotations

from functools import lru_cache
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

NODES_PER_DECADE = 100

# g(x) = sum_n x^n / (n + 1)!, g'(x) = sum_n x^n / (n! (n + 2)): used where the closed forms would cancel
_RATIO = [1.0 / factorial(n + 1) for n in range(16)]
_SLOPE = [1.0 / (factorial(n) * (n + 2)) for n in range(16)]
_SMALL = 0.5
# number of terms that leave less than 1e-17, and up to which |x|
_TERMS = ((5, 5e-4), (8, 2e-2), (11, 0.1))


@lru_cache(maxsize=64)
def _nodes(energy_min: bytes, energy_max: bytes, per_decade: int) -> NDArray[np.float64]:
    low, high = np.frombuffer(energy_min), np.frombuffer(energy_max)
    number = int(max(np.max(per_decade * np.log10(high / low)), 2.0)) if low.size else 2
    nodes = np.geomspace(low, high, num=number, axis=-1)
    nodes.flags.writeable = False
    return nodes


def bin_nodes(
    energy_min: NDArray[np.float64], energy_max: NDArray[np.float64], per_decade: int = NODES_PER_DECADE
) -> NDArray[np.float64]:
    """Nodes of bins, (L, P) TeV: ``P = max(2, int(per_decade * log10(E2 / E1)))`` of the widest bin.

    Parameters
    ----------
    energy_min, energy_max : (L,)
        Bin edges, TeV.
    per_decade : int
        Nodes per decade; 0 gives the two edges, exact for a power law.
    """
    low, high = np.ascontiguousarray(energy_min), np.ascontiguousarray(energy_max)
    return _nodes(low.tobytes(), high.tobytes(), per_decade)


def loglog_trapezoid(energy: NDArray[np.float64], values: NDArray[Any]) -> NDArray[Any]:
    """Integral over the last axis.

    Parameters
    ----------
    energy : (..., P)
        Nodes.
    values : (..., P)
        Function at the nodes, real or complex.

    Returns
    -------
    (...,)
    """
    f1, f2 = values[..., :-1], values[..., 1:]
    e1 = energy[..., :-1]
    span = np.log(energy[..., 1:] / e1)
    regular, ratio = _ratio(f1, f2)
    integral = np.where(regular, e1 * f1 * span * expm1_ratio(np.log(ratio) + span), 0.0)
    return np.sum(integral + _crossing(energy, f1, f2), axis=-1)


def loglog_trapezoid_gradient(
    energy: NDArray[np.float64], values: NDArray[Any], gradient: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Integral over the last axis and its derivatives, exact for the sum as it is.

    Parameters
    ----------
    energy, values : (..., P)
        Nodes, function.
    gradient : (n, ..., P)
        Derivatives of the function.

    Returns
    -------
    integral : (...,)
    gradient : (n, ...)
    """
    f1, f2 = values[..., :-1], values[..., 1:]
    e1, e2 = energy[..., :-1], energy[..., 1:]
    span = np.log(e2 / e1)
    regular, ratio = _ratio(f1, f2)
    exponent = np.log(ratio) + span
    growth, slope = expm1_ratio(exponent), expm1_ratio_slope(exponent)
    weight = np.where(regular, e1 * span, 0.0)
    left = weight * (growth - slope)
    right = weight * slope / ratio
    crossing = np.where(_crosses(f1, f2), 0.5 * (e2 - e1), 0.0)
    left, right = left + crossing, right + crossing
    integral = np.sum(weight * f1 * growth + crossing * (f1 + f2), axis=-1)
    return integral, np.sum(left * gradient[..., :-1] + right * gradient[..., 1:], axis=-1)


def _ratio(f1: NDArray[Any], f2: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Where both ends have the same sign, and f2 / f1 there (1 elsewhere)."""
    regular = (np.sign(f1.real) == np.sign(f2.real)) & (f1.real != 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.where(regular, f2, 1.0) / np.where(regular, f1, 1.0)
    # a ratio beyond what a number can be: one end is as good as zero
    usable = regular & (ratio.real > 0) & np.isfinite(ratio.real)
    return usable, np.where(usable, ratio, 1.0)


def _crosses(f1: NDArray[Any], f2: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.sign(f1.real) * np.sign(f2.real) < 0)


def _crossing(energy: NDArray[np.float64], f1: NDArray[Any], f2: NDArray[Any]) -> NDArray[Any]:
    return np.where(_crosses(f1, f2), 0.5 * (f1 + f2) * (energy[..., 1:] - energy[..., :-1]), 0.0)


def expm1_ratio(x: NDArray[Any]) -> NDArray[Any]:
    """(e^x - 1) / x."""
    small = np.abs(x) < _SMALL
    series = _series(_RATIO, np.where(small, x, 0.0))
    if np.all(small):
        return series
    outer = np.where(small, 1.0, x)
    return np.where(small, series, np.expm1(outer) / outer)


def expm1_ratio_slope(x: NDArray[Any]) -> NDArray[Any]:
    """Derivative of (e^x - 1) / x."""
    small = np.abs(x) < _SMALL
    series = _series(_SLOPE, np.where(small, x, 0.0))
    if np.all(small):
        return series
    outer = np.where(small, 1.0, x)
    return np.where(small, series, (np.exp(outer) * (outer - 1.0) + 1.0) / outer**2)


def _series(coefficients: list[float], x: NDArray[Any]) -> NDArray[Any]:
    # between close nodes x is small, and few terms are as good as all
    largest = float(np.abs(x).max(initial=0.0))
    terms = next((n for n, reach in _TERMS if largest < reach), len(coefficients))
    total = np.full_like(x, coefficients[terms - 1])
    for coefficient in coefficients[terms - 2 :: -1]:
        total = total * x + coefficient
    return total
