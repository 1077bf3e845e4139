"""A dataset's own parameters at a single point, the usual case: the steps of `gammaflow.likelihood.nuisance` on
vectors.

The arrays of a dataset are small, a few hundred bins: a search costs what its calls of numpy cost, so that there
are as few as possible here. Whatever is unusual (a prediction that is not positive, parameters that the counts do
not determine) is left to the general search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.background_factor import BackgroundFactor, prior_terms
from gammaflow.modeling import Prior

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

MAX_ITERATIONS = 60
MAX_HALVINGS = 40


@dataclass(frozen=True, eq=False)
class PointBins:
    """Active bins as the inner function at one point needs them; see `gammaflow.likelihood.active_bins.ActiveBins`.

    Parameters
    ----------
    counts, background, background_squared, inverse_reference : array (nb,)
    energy : array (nb,) of int
    fixed : array (nb,) or None
        None where nothing is fixed.
    present, starts : array of int
        The energies that have bins, and the first bin of each.
    background_total : array (E,)
    outside : tuple of arrays, or None
        The energies with counts outside every window, and these counts; None where there are none.
    """

    counts: Floats
    background: Floats
    background_squared: Floats
    inverse_reference: Floats
    energy: Ints
    fixed: Floats | None
    present: Ints
    starts: Ints
    background_total: Floats
    outside: tuple[Ints, Floats] | None

    def per_energy(self, values: Floats) -> Floats:
        """Sums (E,) over the bins of each energy."""
        sums = np.add.reduceat(values, self.starts) if len(self.starts) else np.zeros(0)
        if len(sums) == len(self.background_total):
            return sums
        out = np.zeros(len(self.background_total))
        out[self.present] = sums
        return out


@dataclass(frozen=True, eq=False)
class PointInner:
    """The inner function at one point: as `gammaflow.likelihood.active_bins.Inner`, without the axis of points."""

    value: float
    gradient: Floats
    hessian: Floats
    ratio: Floats
    curvature: Floats
    first: Floats


@dataclass(frozen=True, eq=False)
class PointSearch:
    """The search at one point.

    Parameters
    ----------
    bins : PointBins
    factor : BackgroundFactor
    priors : tuple of Prior or None
        Of the parameters that are searched; empty when there are none.
    local : array (p,) of bool
        Which parameters are searched.
    converged : float
        Expected decrease of the statistic below which a step is the last.
    """

    bins: PointBins
    factor: BackgroundFactor
    priors: tuple[Prior | None, ...]
    local: Bools
    converged: float

    def inner(self, values: Floats, signal: Floats) -> PointInner | None:
        """The inner function for parameters (p,) and source counts (nb,); None where it has no value."""
        bins = self.bins
        phi, first, second = self.factor.at_point(values)
        mu = phi[bins.energy]
        mu *= bins.background
        mu += signal
        if bins.fixed is not None:
            mu += bins.fixed
        if not (mu.min(initial=1.0) > 0 and phi.min() > 0):
            return None
        ratio = bins.counts / mu
        curvature = ratio / mu
        curvature *= 2.0
        mu *= bins.inverse_reference
        np.log(mu, out=mu)
        value = 2.0 * float((phi - 1.0) @ bins.background_total) - 2.0 * float(mu @ bins.counts)
        slope = bins.background_total - bins.per_energy(ratio * bins.background)
        bend = bins.per_energy(curvature * bins.background_squared)
        if bins.outside is not None:
            energies, counts = bins.outside
            there = phi[energies]
            share = counts / there
            value -= 2.0 * float(np.log(there) @ counts)
            slope[energies] -= share
            bend[energies] += 2.0 * share / there
        slope *= 2.0
        gradient, hessian = first @ slope, (first * bend) @ first.T + second @ slope
        if self.priors:
            term, d1, d2 = prior_terms(self.priors, values[None])
            value += float(term[0])
            gradient += d1[0]
            hessian[np.diag_indices(len(values))] += d2[0]
        if not math.isfinite(value):
            return None
        return PointInner(value, gradient, hessian, ratio, curvature, first)

    def minimise(self, values: Floats, signal: Floats) -> tuple[Floats, PointInner] | None:
        """Newton's method from ``values`` (p,); None where the general search is to be asked."""
        here = self.inner(values, signal)
        if here is None or not here.hessian.diagonal().all():
            return None
        low, high = self.factor.low, self.factor.high
        for _ in range(MAX_ITERATIONS):
            g = here.gradient
            move = self.local & ~(((values <= low) & (g >= 0)) | ((values >= high) & (g <= 0)))
            g = np.where(move, g, 0.0)
            step = _newton_step(g, here.hessian, move)
            gain = -0.5 * float(g @ step)
            if not gain > 0:
                break
            scale = 1.0
            for _ in range(MAX_HALVINGS):
                trial = np.minimum(np.maximum(values + scale * step, low), high)
                there = self.inner(trial, signal)
                if there is not None and (
                    there.value <= here.value + 1e-4 * float(g @ (trial - values)) or gain < self.converged
                ):
                    break
                scale *= 0.5
            else:
                break
            assert there is not None  # the loop was left by its condition
            values, here = trial, there
            if gain < self.converged:
                break
        return values, here


def _newton_step(g: Floats, h: Floats, move: Bools) -> Floats:
    """``-|H|^-1 g`` on the parameters that move, zero for the others; |H| has the eigenvalues' absolute values."""
    if len(g) == 1:
        return -g / abs(h[0, 0])
    if len(g) == 2 and move.all():
        (a, b), (_, c) = h.tolist()
        determinant = a * c - b * b
        if a > 0 and determinant > 1e-10 * a * c:  # |H| is H
            x, y = g.tolist()
            return np.array([(b * y - c * x) / determinant, (b * x - a * y) / determinant])
    h = np.where(move[:, None] & move, h, 0.0)
    eigenvalues, vectors = np.linalg.eigh(h)
    size = np.abs(eigenvalues)
    along = vectors.T @ g
    along = np.divide(along, size, out=np.zeros_like(g), where=size > 1e-14 * size.max())
    return np.asarray(-(vectors @ along))
