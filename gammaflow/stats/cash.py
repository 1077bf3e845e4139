"""The Cash statistic: Poisson counts with a known expectation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Least expectation: below it a count would have no logarithm. Gammapy's number.
TRUNCATION = 1e-25


def cash(n_on: ArrayLike, mu: ArrayLike) -> NDArray[np.float64]:
    """-2 ln L per bin of Poisson counts, without the terms that depend on the counts alone.

        cash = 2 (mu - n ln mu)

    (Cash 1979, ApJ 228, 939). An expectation of 1e-25 or less, or a negative one, counts as 1e-25; a bin
    without counts is 2 mu.

    Parameters
    ----------
    n_on : array_like
        Counts.
    mu : array_like
        Expected counts, broadcast against ``n_on``.
    """
    counts = np.asarray(n_on, dtype=np.float64)
    expected = np.asarray(mu, dtype=np.float64)
    expected = np.where(expected <= TRUNCATION, TRUNCATION, expected)
    return np.asarray(2.0 * (expected - counts * np.log(expected)))


def cstat(n_on: ArrayLike, mu: ArrayLike) -> NDArray[np.float64]:
    """The Cash statistic with the terms that make it a measure of the goodness of fit, 0 where mu = n.

        cstat = 2 (mu - n + n (ln n - ln mu))

    Counts and expectations of 1e-25 or less count as 1e-25.
    """
    counts = np.asarray(n_on, dtype=np.float64)
    expected = np.asarray(mu, dtype=np.float64)
    counts = np.where(counts <= TRUNCATION, TRUNCATION, counts)
    expected = np.where(expected <= TRUNCATION, TRUNCATION, expected)
    return np.asarray(2.0 * (expected - counts + counts * (np.log(counts) - np.log(expected))))
