"""A dataset's own parameters, found on the spot for given source counts: the inner loop of the profile
likelihood.

With ``s_b`` the source counts of an active bin b (one with counts, inside a window), ``B_b`` its
background, ``phi_e(psi)`` the factor on the background of energy e:

    f(psi) = 2 sum_e phi_e Btot_e - 2 sum_b n_b ln(s_b + phi_e(b) B_b) - 2 sum_e Nout_e ln phi_e + priors

``Btot_e`` is the background of all bins of the fit, ``Nout_e`` the counts outside the windows: bins
without counts and bins outside enter through these alone. Each bin belongs to one energy, so that ``f`` is
a sum over energies of functions of one ``phi_e`` each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.active_bins import ActiveBins, Inner, Profile
from gammaflow.likelihood.background_factor import BackgroundFactor, prior_terms
from gammaflow.likelihood.nuisance_point import (
    MAX_HALVINGS,
    MAX_ITERATIONS,
    PointBins,
    PointSearch,
)
from gammaflow.modeling import Prior

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]

#: Expected decrease of the statistic below which the step that is being taken is the last: the next would
#: gain its square.
CONVERGED = 1e-9


@dataclass(frozen=True, eq=False)
class Background:
    """The background of one dataset, its parameters, and the search for them.

    Parameters
    ----------
    bins : ActiveBins
    factor : BackgroundFactor
    local : array (p,) of bool
        Which of the factor's parameters are local; the others are shared.
    """

    bins: ActiveBins
    factor: BackgroundFactor
    local: Bools

    @property
    def start(self) -> Floats:
        """Start values (p,)."""
        return self.factor.start

    @property
    def _bounds(self) -> tuple[Floats, Floats]:
        return self.factor.low, self.factor.high

    @cached_property
    def _priors(self) -> tuple[Prior | None, ...]:
        # the priors of shared parameters are the manager's
        return tuple(
            prior if local else None for prior, local in zip(self.factor.priors, self.local, strict=True)
        )

    @cached_property
    def _has_priors(self) -> bool:
        return any(prior is not None for prior in self._priors)

    @cached_property
    def _has_fixed(self) -> bool:
        return bool(self.bins.fixed.any())

    @cached_property
    def _has_outside(self) -> bool:
        return bool(self.bins.counts_outside.any())

    @cached_property
    def _background_squared(self) -> Floats:
        return self.bins.background**2

    @cached_property
    def _point(self) -> PointSearch:
        bins = self.bins
        present, starts = bins.present
        some = np.flatnonzero(bins.counts_outside)
        point = PointBins(
            bins.counts,
            bins.background,
            self._background_squared,
            bins.inverse_reference,
            bins.energy,
            bins.fixed if self._has_fixed else None,
            present,
            starts,
            bins.background_total,
            (some, bins.counts_outside[some]) if self._has_outside else None,
        )
        return PointSearch(
            point, self.factor, self._priors if self._has_priors else (), self.local, CONVERGED
        )

    def inner(self, values: Floats, signal: Floats) -> Inner:
        """The inner function for parameters (P, p) and source counts (P, nb), fixed sources left out."""
        bins = self.bins
        phi, first, second = self.factor.evaluate(values)
        mu = phi[:, bins.energy]
        mu *= bins.background
        mu += signal
        if self._has_fixed:
            mu += bins.fixed
        invalid = np.zeros(len(values), dtype=np.intp)
        if not (mu.min(initial=1.0) > 0 and phi.min(initial=1.0) > 0):
            invalid += np.count_nonzero(~(mu > 0), axis=1)
            invalid += np.count_nonzero(~(phi[:, bins.counts_outside > 0] > 0), axis=1)
            bad = invalid > 0
            mu[bad] = 1.0
            phi = np.where(bad[:, None], 1.0, phi)
        ratio = bins.counts / mu
        curvature = ratio / mu
        curvature *= 2.0
        mu *= bins.inverse_reference
        np.log(mu, out=mu)
        value = 2.0 * ((phi - 1.0) @ bins.background_total) - 2.0 * (mu @ bins.counts)
        share = np.zeros_like(phi)
        if self._has_outside:
            some = bins.counts_outside > 0
            value -= 2.0 * (np.log(phi[:, some]) @ bins.counts_outside[some])
            share[:, some] = bins.counts_outside[some] / phi[:, some]
        points, p = values.shape
        gradient, hessian = np.zeros((points, p)), np.zeros((points, p, p))
        if p:
            slope = 2.0 * (bins.background_total - bins.per_energy(ratio * bins.background) - share)
            bend = bins.per_energy(curvature * self._background_squared)
            if self._has_outside:
                bend += 2.0 * np.divide(share, phi, out=np.zeros_like(phi), where=share > 0)
            gradient = np.matmul(first, slope[:, :, None])[:, :, 0]
            hessian = np.matmul(first * bend[:, None, :], first.swapaxes(1, 2))
            hessian += np.matmul(second, slope[:, None, :, None])[:, :, :, 0]
        if self._has_priors:
            term, d1, d2 = prior_terms(self._priors, values)
            value += term
            gradient += d1
            diagonal = np.arange(p)
            hessian[:, diagonal, diagonal] += d2
        value[(invalid > 0) | ~np.isfinite(value)] = np.inf
        return Inner(value, gradient, hessian, ratio, curvature, first, invalid)

    def profile(self, signal: Floats, signal_total: Floats, shared: Floats) -> Profile:
        """Find the local parameters.

        Parameters
        ----------
        signal : array (P, nb)
            Source counts in the active bins.
        signal_total : array (P,)
            Source counts in all bins of the fit.
        shared : array (P, p)
            Values of the shared parameters; what stands in the columns of local ones is not looked at.

        Notes
        -----
        Newton's method with the exact Hessian, its eigenvalues taken by their absolute values, steps
        halved until the function decreases, limits by an active set. It starts at the same place whatever
        was asked before.
        """
        values = np.where(self.local, self._first_guess(signal_total), shared)
        if len(values) == 1 and self.local.any():
            found = self._point.minimise(values[0], signal[0])
            if found is not None:
                return self._profile_of(found[0][None], Inner.of_point(found[1]))
        here = self.inner(values, signal)
        if self.local.any():
            self._lift_invalid(values, here, signal)
            self._leave_the_flat(values, here, signal)
            rows = np.flatnonzero(np.isfinite(here.value))
            for _ in range(MAX_ITERATIONS):
                if not len(rows):
                    break
                rows = self._step(values, here, signal, rows)
        return self._profile_of(values, here)

    def _profile_of(self, values: Floats, here: Inner) -> Profile:
        """What the search has ended with."""
        low, high = self._bounds
        pinned = (values <= low) | (values >= high)
        outward = ((values <= low) & (here.gradient >= 0)) | ((values >= high) & (here.gradient <= 0))
        diagonal = np.diagonal(here.hessian, axis1=1, axis2=2)
        flat = diagonal == 0
        at_limit = np.where(pinned & outward & self.local, np.where(values <= low, -1, 1), 0)
        inside = self.local & (at_limit == 0) & ~flat
        return Profile(values, here, inside, at_limit.astype(np.intp))

    def _first_guess(self, signal_total: Floats) -> Floats:
        """Start values, a free norm scaled so that total counts and prediction agree."""
        values = np.tile(self.start, (len(signal_total), 1))
        if self._norm_alone is not None:
            column, counts, total = self._norm_alone
            usual = max(abs(self.start[column]), 1e-3)
            values[:, column] = np.clip((counts - signal_total) / total, 0.1 * usual, 10.0 * usual)
        return np.clip(values, *self._bounds)

    @cached_property
    def _norm_alone(self) -> tuple[int, float, float] | None:
        """Where the factor is a free, local norm as it starts: its column, all counts and all background."""
        names, total = self.factor.names, float(self.bins.background_total.sum())
        if "norm" not in names or total <= 0:
            return None
        column = names.index("norm")
        if not self.local[column] or np.delete(self.start, column).any():
            return None
        return column, float(self.bins.counts.sum() + self.bins.counts_outside.sum()), total

    def _lift_invalid(self, values: Floats, here: Inner, signal: Floats) -> None:
        """Where a source is so negative that a bin is, too: try more background."""
        names = self.factor.names
        if "norm" not in names or not self.local[names.index("norm")]:
            return
        column = names.index("norm")
        for power in range(1, 11):
            rows = np.flatnonzero(~np.isfinite(here.value))
            if not len(rows):
                return
            trial = values[rows].copy()
            trial[:, column] = np.clip(
                trial[:, column] * 2.0**power, self._bounds[0][column], self._bounds[1][column]
            )
            there = self.inner(trial, signal[rows])
            good = np.isfinite(there.value)
            if good.any():
                values[rows[good]] = trial[good]
                here.put(rows[good], _rows(there, good))

    def _leave_the_flat(self, values: Floats, here: Inner, signal: Floats) -> None:
        """Without counts the function is a straight line: its minimum is at a limit, if there is one."""
        flat = (np.diagonal(here.hessian, axis1=1, axis2=2) == 0) & (here.gradient != 0) & self.local
        target = np.where(here.gradient > 0, self._bounds[0], self._bounds[1])
        flat &= np.isfinite(target) & np.isfinite(here.value)[:, None]
        rows = np.flatnonzero(flat.any(axis=1))
        if len(rows):
            values[rows] = np.where(flat[rows], target[rows], values[rows])
            here.put(rows, self.inner(values[rows], signal[rows]))

    def _step(self, values: Floats, here: Inner, signal: Floats, rows: Ints) -> Ints:
        """One Newton step of some points in place; returns those that are not done."""
        low, high = self._bounds
        at, g, h = values[rows], here.gradient[rows], here.hessian[rows]
        move = self.local & ~(((at <= low) & (g >= 0)) | ((at >= high) & (g <= 0)))
        g = np.where(move, g, 0.0)
        h = np.where(move[:, :, None] & move[:, None, :], h, 0.0)
        if g.shape[1] == 1:
            size = np.abs(h[:, :, 0])
            step = -np.divide(g, size, out=np.zeros_like(g), where=size > 0)
        else:
            eigenvalues, vectors = np.linalg.eigh(h)
            size = np.abs(eigenvalues)
            along = np.matmul(vectors.swapaxes(1, 2), g[:, :, None])[:, :, 0]
            floor = 1e-14 * size.max(axis=1, keepdims=True)
            along = np.divide(along, size, out=np.zeros_like(along), where=size > floor)
            step = -np.matmul(vectors, along[:, :, None])[:, :, 0]
        gain = -0.5 * (g * step).sum(axis=1)
        moving = gain > 0
        last = gain < CONVERGED
        pending = np.flatnonzero(moving)
        scale = np.ones(len(rows))
        for _ in range(MAX_HALVINGS):
            if not len(pending):
                break
            trial = np.clip(at[pending] + scale[pending, None] * step[pending], low, high)
            there = self.inner(trial, signal[rows[pending]])
            needed = here.value[rows[pending]] + 1e-4 * (g[pending] * (trial - at[pending])).sum(axis=1)
            good = (there.value <= needed) | (last[pending] & np.isfinite(there.value))
            if good.any():
                taken = pending[good]
                values[rows[taken]] = trial[good]
                here.put(rows[taken], _rows(there, good))
            pending = pending[~good]
            scale[pending] *= 0.5
        stuck = np.zeros(len(rows), dtype=np.bool_)
        stuck[pending] = True
        return rows[moving & ~last & ~stuck]


def _rows(inner: Inner, keep: Bools) -> Inner:
    return Inner(**{name: array[keep] for name, array in vars(inner).items()})
