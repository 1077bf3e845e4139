"""Excess, significance and intervals of counts, bin by bin, with a known or a measured background."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfc, lambertw  # scipy.stats would take half a second to import

from gammaflow.stats.cash import cash
from gammaflow.stats.wstat import wstat

Floats = NDArray[np.float64]


class CountsStatistic(ABC):
    """What both kinds of background have in common: a likelihood ratio of signal against none."""

    n_on: Floats

    @property
    @abstractmethod
    def n_bkg(self) -> Floats:
        """Background counts in the ON region."""

    @property
    @abstractmethod
    def n_sig(self) -> Floats:
        """Excess: the signal that fits best."""

    @property
    @abstractmethod
    def error(self) -> Floats:
        """Error of the excess, from the curvature."""

    @property
    @abstractmethod
    def stat_null(self) -> Floats:
        """-2 ln L without signal."""

    @property
    @abstractmethod
    def stat_max(self) -> Floats:
        """-2 ln L with the excess as signal."""

    @abstractmethod
    def compute_errn(self, n_sigma: float = 1.0) -> Floats:
        """Downward error of the excess: how far down -2 ln L rises by n_sigma^2."""

    @abstractmethod
    def compute_errp(self, n_sigma: float = 1.0) -> Floats:
        """Upward error of the excess: how far up -2 ln L rises by n_sigma^2."""

    @abstractmethod
    def compute_upper_limit(self, n_sigma: float = 3.0) -> Floats:
        """Upper limit of the signal: where -2 ln L has risen by n_sigma^2."""

    @abstractmethod
    def n_sig_matching_significance(self, significance: float) -> Floats:
        """The excess over this background that would have a significance."""

    @property
    def ts(self) -> Floats:
        """Test statistic of the excess: ``stat_null - stat_max``, not less than 0."""
        return np.maximum(self.stat_null - self.stat_max, 0.0)

    @property
    def sqrt_ts(self) -> Floats:
        """Significance of the excess, with its sign."""
        return np.asarray(np.sign(self.n_sig) * np.sqrt(self.ts))

    @property
    def p_value(self) -> Floats:
        """One-sided probability of such an excess without signal."""
        return np.asarray(0.5 * erfc(np.sqrt(0.5 * self.ts)))

    def info_dict(self) -> dict[str, Any]:
        """Counts, background, excess, significance and p-value."""
        return {
            "n_on": self.n_on,
            "background": self.n_bkg,
            "excess": self.n_sig,
            "significance": self.sqrt_ts,
            "p_value": self.p_value,
        }


@dataclass(frozen=True, eq=False)
class CashCountsStatistic(CountsStatistic):
    """Counts over a known background.

    Intervals are closed forms in Lambert's W: with c = n_sigma^2 / 2, the signal is n_on times
    -W(-exp(-c / n_on - 1)) - 1 away from the excess, branch 0 downwards and -1 upwards.

    Parameters
    ----------
    n_on : array_like
        Counts.
    mu_bkg : array_like
        Background, broadcast against ``n_on``.

    Examples
    --------
    >>> float(CashCountsStatistic(13, 5.0).sqrt_ts.round(3))
    2.974
    """

    n_on: Floats
    mu_bkg: Floats

    def __init__(self, n_on: ArrayLike, mu_bkg: ArrayLike) -> None:
        _set(self, n_on=n_on, mu_bkg=mu_bkg)

    @property
    def n_bkg(self) -> Floats:
        """The known background."""
        return self.mu_bkg

    @property
    def n_sig(self) -> Floats:
        """Excess n_on - mu_bkg."""
        return np.asarray(self.n_on - self.mu_bkg)

    @property
    def error(self) -> Floats:
        """sqrt(n_on)."""
        return np.sqrt(self.n_on)

    @property
    def stat_null(self) -> Floats:
        """-2 ln L with the background alone."""
        return cash(self.n_on, self.mu_bkg)

    @property
    def stat_max(self) -> Floats:
        """-2 ln L with an expectation equal to the counts."""
        return cash(self.n_on, self.n_on)

    def compute_errn(self, n_sigma: float = 1.0) -> Floats:
        """Downward error of the excess, 0 where there are no counts."""
        return self._distance(n_sigma, branch=0, empty=0.0)

    def compute_errp(self, n_sigma: float = 1.0) -> Floats:
        """Upward error of the excess, n_sigma^2 / 2 where there are no counts."""
        return self._distance(n_sigma, branch=-1, empty=n_sigma**2 / 2)

    def compute_upper_limit(self, n_sigma: float = 3.0) -> Floats:
        """Upper limit of the signal.

        Where there are no counts it is n_sigma^2 / 2, counted from no signal, as in Gammapy.
        """
        up = self.compute_errp(n_sigma)
        return np.where(self.n_on > 0, up + self.n_sig, up)

    def n_sig_matching_significance(self, significance: float) -> Floats:
        """The excess over this background that would have a significance; NaN where there is none."""
        branch = 0 if significance > 0 else -1
        background = np.where(self.mu_bkg > 0, self.mu_bkg, 1.0)
        w = lambertw((significance**2 / 2 / background - 1.0) / np.e, k=branch).real
        return np.where(self.mu_bkg > 0, background * np.expm1(w + 1.0), np.nan)

    def info_dict(self) -> dict[str, Any]:
        """See `CountsStatistic.info_dict`; and the known background."""
        return {**super().info_dict(), "mu_bkg": self.mu_bkg}

    def sum(self, axis: int | tuple[int, ...] | None = None) -> CashCountsStatistic:
        """Statistic of the counts added up along axes."""
        return CashCountsStatistic(self.n_on.sum(axis=axis), self.mu_bkg.sum(axis=axis))

    def __getitem__(self, key: Any) -> CashCountsStatistic:
        return CashCountsStatistic(self.n_on[key], self.mu_bkg[key])

    def _distance(self, n_sigma: float, branch: int, empty: float) -> Floats:
        on = np.where(self.n_on > 0, self.n_on, 1.0)
        w = lambertw(-np.exp(-(n_sigma**2) / 2 / on - 1.0), k=branch).real
        return np.where(self.n_on > 0, on * np.abs(w + 1.0), empty)


@dataclass(frozen=True, eq=False)
class WStatCountsStatistic(CountsStatistic):
    """Counts over a background that OFF counts measure.

    Intervals are searched by bisection on the profile likelihood, all bins at once.

    Parameters
    ----------
    n_on, n_off : array_like
        Counts.
    alpha : array_like
        Acceptance of ON over that of OFF.
    mu_sig : array_like, optional
        Signal that is expected anyway; the excess is what is beyond it.

    Examples
    --------
    >>> float(WStatCountsStatistic(13, 11, 0.5).sqrt_ts.round(3))
    2.093
    """

    n_on: Floats
    n_off: Floats
    alpha: Floats
    mu_sig: Floats

    def __init__(
        self, n_on: ArrayLike, n_off: ArrayLike, alpha: ArrayLike, mu_sig: ArrayLike | None = None
    ) -> None:
        _set(self, n_on=n_on, n_off=n_off, alpha=alpha, mu_sig=0.0 if mu_sig is None else mu_sig)

    @property
    def n_bkg(self) -> Floats:
        """Background alpha n_off."""
        return np.asarray(self.alpha * self.n_off)

    @property
    def n_sig(self) -> Floats:
        """Excess n_on - alpha n_off - mu_sig."""
        return np.asarray(self.n_on - self.n_bkg - self.mu_sig)

    @property
    def error(self) -> Floats:
        """sqrt(n_on + alpha^2 n_off)."""
        return np.sqrt(self.n_on + self.alpha**2 * self.n_off)

    @property
    def stat_null(self) -> Floats:
        """-2 ln L with no more signal than ``mu_sig``."""
        return self._stat(0.0)

    @property
    def stat_max(self) -> Floats:
        """-2 ln L with the excess."""
        return self._stat(self.n_sig)

    def compute_errn(self, n_sigma: float = 1.0) -> Floats:
        """Downward error of the excess; n_on where -2 ln L does not rise by n_sigma^2 within twice the
        error.
        """
        low = self.n_sig - 2.0 * n_sigma * (self.error + 1.0)
        root = self._crossing(self.n_sig, low, n_sigma)
        return np.where(np.isnan(root), self.n_on, self.n_sig - root)

    def compute_errp(self, n_sigma: float = 1.0) -> Floats:
        """Upward error of the excess."""
        return self.compute_upper_limit(n_sigma) - self.n_sig

    def compute_upper_limit(self, n_sigma: float = 3.0) -> Floats:
        """Upper limit of the signal; NaN where there is no OFF measurement."""
        high = self.n_sig + 2.0 * n_sigma * (self.error + 1.0)
        return self._crossing(self.n_sig, high, n_sigma)

    def n_sig_matching_significance(self, significance: float) -> Floats:
        """The excess over this background that would have a significance; NaN if none in reach has."""

        def beyond(n_sig: Floats) -> Floats:
            seen = WStatCountsStatistic(n_sig + self.n_bkg, self.n_off, self.alpha)
            return np.asarray(np.abs(seen.sqrt_ts) - abs(significance))

        near = np.zeros(self.n_on.shape)
        # the significance of an excess grows like its logarithm's root at worst: this is far beyond
        reach = (abs(significance) + 1.0) ** 2 * (2.0 * np.sqrt(self.n_bkg + 1.0) + 2.0 * self.alpha + 2.0)
        far = reach if significance > 0 else -self.n_bkg
        return _bisect(beyond, near, np.asarray(far, dtype=np.float64))

    def info_dict(self) -> dict[str, Any]:
        """See `CountsStatistic.info_dict`; and OFF counts, alpha and the expected signal."""
        return {**super().info_dict(), "n_off": self.n_off, "alpha": self.alpha, "mu_sig": self.mu_sig}

    def sum(self, axis: int | tuple[int, ...] | None = None) -> WStatCountsStatistic:
        """Statistic of the counts added up along axes.

        Its alpha is sum(alpha n_off) / sum(n_off), and 0 without OFF counts.
        """
        off = self.n_off.sum(axis=axis)
        background = self.n_bkg.sum(axis=axis)
        alpha = np.divide(background, off, out=np.zeros_like(background), where=off > 0)
        return WStatCountsStatistic(self.n_on.sum(axis=axis), off, alpha, self.mu_sig.sum(axis=axis))

    def __getitem__(self, key: Any) -> WStatCountsStatistic:
        return WStatCountsStatistic(self.n_on[key], self.n_off[key], self.alpha[key], self.mu_sig[key])

    def _stat(self, n_sig: Floats | float) -> Floats:
        return wstat(self.n_on, self.n_off, self.alpha, self.mu_sig + n_sig)

    def _crossing(self, near: Floats, far: Floats, n_sigma: float) -> Floats:
        level = self.stat_max + n_sigma**2
        return _bisect(lambda n_sig: self._stat(n_sig) - level, near, far)


def _set(statistic: CountsStatistic, **values: ArrayLike) -> None:
    """Set the fields of a frozen statistic, broadcast to one shape."""
    arrays = np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values.values()))
    for name, array in zip(values, arrays, strict=True):
        object.__setattr__(statistic, name, array)


def _bisect(function: Callable[[Floats], Floats], near: Floats, far: Floats) -> Floats:
    """Roots between ``near``, where a function is negative, and ``far``; NaN where it is not positive
    there.
    """
    far_value = function(far)
    lower, upper = near, far
    for _ in range(100):  # halves any interval of floats to its last bit
        middle = 0.5 * (lower + upper)
        below = function(middle) < 0
        lower, upper = np.where(below, middle, lower), np.where(below, upper, middle)
    return np.where(far_value >= 0, 0.5 * (lower + upper), np.nan)
