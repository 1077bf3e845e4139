"""Hankel transforms of functions that are given as tables on one radius axis.

    Phat(q) = 2 pi int PSF(r) J0(2 pi q r) r dr

by Gauss-Legendre nodes between the table's points. The matrix J0(2 pi q r) depends on the axis only. Where it would be
large, as for a PSF with tails over ten degrees on pixels of a tenth, the function is taken apart by a smooth step: its
inner part needs few frequencies, as it ends soon, and its outer part only low ones, as it is smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import erfc

from gammaflow.likelihood.bessel import j0_grid

Floats = NDArray[np.float64]
PsfInterpolation = Literal["spline", "linear"]

#: Nodes that are mirrored to negative radii, so that the spline is even.
_MIRRORED = 8
#: Points of a table of Phat per cycle/deg and deg of radius; of the inner part, which is interpolated once more.
POINTS_PER_CYCLE = 12
_INNER_POINTS = 18
#: Gauss-Legendre nodes in an interval of the radius axis: 3.5 per cycle of J0, and so many more.
_NODES_PER_CYCLE = 3.5
_MORE_NODES = 8
_MORE_OUTER_NODES = 4
#: A matrix with more elements is taken apart; the inner part ends at this share of the radius.
_LARGEST_MATRIX = 2_000_000
_INNER_SHARE = 0.125
#: The step from the inner to the outer part begins at this share of the inner radius; it is 12 sigma wide.
_STEP_BEGINS = 0.25
#: Frequencies of the outer part: first up to this many inverse sigmas of the step, doubled until no more than this is
#: left of it. (What is left belongs to the end of the axis, far from any pixel.)
_OUTER_FREQUENCIES = 1.25
_NOTHING = 2e-6


@dataclass(frozen=True, eq=False)
class _Part:
    """Quadrature for a part of the radius axis.

    Parameters
    ----------
    weight : array (R,)
        ``2 pi r dr``, and the smooth step.
    interpolate : array (R, n)
    q : array (T,)
    bessel : array (R, T)
        J0(2 pi q r).
    """

    weight: Floats
    interpolate: Floats
    q: Floats
    bessel: Floats

    def transform(self, table: Floats) -> Floats:
        """(K, T) of a table (K, n)."""
        return np.asarray((np.clip(table @ self.interpolate.T, 0.0, None) * self.weight) @ self.bessel)


class HankelRule:
    """Quadrature for one radius axis, in deg.

    Attributes
    ----------
    r : array (R,)
        Nodes.
    ring : array (R,)
        ``2 pi r dr``: weights for integrals over the plane.
    interpolate : array (R, n)
        Takes values at the centres of the axis to values at the nodes.
    q : array (T,)
        Equidistant frequencies in cycles/deg, from 0.
    """

    def __init__(
        self,
        edges: tuple[float, ...],
        centers: tuple[float, ...],
        q_max: float,
        interpolation: PsfInterpolation,
    ) -> None:
        self._breaks = np.unique(np.concatenate([[0.0], centers, [edges[-1]]]))
        self._centers, self._interpolation = centers, interpolation
        self.r, self.ring = _nodes(self._breaks, q_max, _MORE_NODES)
        self.interpolate = _interpolation_matrix(centers, self.r, interpolation)
        self.q = _frequencies(POINTS_PER_CYCLE * edges[-1], q_max)
        self._outer: dict[int, _Part] = {}
        end = _INNER_SHARE * edges[-1]
        self._inner_radii = _STEP_BEGINS * end, end
        self._sigma = (1 - _STEP_BEGINS) * end / 12

    def functions(self, table: Floats) -> tuple[Floats, Floats]:
        """Of values (K, n) at the centres of the axis: the functions at the nodes (K, R), not negative and of integral
        1, and their transforms (K, T); zero where the values are.
        """
        density, over = self._normalised(table)
        return density, self._transform(table * over)

    def density(self, table: Floats) -> Floats:
        """The first half of `functions`."""
        return self._normalised(table)[0]

    def _normalised(self, table: Floats) -> tuple[Floats, Floats]:
        density = np.clip(table @ self.interpolate.T, 0.0, None)
        total = (density @ self.ring)[:, None]
        over = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
        return density * over, over

    def _transform(self, table: Floats) -> Floats:
        if len(self.r) * len(self.q) <= _LARGEST_MATRIX:
            return self._whole.transform(table)
        found = np.ascontiguousarray(CubicSpline(self._inner.q, self._inner.transform(table).T)(self.q).T)
        count = min(int(_OUTER_FREQUENCIES / self._sigma / self.q[1]), len(self.q))
        values = self._outer_part(count).transform(table)
        while count < len(self.q) and np.any(np.abs(values[:, count // 2 :]) > _NOTHING):
            count = min(2 * count, len(self.q))
            values = self._outer_part(count).transform(table)
        found[:, :count] += values
        return found

    @cached_property
    def _whole(self) -> _Part:
        return _Part(self.ring, self.interpolate, self.q, j0_grid(self.r, self.q[1], len(self.q)))

    @cached_property
    def _inner(self) -> _Part:
        end = self._inner_radii[1]
        count = int(np.searchsorted(self.r, end))
        r = self.r[:count]
        q = _frequencies(_INNER_POINTS * end, float(self.q[-1]))
        weight = self.ring[:count] * self._inside(r)
        return _Part(weight, self.interpolate[:count], q, j0_grid(r, q[1], len(q)))

    def _outer_part(self, count: int) -> _Part:
        if count not in self._outer:
            q = self.q[:count]
            begin = int(np.searchsorted(self._breaks, self._inner_radii[0], side="right")) - 1
            r, ring = _nodes(self._breaks[begin:], float(q[-1]), _MORE_OUTER_NODES)
            matrix = _interpolation_matrix(self._centers, r, self._interpolation)
            bessel = j0_grid(r, q[1], len(q))
            self._outer = {count: _Part(ring * (1.0 - self._inside(r)), matrix, q, bessel)}
        return self._outer[count]

    def _inside(self, r: Floats) -> Floats:
        """The smooth step: 1 inside, 0 outside."""
        middle = 0.5 * sum(self._inner_radii)
        return np.asarray(0.5 * erfc((r - middle) / (np.sqrt(2) * self._sigma)))


def _nodes(breaks: Floats, q_max: float, more: int) -> tuple[Floats, Floats]:
    """Nodes between the breaks, and their ``2 pi r dr``."""
    nodes, weights = [], []
    for lo, hi in pairwise(breaks.tolist()):
        x, w = _legendre(int(np.ceil(_NODES_PER_CYCLE * q_max * (hi - lo))) + more)
        nodes.append(0.5 * (hi + lo) + 0.5 * (hi - lo) * x)
        weights.append(0.5 * (hi - lo) * w)
    r = np.concatenate(nodes)
    return r, 2 * np.pi * r * np.concatenate(weights)


def _frequencies(per_cycle: float, q_max: float) -> Floats:
    return np.arange(int(np.ceil(q_max * per_cycle)) + 3, dtype=np.float64) / per_cycle


def hankel_rule(
    edges: Floats, centers: Floats, q_max: float, interpolation: PsfInterpolation = "spline"
) -> HankelRule:
    """The rule for a radius axis (edges and centres in deg) up to ``q_max`` cycles/deg; one for all who ask.

    Its frequencies reach to the next step of a ladder: one matrix serves datasets with nearly the same pixels.
    """
    top = 2.0 ** (np.ceil(4 * np.log2(q_max)) / 4)
    return _rule(tuple(edges.tolist()), tuple(centers.tolist()), float(top), interpolation)


@lru_cache(maxsize=8)
def _rule(
    edges: tuple[float, ...], centers: tuple[float, ...], q_max: float, interpolation: PsfInterpolation
) -> HankelRule:
    return HankelRule(edges, centers, q_max, interpolation)


@lru_cache(maxsize=64)
def _legendre(count: int) -> tuple[Floats, Floats]:
    return np.polynomial.legendre.leggauss(count)


def _interpolation_matrix(centers: tuple[float, ...], r: Floats, interpolation: PsfInterpolation) -> Floats:
    """Matrix (R, n) that takes values at the centres to values at ``r``."""
    x = np.asarray(centers)
    n = len(x)
    if n == 1:
        return np.ones((len(r), 1))
    if interpolation == "linear":
        index = np.clip(np.searchsorted(x, r) - 1, 0, n - 2)
        fraction = (r - x[index]) / (x[index + 1] - x[index])
        matrix = np.zeros((len(r), n))
        matrix[np.arange(len(r)), index] = 1 - fraction
        matrix[np.arange(len(r)), index + 1] = fraction
        return matrix
    mirrored = np.flatnonzero(x > 0)[:_MIRRORED][::-1]
    nodes = np.concatenate([-x[mirrored], x])
    values = np.concatenate([np.eye(n)[mirrored], np.eye(n)])
    return CubicSpline(nodes, values, bc_type="natural")(r)
