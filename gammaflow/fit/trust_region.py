"""The exact step of a trust-region Newton method within limits, and what the curvature at a point tells.

    minimise  g.s + s.H.s / 2   with  |D s| <= r  and  low <= s <= high

by the eigenvalues of ``D^-1 H D^-1`` (Moré & Sorensen 1983, SIAM J. Sci. Stat. Comput. 4, 553: also
where H is indefinite, also in the "hard case"); limits by an active set. The problems are small:
tens of parameters at most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: An eigenvalue below this, relative to the largest, is a direction in which the data say nothing.
FLAT = 1e-11
#: Relative accuracy of the length of a step on the border of the trust region.
_BORDER = 1e-3
_ITERATIONS = 60


def free_directions(gradient: Floats, theta: Floats, bounds: Floats, moving: Bools) -> Bools:
    """Parameters (m,) that may move: not held, not pressed against a limit (Karush-Kuhn-Tucker's sign test)."""
    low = (theta <= bounds[:, 0]) & (gradient > 0)
    high = (theta >= bounds[:, 1]) & (gradient < 0)
    return moving & ~low & ~high


def bounded_step(
    gradient: Floats, hessian: Floats, scale: Floats, radius: float, room: Floats, moving: Bools
) -> Floats:
    """The step (m,).

    Parameters
    ----------
    gradient : array (m,)
    hessian : array (m, m)
    scale : array (m,)
        D, one over the size of a usual step.
    radius : float
        r.
    room : array (m, 2)
        ``low`` (<= 0) and ``high`` (>= 0).
    moving : array (m,) of bool
        Which parameters may move at all.
    """
    step = np.zeros(len(gradient))
    held = ~free_directions(gradient, step, room, moving)
    for _ in range(4 * len(gradient) + 4):
        index = np.flatnonzero(~held)
        left = radius**2 - float(((scale * step)[held] ** 2).sum())
        if not len(index) or left <= 0:
            break
        # what already stands at a limit pulls on the others
        pull = gradient[index] + hessian[np.ix_(index, held)] @ step[held]
        target = trust_step(pull, hessian[np.ix_(index, index)], scale[index], math.sqrt(left))
        if _turns_away(target, pull, room[index]):
            target = -target
        way = target - step[index]
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.where(way > 0, room[index, 1], room[index, 0]) - step[index]
            share = np.where(way != 0, ends / way, np.inf)
        first = int(np.argmin(share))
        if share[first] < 1:
            # as far as the first limit, which then holds
            step[index] += max(float(share[first]), 0.0) * way
            step[index[first]] = room[index[first], 1 if way[first] > 0 else 0]
            held[index[first]] = True
            continue
        step[index] = target
        slope = (gradient + hessian @ step) / scale
        inwards = np.where(step <= room[:, 0], -slope, np.where(step >= room[:, 1], slope, 0.0))
        inwards = np.where(held & moving, inwards, 0.0)
        if not inwards.max(initial=0.0) > 1e-12 * np.abs(slope).max(initial=0.0) or np.linalg.norm(
            scale * step
        ) >= radius * (1 - 2 * _BORDER):
            break
        held[int(np.argmax(inwards))] = False
    return step


def _turns_away(step: Floats, gradient: Floats, room: Floats) -> bool:
    """Whether a step whose sign the gradient leaves open runs into limits, and its opposite does not."""
    if abs(float(gradient @ step)) > 1e-12 * float(np.abs(gradient) @ np.abs(step)) + 1e-300:
        return False
    out, back = (np.clip(way, room[:, 0], room[:, 1]) for way in (step, -step))
    return bool(np.abs(back).sum() > np.abs(out).sum())


def trust_step(gradient: Floats, hessian: Floats, scale: Floats, radius: float) -> Floats:
    """The same without limits."""
    values, vectors = np.linalg.eigh(hessian / np.outer(scale, scale))
    along = vectors.T @ (gradient / scale)
    if not np.isfinite(radius):
        radius = 1e300
    size = float(np.abs(along).max(initial=0.0))
    top = float(np.abs(values).max(initial=0.0))
    flat = np.abs(values) <= FLAT * max(top, 1e-300)
    # nothing is known along a flat direction: do not divide rounding by rounding
    along = np.where(flat & (np.abs(along) <= 1e-9 * size + 1e-12), 0.0, along)
    lowest = float(values[0])
    with np.errstate(over="ignore"):  # a length beyond all numbers is longer than any radius
        if lowest > FLAT * top or not (along[values <= FLAT * top].any() or lowest < -FLAT * top):
            inside = np.divide(-along, values, out=np.zeros_like(along), where=values > FLAT * top)
            if np.linalg.norm(inside) <= radius:
                return np.asarray(vectors @ inside / scale)
        return np.asarray(vectors @ _on_border(along, values, radius) / scale)


def _on_border(along: Floats, values: Floats, radius: float) -> Floats:
    """Solution of length ``radius`` in the eigenvectors' frame: ``s = -g / (values + shift)``."""
    base = max(-float(values[0]), 0.0)
    size = float(np.linalg.norm(along))
    if (
        float(np.abs(values).max()) * radius < 1e-12 * size
    ):  # a straight line: there is no other way than down
        return along * (-radius / size)

    def at(shift: float) -> Floats:
        below = values + shift
        return np.divide(-along, below, out=np.zeros_like(along), where=below > 0)

    tiny = 1e-14 * max(float(np.abs(values).max(initial=0.0)), 1e-300)
    if float(np.linalg.norm(at(base + tiny))) < radius:
        # the hard case: the gradient has nothing along the most negative curvature, and either sign will do
        step = at(base + tiny)
        step[0] += math.sqrt(max(radius**2 - float(step @ step), 0.0))
        return step
    low, high = base, base + size / radius + tiny
    shift = max(low + tiny, min(high, math.sqrt(max(low * high, 0.0))))
    for _ in range(_ITERATIONS):
        step = at(shift)
        length = float(np.linalg.norm(step))
        if abs(length - radius) <= _BORDER * radius:
            break
        if length > radius:
            low = shift
        else:
            high = shift
        below = values + shift
        slope = float((step**2 / np.where(below > 0, below, np.inf)).sum()) / length
        # Newton on 1 / radius - 1 / length, which is nearly straight
        newton = shift + (length - radius) / radius * length / slope if slope > 0 else math.inf
        shift = newton if low < newton < high else 0.5 * (low + high)
    return at(shift) * min(1.0, radius / max(float(np.linalg.norm(at(shift))), 1e-300))


@dataclass(frozen=True, eq=False)
class Curvature:
    """Gradient and Hessian at a point, on the parameters that may move.

    Parameters
    ----------
    edm : float
        ``g.H^-1.g / 2``: the decrease that a quadratic function would still have; infinite where
        the Hessian is not positive.
    positive : bool
        No eigenvalue is negative.
    inverse : array (m, m)
        Inverse of the Hessian on the free parameters without the flat directions, zero elsewhere.
    free : array (m,) of bool
    flat : array (k, m)
        Directions, in units of ``1 / D``, along which nothing changes.
    """

    edm: float
    positive: bool
    inverse: Floats
    free: Bools
    flat: Floats


def curvature(gradient: Floats, hessian: Floats, scale: Floats, free: Bools) -> Curvature:
    """What gradient (m,) and Hessian (m, m) say about the free parameters."""
    m = len(gradient)
    index = np.flatnonzero(free)
    inverse = np.zeros((m, m))
    if not len(index):
        return Curvature(0.0, True, inverse, free, np.zeros((0, m)))
    d = scale[index]
    values, vectors = np.linalg.eigh(hessian[np.ix_(index, index)] / np.outer(d, d))
    along = vectors.T @ (gradient[index] / d)
    top = float(np.abs(values).max())
    flat = np.abs(values) <= FLAT * top if top > 0 else np.ones(len(values), dtype=np.bool_)
    some = ~flat
    positive = bool((values[some] > 0).all())
    over = np.divide(1.0, values, out=np.zeros_like(values), where=some)
    inverse[np.ix_(index, index)] = (vectors * over) @ vectors.T / np.outer(d, d)
    directions = np.zeros((int(flat.sum()), m))
    directions[:, index] = vectors[:, flat].T
    edm = 0.5 * float((along[some] ** 2 * over[some]).sum()) if positive else math.inf
    return Curvature(edm, positive, inverse, free, directions)
