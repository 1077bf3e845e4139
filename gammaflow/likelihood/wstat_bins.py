"""The active bins of a map whose background was counted beside the source: W statistic instead of Cash.

The background of a bin is profiled in closed form, so that there is nothing to search for: `WstatBins` stands in
the place of `gammaflow.likelihood.nuisance.Background` and has no parameters. With W the statistic of a bin,

    F = 2 sum_s S_s . Ttot_s + sum_b (W_b(s_b) - 2 s_b) + const

b: bins with ON counts inside a source's window. A bin without ON counts is ``2 (s + n_off ln(1 + alpha))``, linear,
and enters through the totals; one outside the windows is a constant. In the terms of the Cash statistic ``1 - W' / 2
= n_on / (ON counts expected)`` is the ratio n / mu, and ``W''`` the curvature.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.active_bins import ActiveBins, Inner, Profile
from gammaflow.likelihood.background_factor import BackgroundFactor
from gammaflow.likelihood.statistic import WStat

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WstatBins:
    """Active bins with their OFF counts.

    Parameters
    ----------
    bins : ActiveBins
        Its counts are the ON counts; there is no modelled background.
    statistic : WStat
        Of the active bins.
    energies : array (E,)
        Centres of the reconstructed energies, TeV.
    """

    bins: ActiveBins
    statistic: WStat
    energies: Floats

    @property
    def local(self) -> NDArray[np.bool_]:
        """No parameter is the dataset's own."""
        return np.zeros(0, dtype=np.bool_)

    @cached_property
    def factor(self) -> BackgroundFactor:
        """The factor of a background that has no parameters."""
        return BackgroundFactor.of(self.energies, None)

    def profile(self, signal: Floats, signal_total: Floats, shared: Floats) -> Profile:
        """The statistic for source counts (P, nb); parameters as in `Background.profile`."""
        points, energies = len(signal), len(self.energies)
        value, score, curvature = self.statistic.expand(signal + self.bins.fixed)
        inner = Inner(
            value=value.sum(axis=1) - 2.0 * signal.sum(axis=1),
            gradient=np.zeros((points, 0)),
            hessian=np.zeros((points, 0, 0)),
            ratio=1.0 - 0.5 * score,
            curvature=curvature,
            first=np.zeros((points, 0, energies)),
            invalid=np.zeros(points, dtype=np.intp),
        )
        nothing = np.zeros((points, 0))
        return Profile(nothing, inner, nothing.astype(np.bool_), nothing.astype(np.intp))
