"""The transfer function of a dataset: what the point spread function and the pixels do to each frequency.

    H_k(nu)  = Phat_k(|u|) sinc(nu_x) sinc(nu_y)
    Phat_k(q) = 2 pi int PSF_k(r) J0(2 pi q r) r dr,    Phat_k(0) = 1

``sinc(nu_x) sinc(nu_y)`` is the integration over a pixel. The table is interpolated in r by an even cubic
spline: linear interpolation is wrong by 1 to 3 % of the peak and leaves kinks, whose slow tails ask for
many times more frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import maximum_filter1d
from scipy.special import j0

from gammaflow.likelihood.frequencies import Frequencies

Floats = NDArray[np.float64]
PsfInterpolation = Literal["spline", "linear"]

#: Nodes that are mirrored to negative radii, so that the spline is even.
_MIRRORED = 8
#: Points of the table of Phat per cycle/deg and deg of radius.
_POINTS_PER_CYCLE = 12
#: Knots beyond the highest frequency that is asked for: 0.27 to this power is below rounding.
_MARGIN = 32
#: Fewer make a spline no cheaper.
_LEAST_KNOTS = 256
#: Gauss-Legendre nodes in an interval of the radius axis: at least so many, and 3.5 per cycle of J0, and 8
#: more.
_LEAST_NODES = 8
_NODES_PER_CYCLE = 3.5


@dataclass(frozen=True, eq=False)
class PointSpread:
    """A point spread function that depends on energy and distance only, in real and in Fourier space.

    Parameters
    ----------
    r : array (R,)
        Radii in deg.
    density : array (K, R)
        PSF at these radii in deg-2, integral 1; zero for an energy without a PSF.
    ring : array (R,)
        ``2 pi r dr``: weights for integrals over the plane.
    q : array (T,)
        Equidistant frequencies in cycles/deg, from 0.
    phat : array (K, T)
        Transform at these.
    """

    r: Floats
    density: Floats
    ring: Floats
    q: Floats
    phat: Floats

    @classmethod
    def from_table(
        cls,
        edges: Floats,
        centers: Floats,
        table: Floats,
        q_max: float,
        interpolation: PsfInterpolation = "spline",
    ) -> PointSpread:
        """From values at the centres of a radius axis.

        Parameters
        ----------
        edges : array (n + 1,)
            Edges of the axis in deg; the PSF is zero beyond the last.
        centers : array (n,)
        table : array (K, n)
            Values, in any unit: the PSF is normalised to 1 over the axis.
        q_max : float
            Highest frequency that will be asked for, cycles/deg.
        interpolation : {"spline", "linear"}
            "linear" only to compare with other programs.
        """
        # the quadrature follows q_max, in steps: one matrix serves datasets with nearly the same pixels
        top = 2.0 ** (np.ceil(4 * np.log2(q_max)) / 4)
        rule = _hankel(tuple(edges.tolist()), tuple(centers.tolist()), float(top), interpolation)
        density = np.clip(np.asarray(table, dtype=np.float64) @ rule.interpolate.T, 0.0, None)
        total = density @ rule.ring
        density = np.divide(density, total[:, None], out=np.zeros_like(density), where=total[:, None] > 0)
        return cls(rule.r, density, rule.ring, rule.q, (density * rule.ring) @ rule.bessel)

    @classmethod
    def gaussian(cls, sigma: float, energies: int, q_max: float) -> PointSpread:
        """A Gaussian of ``sigma`` deg at every energy."""
        edges = np.linspace(0.0, 6.0 * sigma, 61)
        centers = 0.5 * (edges[1:] + edges[:-1])
        table = np.exp(-0.5 * (centers / sigma) ** 2)
        return cls.from_table(edges, centers, np.tile(table, (energies, 1)), q_max)

    @cached_property
    def _splines(self) -> dict[int, CubicSpline]:
        """Those made so far, by their number of knots."""
        return {}

    def _spline(self, q: Floats) -> CubicSpline:
        """A spline that reaches to the highest of ``q``: most sources ask for low frequencies only.

        What the knots beyond would change falls to rounding within `_MARGIN` of them. Their number depends on
        the highest frequency alone, so that the answer does not depend on what was asked before.
        """
        needed = int(q.max(initial=0.0) / self.q[1]) + _MARGIN
        knots = min(max(1 << needed.bit_length(), _LEAST_KNOTS), len(self.q))
        if knots not in self._splines:
            self._splines[knots] = CubicSpline(self.q[:knots], self.phat.T[:knots])
        return self._splines[knots]

    def transform(self, q: Floats) -> Floats:
        """Phat (K, Q) at frequencies (Q,) in cycles/deg, not above ``q[-1]``."""
        return np.ascontiguousarray(self._spline(q)(q).T)

    def transform_slope(self, q: Floats) -> Floats:
        """dPhat/dq (K, Q), deg."""
        return np.ascontiguousarray(self._spline(q)(q, 1).T)

    @cached_property
    def envelope(self) -> Floats:
        """The largest |Phat| of any energy within a wave of each ``q``, (T,).

        Not the largest beyond: the knots of the spline give Phat a faint line at the inverse of their distance.
        """
        return maximum_filter1d(np.abs(self.phat).max(axis=0), 2 * _POINTS_PER_CYCLE + 1)

    def envelope_at(self, q: Floats) -> Floats:
        """Upper bound of |Phat| of every energy at frequencies (Q,)."""
        step = self.q[1]
        below = np.minimum((q / step).astype(np.intp), len(self.q) - 1)
        return self.envelope[below]

    def containment_radius(self, fraction: float) -> Floats:
        """Radius in deg that holds a fraction of the PSF, per energy (K,); 0 for an energy without a PSF."""
        inside = np.cumsum(self.density * self.ring, axis=1)
        radius = np.zeros(len(inside))
        for k, row in enumerate(inside):
            if row[-1] > 0:
                radius[k] = self.r[min(int(np.searchsorted(row, fraction)), len(self.r) - 1)]
        return radius

    def select(self, energies: NDArray[np.bool_] | slice) -> PointSpread:
        """The same with only some energies."""
        chosen = PointSpread(self.r, self.density[energies], self.ring, self.q, self.phat[energies])
        for knots, made in self._splines.items():  # each energy has a spline of its own
            chosen._splines[knots] = CubicSpline.construct_fast(made.c[:, :, energies], made.x)
        return chosen


def pixel_transfer(frequencies: Frequencies) -> Floats:
    """``sinc(nu_x) sinc(nu_y)`` (Q,): the integral over a pixel."""
    return np.sinc(frequencies.nu[0]) * np.sinc(frequencies.nu[1])


def transfer(spread: PointSpread, frequencies: Frequencies) -> Floats:
    """H (K, Q) on listed frequencies."""
    return spread.transform(frequencies.radius) * pixel_transfer(frequencies)


@dataclass(frozen=True, eq=False)
class _HankelRule:
    """Quadrature for one radius axis: the PSF at ``r`` is ``interpolate @ table``, its transform
    ``bessel.T @ (PSF ring)``.
    """

    r: Floats
    ring: Floats
    interpolate: Floats
    q: Floats
    bessel: Floats


@lru_cache(maxsize=8)
def _hankel(
    edges: tuple[float, ...], centers: tuple[float, ...], q_max: float, interpolation: PsfInterpolation
) -> _HankelRule:
    breaks = np.unique(np.concatenate([[0.0], centers, [edges[-1]]]))
    nodes, weights = [], []
    for lo, hi in pairwise(breaks.tolist()):
        count = max(_LEAST_NODES, int(np.ceil(_NODES_PER_CYCLE * q_max * (hi - lo))) + 8)
        x, w = _legendre(count)
        nodes.append(0.5 * (hi + lo) + 0.5 * (hi - lo) * x)
        weights.append(0.5 * (hi - lo) * w)
    r, dr = np.concatenate(nodes), np.concatenate(weights)
    step = 1.0 / (_POINTS_PER_CYCLE * edges[-1])
    q = step * np.arange(int(np.ceil(q_max / step)) + 3, dtype=np.float64)
    return _HankelRule(
        r,
        2 * np.pi * r * dr,
        _interpolation_matrix(centers, r, interpolation),
        q,
        j0(2 * np.pi * np.outer(r, q)),
    )


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
