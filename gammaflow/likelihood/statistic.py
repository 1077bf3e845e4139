"""The fit statistics, bin by bin: value, score and curvature.

A `Statistic` holds what was measured; its methods take what is predicted. With ``f`` the statistic of a
bin and ``mu`` its prediction (of sources alone, for W; ``b`` is the ON counts expected then, background and all):

    =======  ==========================  ====================  ==========================
    name     value f                     score df/dmu          curvature d2f/dmu2
    =======  ==========================  ====================  ==========================
    cash     2 (mu - n ln mu)            2 (1 - n / mu)        2 n / mu^2
    wstat    see `gammaflow.stats`       2 (1 - n_on / b)      2 A C / (alpha^2 A + C)
    =======  ==========================  ====================  ==========================

``A = n_on / b^2``, ``C = n_off / mu_bkg^2``. For flux points see `gammaflow.datasets.flux_statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from gammaflow.stats import wstat

Floats = NDArray[np.float64]

#: A prediction below this counts as this, in the value that is reported (Gammapy's rule).
TRUNCATION = 1e-25


class Statistic(Protocol):
    """What a fit statistic must be able to do, for arrays of bins."""

    def value(self, predicted: Floats) -> Floats:
        """The statistic of each bin, by the field's conventions for predictions that are not positive."""

    def score(self, predicted: Floats) -> Floats:
        """Its derivative with respect to the prediction."""

    def curvature(self, predicted: Floats) -> Floats:
        """Its second derivative."""


@dataclass(frozen=True, eq=False)
class Cash:
    """Poisson counts with a known background: ``2 (mu - n ln mu)``, Cash 1979, ApJ 228, 939.

    Parameters
    ----------
    counts : array
        n.
    """

    counts: Floats
    convex: ClassVar[bool] = True

    def value(self, predicted: Floats) -> Floats:
        """``2 (mu - n ln mu)`` with ``mu`` not below 1e-25; ``2 mu`` where n is 0."""
        mu = np.maximum(predicted, TRUNCATION)
        out = 2.0 * mu
        some = self.counts > 0
        out[some] -= 2.0 * self.counts[some] * np.log(mu[some])
        return out

    def expand(self, predicted: Floats) -> tuple[Floats, Floats, Floats]:
        """Value, score and curvature together, as a fit wants them.

        The value lacks ``2 (n - n ln n)``, which no prediction changes; it is infinite where a bin with counts has
        no positive prediction, and ``2 mu`` where there are no counts, below zero, too.
        """
        some, possible = self.counts > 0, predicted > 0
        mu = np.where(some & possible, predicted, 1.0)
        counts = np.where(some, self.counts, 1.0)
        ratio = self.counts / mu
        value = np.where(some, predicted - counts + counts * np.log(counts / mu), predicted)
        return (
            np.where(some & ~possible, np.inf, 2.0 * value),
            2.0 * (1.0 - ratio),
            2.0 * ratio / mu,
        )

    @property
    def constant(self) -> Floats:
        """What the value of `expand` lacks."""
        some = self.counts > 0
        return np.where(
            some, 2.0 * (self.counts - self.counts * np.log(np.where(some, self.counts, 1.0))), 0.0
        )

    def score(self, predicted: Floats) -> Floats:
        """``2 (1 - n / mu)``; 0 where the value is truncated."""
        regular = predicted > TRUNCATION
        ratio = np.divide(
            self.counts, predicted, out=np.zeros_like(predicted), where=regular & (self.counts > 0)
        )
        return np.where(regular, 2.0 * (1.0 - ratio), 0.0)

    def curvature(self, predicted: Floats) -> Floats:
        """``2 n / mu^2``; 0 where the value is truncated."""
        regular = (predicted > TRUNCATION) & (self.counts > 0)
        return 2.0 * np.divide(self.counts, predicted**2, out=np.zeros_like(predicted), where=regular)


@dataclass(frozen=True, eq=False)
class WStat:
    """Poisson counts with a background that was counted, too, and is profiled: see `gammaflow.stats.wstat`.

    A bin without OFF counts is a straight line where the signal alone does not explain the ON counts, ``mu < n_on
    alpha / (1 + alpha)``: its curvature is 0 there.

    Parameters
    ----------
    on, off, alpha : array
        Counts, and acceptance of ON over that of OFF; 0 where there is no OFF measurement.
    """

    on: Floats
    off: Floats
    alpha: Floats
    convex: ClassVar[bool] = True

    def value(self, predicted: Floats) -> Floats:
        """The W statistic with the terms of the counts alone; 0 without an OFF measurement."""
        return np.asarray(wstat(self.on, self.off, self.alpha, predicted))

    def score(self, predicted: Floats) -> Floats:
        """``2 (1 - n_on / b)``; ``-2 / alpha - 2 n_off / mu`` where `nothing_left`."""
        below, alpha = self.nothing_left(predicted), self._bins[1]
        slope = -2.0 / alpha - 2.0 * self.off / np.where(below, predicted, 1.0)
        return np.where(below, slope, self.expand(predicted)[1])

    def curvature(self, predicted: Floats) -> Floats:
        """``2 A C / (alpha^2 A + C)``, ``2 A`` where no background is expected; ``2 n_off / mu^2`` where
        `nothing_left`.
        """
        below = self.nothing_left(predicted)
        bend = 2.0 * self.off / np.where(below, predicted, 1.0) ** 2
        return np.where(below, bend, self.expand(predicted)[2])

    def nothing_left(self, predicted: Floats) -> NDArray[np.bool_]:
        """Bins without ON counts whose signal is more negative than the background that the OFF counts suggest.

        The background rises there until the sum is zero; `expand` goes straight on instead.
        """
        measured, alpha, counted = self._bins
        return measured & ~counted & (predicted < -alpha * self.off / (1.0 + alpha))

    def expand(self, predicted: Floats) -> tuple[Floats, Floats, Floats]:
        """Value, score and curvature together, as a fit wants them: without the kink of `nothing_left`.

        With ``D = (1 + alpha) mu + alpha (n_on + n_off)`` the ON counts expected are the larger root of

            (1 + alpha) b^2 - D b + alpha n_on mu = 0

        Where ``n_on`` is 0 the statistic is ``2 (mu + n_off ln(1 + alpha))``, below zero, too: a continuation that a
        fit can cross, as of the Cash statistic of a bin without counts.
        """
        mu, on, off = predicted, self.on, self.off
        measured, alpha, counted = self._bins
        once = 1.0 + alpha
        d = once * mu + alpha * (on + off)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            root = np.sqrt(np.maximum(d * d - 4.0 * once * alpha * on * mu, 0.0))
            b = np.where(d >= 0, (d + root) / (2.0 * once), 2.0 * alpha * on * mu / (d - root))
            back = self._background(mu, alpha, root)
            a_on, c_off = on / (b * b), off / (back * back)
            curvature = np.where(
                (off > 0) | (back > 0), 2.0 * a_on * c_off / (alpha * alpha * a_on + c_off), 2.0 * a_on
            )
            curvature[(off == 0) & (back > 0)] = 0.0
            value = 2.0 * (_deviance(on, b) + _deviance(off, back))
            score = 2.0 * (1.0 - on / b)
        some = measured & counted
        line = np.where(measured, 2.0, 0.0)
        return (
            np.where(some, value, line * (mu + self._without_on)),
            np.where(some, score, line),
            np.where(some, curvature, 0.0),
        )

    def _background(self, mu: Floats, alpha: Floats, root: Floats) -> Floats:
        """Expected OFF counts, see `gammaflow.stats.wstat_mu_bkg`."""
        c = alpha * (self.on + self.off) - (1.0 + alpha) * mu
        return np.where(c >= 0, (c + root) / (2.0 * alpha * (1.0 + alpha)), 2.0 * self.off * mu / (root - c))

    @cached_property
    def _bins(self) -> tuple[NDArray[np.bool_], Floats, NDArray[np.bool_]]:
        """Bins with an OFF measurement, alpha, bins with ON counts."""
        measured = (self.alpha > 0) & (self.alpha < 1e100)
        return measured, np.where(measured, self.alpha, 1.0), self.on > 0

    @cached_property
    def _without_on(self) -> Floats:
        """``n_off ln(1 + alpha)``."""
        return self.off * np.log1p(self._bins[1])


def _deviance(counts: Floats, expected: Floats) -> Floats:
    """``mu - n + n ln(n / mu)``, ``mu`` where n is 0."""
    return np.where(
        counts > 0,
        expected - counts + counts * np.log(np.where(counts > 0, counts, 1.0) / expected),
        expected,
    )
