"""The W statistic: Poisson counts with a background that is itself measured by Poisson counts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: A larger acceptance ratio is one over nothing, and a smaller one nothing: there is no OFF measurement.
_ALPHA_MAX = 1e100
_ALPHA_MIN = 1e-100


def wstat(
    n_on: ArrayLike,
    n_off: ArrayLike,
    alpha: ArrayLike,
    mu_sig: ArrayLike,
    mu_bkg: ArrayLike | None = None,
    extra_terms: bool = True,
) -> NDArray[np.float64]:
    """-2 ln L per bin of ON and OFF counts, the background profiled out.

        wstat = 2 (mu_sig + (1 + alpha) mu_bkg - n_on ln(mu_sig + alpha mu_bkg) - n_off ln(mu_bkg))

    plus, with ``extra_terms``, 2 (n_on ln n_on - n_on + n_off ln n_off - n_off). A term with a logarithm is
    0 where its counts are. A bin without an OFF measurement, where alpha is 0 or not finite, says nothing:
    it is 0. A signal may be negative: the background then makes up for it. (XSPEC manual, appendix B,
    "Poisson data with Poisson background"; de Naurois, habilitation, p. 141.)

    Parameters
    ----------
    n_on, n_off : array_like
        Counts.
    alpha : array_like
        Acceptance of ON over that of OFF.
    mu_sig : array_like
        Expected signal counts.
    mu_bkg : array_like, optional
        Expected OFF counts; without them `wstat_mu_bkg`.
    extra_terms : bool
        Add the terms of the counts alone, which make it a measure of the goodness of fit.
    """
    on, off, ratio, signal = _floats(n_on, n_off, alpha, mu_sig)
    measured = (ratio > _ALPHA_MIN) & (ratio < _ALPHA_MAX)
    ratio = np.where(measured, ratio, 1.0)
    if mu_bkg is None:
        background = wstat_mu_bkg(on, off, ratio, signal)
        expected = _mu_on(on, off, ratio, signal, background)
    else:
        background = np.asarray(mu_bkg, dtype=np.float64)
        expected = signal + ratio * background
    stat = signal + (1.0 + ratio) * background
    stat = stat - _count_times_log(on, expected) - _count_times_log(off, background)
    if extra_terms:
        stat = stat + 0.5 * wstat_gof_terms(on, off)
    return np.where(measured, 2.0 * stat, 0.0)


def wstat_mu_bkg(
    n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, mu_sig: ArrayLike
) -> NDArray[np.float64]:
    """The expected OFF counts that minimise `wstat`.

        mu_bkg = (C + sqrt(C^2 + 4 alpha (alpha + 1) n_off mu_sig)) / (2 alpha (alpha + 1))
        C = alpha (n_on + n_off) - (1 + alpha) mu_sig

    Where C < 0 the sum would cancel, and the other form of the same root is taken, 2 n_off mu_sig /
    (sqrt(...) - C).
    """
    on, off, ratio, signal = _floats(n_on, n_off, alpha, mu_sig)
    c = ratio * (on + off) - (1.0 + ratio) * signal
    # never negative but by rounding
    root = np.sqrt(np.maximum(c * c + 4.0 * ratio * (ratio + 1.0) * off * signal, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(c >= 0, (c + root) / (2.0 * ratio * (ratio + 1.0)), 2.0 * off * signal / (root - c))


def wstat_gof_terms(n_on: ArrayLike, n_off: ArrayLike) -> NDArray[np.float64]:
    """The terms of the counts alone: 2 (n_on ln n_on - n_on + n_off ln n_off - n_off), each 0 where its
    counts are.
    """
    on, off = np.asarray(n_on, dtype=np.float64), np.asarray(n_off, dtype=np.float64)
    return np.asarray(2.0 * (_count_times_log(on, on) - on + _count_times_log(off, off) - off))


def _mu_on(
    on: NDArray[np.float64],
    off: NDArray[np.float64],
    ratio: NDArray[np.float64],
    signal: NDArray[np.float64],
    background: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The expected ON counts, mu_sig + alpha mu_bkg.

    Of a negative signal the sum would cancel. There it is the larger root x of
    (1 + alpha) x^2 - D x + alpha n_on mu_sig = 0, D = (1 + alpha) mu_sig + alpha (n_on + n_off).
    """
    expected = signal + ratio * background
    if not (signal < 0).any():
        return expected
    d = (1.0 + ratio) * signal + ratio * (on + off)
    root = np.sqrt(np.maximum(d * d - 4.0 * (1.0 + ratio) * ratio * on * signal, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        other = np.where(d >= 0, (d + root) / (2.0 * (1.0 + ratio)), 2.0 * ratio * on * signal / (d - root))
    return np.where(signal < 0, other, expected)


def _floats(*values: ArrayLike) -> tuple[NDArray[np.float64], ...]:
    return tuple(np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values)))


def _count_times_log(counts: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts times ln(mu), 0 where n is 0; minus infinity where there are counts and none are expected."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(counts == 0, 0.0, counts * np.log(expected))
