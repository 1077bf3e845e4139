"""The fit statistics, bin by bin: value, score and curvature.

A `Statistic` holds what was measured; its methods take what is predicted. With ``f`` the statistic of a
bin and ``mu`` its prediction:

    =======  ==========================  ====================  ================
    name     value f                     score df/dmu          curvature d2f/dmu2
    =======  ==========================  ====================  ================
    cash     2 (mu - n ln mu)            2 (1 - n / mu)        2 n / mu^2
    =======  ==========================  ====================  ================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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

    def value(self, predicted: Floats) -> Floats:
        """``2 (mu - n ln mu)`` with ``mu`` not below 1e-25; ``2 mu`` where n is 0."""
        mu = np.maximum(predicted, TRUNCATION)
        out = 2.0 * mu
        some = self.counts > 0
        out[some] -= 2.0 * self.counts[some] * np.log(mu[some])
        return out

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
