"""The transfer function of a dataset: what the point spread function and the pixels do to each frequency.

    H_k(nu)  = Phat_k(|u|) sinc(nu_x) sinc(nu_y)
    Phat_k(q) = 2 pi int PSF_k(r) J0(2 pi q r) r dr,    Phat_k(0) = 1

``sinc(nu_x) sinc(nu_y)`` is the integration over a pixel. The table is interpolated in r by an even cubic
spline: linear interpolation is wrong by 1 to 3 % of the peak and leaves kinks, whose slow tails ask for
many times more frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import maximum_filter1d

from gammaflow.likelihood.frequencies import Frequencies
from gammaflow.likelihood.hankel import POINTS_PER_CYCLE, PsfInterpolation, hankel_rule

Floats = NDArray[np.float64]

#: Knots beyond the highest frequency that is asked for: 0.27 to this power is below rounding.
_MARGIN = 32
#: Fewer make a spline no cheaper.
_LEAST_KNOTS = 256


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
        rule = hankel_rule(edges, centers, q_max, interpolation)
        density, phat = rule.functions(np.asarray(table, dtype=np.float64))
        return cls(rule.r, density, rule.ring, rule.q, phat)

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
        return np.ascontiguousarray(_at_equidistant_knots(self._spline(q), q).T)

    def transform_slope(self, q: Floats) -> Floats:
        """dPhat/dq (K, Q), deg."""
        return np.ascontiguousarray(self._spline(q)(q, 1).T)

    @cached_property
    def envelope(self) -> Floats:
        """The largest |Phat| of any energy within a wave of each ``q``, (T,).

        Not the largest beyond: the knots of the spline give Phat a faint line at the inverse of their distance.
        """
        return maximum_filter1d(np.abs(self.phat).max(axis=0), 2 * POINTS_PER_CYCLE + 1)

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

    def combined(self, weights: Floats) -> PointSpread:
        """Sums over the energies, with weights (J, K): everything here is linear but the containment."""
        return PointSpread(self.r, weights @ self.density, self.ring, self.q, weights @ self.phat)

    def softened(self, sigma: float) -> PointSpread:
        """Smoothed by a Gaussian of ``sigma`` deg, much smaller than any radius of interest: in its transform only."""
        phat = self.phat * np.exp(-2.0 * (np.pi * sigma * self.q) ** 2)
        return PointSpread(self.r, self.density, self.ring, self.q, phat)

    def select(self, energies: NDArray[np.bool_] | slice) -> PointSpread:
        """The same with only some energies."""
        chosen = PointSpread(self.r, self.density[energies], self.ring, self.q, self.phat[energies])
        for knots, made in self._splines.items():  # each energy has a spline of its own
            chosen._splines[knots] = CubicSpline.construct_fast(made.c[:, :, energies], made.x)
        return chosen


def _at_equidistant_knots(spline: CubicSpline, q: Floats) -> Floats:
    """The spline (Q, K) at places (Q,) from the first knot on, which is 0: no search for the knots, as scipy makes."""
    step = spline.x[1]
    index = np.minimum((q * (1.0 / step)).astype(np.intp), len(spline.x) - 2)
    beyond = (q - index * step)[:, None]
    out = spline.c[0].take(index, axis=0)
    for coefficients in spline.c[1:]:
        out *= beyond
        out += coefficients.take(index, axis=0)
    return np.asarray(out)


def pixel_transfer(frequencies: Frequencies) -> Floats:
    """``sinc(nu_x) sinc(nu_y)`` (Q,): the integral over a pixel."""
    if not frequencies.count:
        return np.ones(0)
    sides = []
    for steps in frequencies.steps:  # whole numbers, each of which comes many times
        low = int(steps.min())
        table = np.sinc(np.arange(low, int(steps.max()) + 1) / frequencies.size)
        sides.append(table[steps - low])
    return np.asarray(sides[0] * sides[1])


def transfer(spread: PointSpread, frequencies: Frequencies) -> Floats:
    """H (K, Q) on listed frequencies."""
    return spread.transform(frequencies.radius) * pixel_transfer(frequencies)
