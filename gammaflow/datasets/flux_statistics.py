"""How flux points are held against the fluxes that a model predicts: four statistics, point by point.

With ``d`` a flux, ``s`` its error, ``u`` its upper limit, ``m`` the prediction and ``Phi`` the normal distribution:

    =========  =======================================================  ==========================================
    name       points with a flux                                       upper limits
    =========  =======================================================  ==========================================
    chi2       ((d - m) / s)^2                                          left out
    distrib    ((d - m) / s)^2, s on the side where m lies              2 ln[Phi(-a) / Phi(-a0)], a = (u - m)/(u/sqrt 2)
    censored   as distrib                                               -2 ln[Phi(z) / Phi(z0)], z = (u - m)/s
    profile    the scan of the fit statistic, interpolated, at m/d_ref  the same
    =========  =======================================================  ==========================================

``a0`` and ``z0`` are ``a`` and ``z`` at m = 0; the width s of a limit of n sigma is (u - d) / n, or u / n where there
is no flux below it. The first two and the last are those of Gammapy 2.1, number for number. Its ``distrib`` takes the
complement of the probability that Mohanty et al. (2013, ApJ 773, 168, equation C7) give for a limit: it stays below
5.1 however far a model overshoots. ``censored`` is their equation, and grows as a chi2 does.

The objects here have the methods of a `gammaflow.likelihood` statistic: ``value``, ``score`` and ``curvature`` for
predicted fluxes in cm-2 s-1 TeV-1; points that are not ``valid`` give zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PPoly, make_interp_spline
from scipy.special import log_ndtr

Floats = NDArray[np.float64]

#: Names of the statistics, the one in use by default first.
STAT_TYPES = ("chi2", "distrib", "censored", "profile")


class FluxStatistic(Protocol):
    """What each of them can do, for arrays of all points (n,)."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Points that take part."""

    def value(self, predicted: Floats) -> Floats:
        """The statistic of each point."""

    def score(self, predicted: Floats) -> Floats:
        """Its derivative with respect to the predicted flux."""

    def curvature(self, predicted: Floats) -> Floats:
        """Its second derivative."""


@dataclass(frozen=True, eq=False)
class Chi2:
    """Symmetric errors; limits left out.

    Parameters
    ----------
    flux, error : array (n,)
        cm-2 s-1 TeV-1.
    valid : array of bool (n,)
        Points that take part: flux finite, error finite and positive.
    """

    flux: Floats
    error: Floats
    valid: NDArray[np.bool_]

    @cached_property
    def _weight(self) -> Floats:
        return np.divide(1.0, self.error, out=np.zeros(self.flux.shape), where=self.valid) ** 2

    @cached_property
    def _known(self) -> Floats:
        return np.where(self.valid, self.flux, 0.0)

    def value(self, predicted: Floats) -> Floats:
        """``((d - m) / s)^2``."""
        return self._weight * (self._known - predicted) ** 2

    def score(self, predicted: Floats) -> Floats:
        """``2 (m - d) / s^2``."""
        return 2.0 * self._weight * (predicted - self._known)

    def curvature(self, predicted: Floats) -> Floats:
        """``2 / s^2``."""
        return 2.0 * self._weight + 0.0 * predicted


@dataclass(frozen=True, eq=False)
class TwoSided:
    """Errors of two sides, and limits by a probability; ``distrib`` and ``censored``.

    Parameters
    ----------
    flux, below, above : array (n,)
        Fluxes, and the errors that count where the prediction lies below, and not below, the flux.
    limit, width : array (n,)
        Upper limits, and the width of the distribution that each is thought to cut.
    valid, is_limit : array of bool (n,)
        Points that take part; which of them are limits.
    falling : bool
        True: Phi of the limit less the prediction (``censored``); False: its complement (``distrib``).
    """

    flux: Floats
    below: Floats
    above: Floats
    limit: Floats
    width: Floats
    valid: NDArray[np.bool_]
    is_limit: NDArray[np.bool_]
    falling: bool

    def value(self, predicted: Floats) -> Floats:
        """See the table of the module."""
        out, points, limits = self._parts(predicted)
        out[points] = self._pull(predicted, points) ** 2
        sign = 1.0 if self.falling else -1.0
        z, z0 = self._arguments(predicted, limits), self._arguments(np.zeros_like(predicted), limits)
        out[limits] = -2.0 * sign * (log_ndtr(sign * z) - log_ndtr(sign * z0))
        return out

    def score(self, predicted: Floats) -> Floats:
        """First derivative; for limits ``2 h / s`` with ``h = phi / Phi`` of either tail."""
        out, points, limits = self._parts(predicted)
        out[points] = -2.0 * self._pull(predicted, points) / self._scale(predicted, points)
        sign = 1.0 if self.falling else -1.0
        out[limits] = 2.0 * _mills(sign * self._arguments(predicted, limits)) / self.width[limits]
        return out

    def curvature(self, predicted: Floats) -> Floats:
        """Second derivative; for limits ``2 h (z + h) / s^2``, or ``2 h (a - h) / s^2`` for ``distrib``."""
        out, points, limits = self._parts(predicted)
        out[points] = 2.0 / self._scale(predicted, points) ** 2
        sign = 1.0 if self.falling else -1.0
        z = self._arguments(predicted, limits)
        h = _mills(sign * z)
        out[limits] = 2.0 * h * (z + sign * h) / self.width[limits] ** 2
        return out

    def _parts(self, predicted: Floats) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
        return np.zeros(predicted.shape), self.valid & ~self.is_limit, self.valid & self.is_limit

    def _scale(self, predicted: Floats, points: NDArray[np.bool_]) -> Floats:
        return np.where(predicted >= self.flux, self.above, self.below)[points]

    def _pull(self, predicted: Floats, points: NDArray[np.bool_]) -> Floats:
        return np.asarray((self.flux - predicted)[points] / self._scale(predicted, points))

    def _arguments(self, predicted: Floats, limits: NDArray[np.bool_]) -> Floats:
        return np.asarray((self.limit - predicted)[limits] / self.width[limits])


def _mills(z: Floats) -> Floats:
    """phi(z) / Phi(z), also where both are too small for a float."""
    return np.asarray(np.exp(-0.5 * z**2 - log_ndtr(z)) / np.sqrt(2.0 * np.pi))


@dataclass(frozen=True, eq=False)
class Profile:
    """The scan of the fit statistic over norms, less its value at the best norm, interpolated at each prediction.

    Between the first and the last norm: the quadratic spline through the scan, as in Gammapy (where ``interp_scale``
    "sqrt" means this). Outside: its last piece goes on where that is convex, as there; otherwise a straight line
    that never falls away from the scan, where Gammapy's parabola falls without end and draws fits to absurd fluxes.

    Parameters
    ----------
    norm, delta : array (n, m)
        Norms, increasing along each row, and the statistic less that of the best norm; m at least 2.
    reference : array (n,)
        The flux that norm 1 stands for, cm-2 s-1 TeV-1.
    valid : array of bool (n,)
        Points that take part: all of the row finite.
    """

    norm: Floats
    delta: Floats
    reference: Floats
    valid: NDArray[np.bool_]

    @cached_property
    def _pieces(self) -> tuple[Floats, Floats]:
        """Where each polynomial starts (n, p), and its coefficients, constant first (n, p, 3).

        Two pieces more than the spline has stand for what is outside the scan.
        """
        n, m = self.norm.shape
        degree = min(2, m - 1)
        inner = m - degree
        starts, coefficients = np.zeros((n, inner + 2)), np.zeros((n, inner + 2, 3))
        for k in np.flatnonzero(self.valid):
            spline = make_interp_spline(self.norm[k], self.delta[k], k=degree)
            pieces = PPoly.from_spline(spline)
            low, high = self.norm[k, 0], self.norm[k, -1]
            inside = (pieces.x[:-1] >= low) & (pieces.x[:-1] < high) & (pieces.x[1:] > pieces.x[:-1])
            starts[k, 1:-1] = pieces.x[:-1][inside]
            coefficients[k, 1:-1, : degree + 1] = pieces.c[::-1, inside].T
            for place, edge, outward in ((0, low, -1.0), (-1, high, 1.0)):
                value, slope, second = (float(spline(edge, order)) for order in range(3))
                if second <= 0.0:
                    slope, second = outward * max(outward * slope, 0.0), 0.0
                starts[k, place] = edge
                coefficients[k, place] = value, slope, 0.5 * second
        return starts, coefficients

    def _at(self, predicted: Floats) -> tuple[Floats, Floats, Floats]:
        """Distance from the start of the piece that each prediction falls in, its coefficients, and the reference."""
        starts, coefficients = self._pieces
        reference = np.where(self.valid, self.reference, 1.0)
        norm = predicted / reference
        # The first of `starts` is the lower end of the scan twice: below it is the piece outside
        piece = np.sum(norm[:, None] >= starts[:, 1:], axis=1)
        rows = np.arange(len(norm))
        return norm - starts[rows, piece], coefficients[rows, piece], reference

    def value(self, predicted: Floats) -> Floats:
        """The interpolated scan."""
        x, c, _ = self._at(predicted)
        return np.where(self.valid, c[:, 0] + x * (c[:, 1] + x * c[:, 2]), 0.0)

    def score(self, predicted: Floats) -> Floats:
        """Its derivative with respect to the flux."""
        x, c, reference = self._at(predicted)
        return np.where(self.valid, (c[:, 1] + 2.0 * x * c[:, 2]) / reference, 0.0)

    def curvature(self, predicted: Floats) -> Floats:
        """Its second derivative, constant on each piece."""
        _, c, reference = self._at(predicted)
        return np.where(self.valid, 2.0 * c[:, 2] / reference**2, 0.0)
