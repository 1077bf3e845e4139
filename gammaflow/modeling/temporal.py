"""Temporal models: how the flux changes with time, as a factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units as u
from astropy.time import Time
from numpy.typing import NDArray
from scipy.special import erf

from gammaflow.errors import ModelError
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.model import Model
from gammaflow.modeling.parameter import Parameter

Floats = NDArray[np.float64]
DAY = 86400.0
POINTS = 100
_T_REF = 51544.0  # 2000-01-01


class TemporalModel(Model):
    """Base of the temporal models.

    A model of one's own needs ``evaluate(time, <parameters by name>)`` on times in s (MJD times 86400,
    in the model's time scale), with its parameters in s too. It may have an antiderivative, ``primitive``,
    with the same arguments.

    Parameters
    ----------
    scale : str
        Time scale of ``t_ref`` and of the model.
    **parameters
        Values by name.
    """

    kind = "temporal"

    evaluate: Callable[..., Any]
    primitive: Callable[..., Any] | None = None

    def __init__(self, scale: str = "utc", **parameters: Any) -> None:
        super().__init__(**parameters)
        if scale not in Time.SCALES:
            raise ModelError(
                f"time scale {scale!r} is not known",
                where=type(self).__name__,
                hint=f"Use one of {Time.SCALES}",
            )
        self.scale = scale

    def _own(self) -> dict[str, float]:
        return {name: p.internal for name, p in self._pars.items()}

    def _seconds(self, time: Time) -> Floats:
        return np.asarray(getattr(time, self.scale).mjd, dtype=np.float64) * DAY

    def __call__(self, time: Time) -> u.Quantity:
        """Factor at times."""
        return u.Quantity(self.evaluate(self._seconds(time), **self._own()))

    def integral(self, t_min: Time, t_max: Time) -> Floats:
        """Integral over each interval, divided by the length of all of them together.

        Exact where the model has an antiderivative, else the sum over 100 equidistant times.

        Parameters
        ----------
        t_min, t_max : Time (n,)
            Starts and ends.

        Returns
        -------
        (n,)
            Their sum is the mean factor.
        """
        low, high = np.atleast_1d(self._seconds(t_min)), np.atleast_1d(self._seconds(t_max))
        total = float(np.sum(high - low))
        if total <= 0:
            raise ModelError("no time to integrate over", where=type(self).__name__)
        own = self._own()
        if self.primitive is not None:
            values = self.primitive(high, **own) - self.primitive(low, **own)
        else:
            times, step = np.linspace(low, high, POINTS, retstep=True, axis=-1)
            values = np.sum(self.evaluate(times, **own), axis=-1) * step
        return np.asarray(values / total)

    @property
    def reference_time(self) -> Time:
        """``t_ref`` as a time."""
        return Time(self._pars["t_ref"].quantity.to_value("d"), format="mjd", scale=self.scale)

    @reference_time.setter
    def reference_time(self, time: Time) -> None:
        self._pars["t_ref"].quantity = getattr(time, self.scale).mjd * u.d

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML."""
        data = super().to_dict(full_output)
        data["temporal"]["scale"] = self.scale
        return data

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> Any:
        check_keys(entry, ("type", "parameters", "scale"))
        return cls(scale=entry.get("scale", "utc"), **cls._read_parameters(entry))


class ConstantTemporalModel(TemporalModel):
    """1 at all times."""

    tag = ("ConstantTemporalModel", "const")

    @staticmethod
    def evaluate(time: Floats) -> Floats:
        """Factor."""
        return np.ones_like(time)

    @staticmethod
    def primitive(time: Floats) -> Floats:
        """Antiderivative."""
        return time


class LinearTemporalModel(TemporalModel):
    """``alpha + beta (t - t_ref)``.

    Parameters
    ----------
    alpha : float
    beta, t_ref : Quantity
    """

    tag = ("LinearTemporalModel", "linear")
    alpha = Parameter("alpha", 1.0)
    beta = Parameter("beta", 0.0, unit="d-1")
    t_ref = Parameter("t_ref", _T_REF, unit="d", frozen=True)

    @staticmethod
    def evaluate(time: Floats, alpha: float, beta: float, t_ref: float) -> Floats:
        """Factor."""
        return alpha + beta * (time - t_ref)

    @staticmethod
    def primitive(time: Floats, alpha: float, beta: float, t_ref: float) -> Floats:
        """Antiderivative."""
        return (alpha + 0.5 * beta * (time - t_ref)) * (time - t_ref)


class ExpDecayTemporalModel(TemporalModel):
    """``exp(-(t - t_ref) / t0)``.

    Parameters
    ----------
    t0, t_ref : Quantity
    """

    tag = ("ExpDecayTemporalModel", "exp-decay")
    t0 = Parameter("t0", "1 d")
    t_ref = Parameter("t_ref", _T_REF, unit="d", frozen=True)

    @staticmethod
    def evaluate(time: Floats, t0: float, t_ref: float) -> Floats:
        """Factor."""
        return np.exp(-(time - t_ref) / t0)

    @staticmethod
    def primitive(time: Floats, t0: float, t_ref: float) -> Floats:
        """Antiderivative."""
        return -t0 * np.exp(-(time - t_ref) / t0)


class GaussianTemporalModel(TemporalModel):
    """``exp(-(t - t_ref)^2 / (2 sigma^2))``.

    Parameters
    ----------
    t_ref, sigma : Quantity
    """

    tag = ("GaussianTemporalModel", "gauss")
    t_ref = Parameter("t_ref", _T_REF, unit="d")
    sigma = Parameter("sigma", "1 d")

    @staticmethod
    def evaluate(time: Floats, t_ref: float, sigma: float) -> Floats:
        """Factor."""
        return np.exp(-0.5 * ((time - t_ref) / sigma) ** 2)

    @staticmethod
    def primitive(time: Floats, t_ref: float, sigma: float) -> Floats:
        """Antiderivative."""
        return np.asarray(np.sqrt(np.pi / 2) * sigma * erf((time - t_ref) / (np.sqrt(2) * sigma)))


class GeneralizedGaussianTemporalModel(TemporalModel):
    """``exp(-|(t - t_ref) / w|^(1/eta) / 2)``, w = t_rise before t_ref and t_decay after.

    Parameters
    ----------
    t_ref, t_rise, t_decay : Quantity
    eta : float
    """

    tag = ("GeneralizedGaussianTemporalModel", "gengauss")
    t_ref = Parameter("t_ref", _T_REF, unit="d")
    t_rise = Parameter("t_rise", "1 d")
    t_decay = Parameter("t_decay", "1 d")
    eta = Parameter("eta", 0.5)

    @staticmethod
    def evaluate(time: Floats, t_ref: float, t_rise: float, t_decay: float, eta: float) -> Floats:
        """Factor."""
        width = np.where(time < t_ref, t_rise, t_decay)
        return np.exp(-0.5 * np.abs((time - t_ref) / width) ** (1 / eta))


class PowerLawTemporalModel(TemporalModel):
    """``((t - t_ref) / t0)^alpha``.

    Parameters
    ----------
    alpha : float
    t_ref, t0 : Quantity
    """

    tag = ("PowerLawTemporalModel", "powerlaw")
    alpha = Parameter("alpha", 1.0)
    t_ref = Parameter("t_ref", _T_REF, unit="d", frozen=True)
    t0 = Parameter("t0", "1 d", frozen=True)

    @staticmethod
    def evaluate(time: Floats, alpha: float, t_ref: float, t0: float) -> Floats:
        """Factor."""
        return ((time - t_ref) / t0) ** alpha

    @staticmethod
    def primitive(time: Floats, alpha: float, t_ref: float, t0: float) -> Floats:
        """Antiderivative."""
        x = (time - t_ref) / t0
        return t0 * np.log(x) if alpha == -1 else t0 * x ** (alpha + 1) / (alpha + 1)


class SineTemporalModel(TemporalModel):
    """``1 + amp sin(omega (t - t_ref))``.

    Parameters
    ----------
    amp : float
    omega, t_ref : Quantity
    """

    tag = ("SineTemporalModel", "sinus")
    amp = Parameter("amp", 1.0)
    omega = Parameter("omega", "1 rad / d")
    t_ref = Parameter("t_ref", _T_REF, unit="d")

    @staticmethod
    def evaluate(time: Floats, amp: float, omega: float, t_ref: float) -> Floats:
        """Factor."""
        return 1 + amp * np.sin(np.radians(omega * (time - t_ref)))

    @staticmethod
    def primitive(time: Floats, amp: float, omega: float, t_ref: float) -> Floats:
        """Antiderivative."""
        rate = np.radians(omega)
        return time - amp / rate * np.cos(rate * (time - t_ref))
