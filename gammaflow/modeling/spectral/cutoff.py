"""Power laws with an exponential or super-exponential cutoff."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.spectral.analytic import AnalyticSpectralModel

Formula = tuple[NDArray[Any], list[NDArray[Any]]]

MEV = 1e-6


class ExpCutoffPowerLawSpectralModel(AnalyticSpectralModel):
    """Power law with exponential cutoff: ``amplitude (E / reference)^-index exp(-(lambda E)^alpha)``.

    Parameters
    ----------
    index : float
    amplitude, reference : Quantity
    lambda_ : Quantity
        Inverse cutoff energy. Where it is negative, (lambda E)^alpha stands for -|lambda E|^alpha.
    alpha : float
        Frozen at 1 by default.
    """

    tag = ("ExpCutoffPowerLawSpectralModel", "ecpl")
    index = Parameter("index", 1.5)
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    reference = Parameter("reference", "1 TeV", frozen=True)
    lambda_ = Parameter("lambda_", "0.1 TeV-1")
    alpha = Parameter("alpha", 1.0, frozen=True)

    @staticmethod
    def formula(
        energy: NDArray[np.float64], index: Any, amplitude: Any, reference: Any, lambda_: Any, alpha: Any
    ) -> Formula:
        """Values and derivatives."""
        log = np.log(energy / reference)
        power, by_argument, by_exponent = odd_power(energy * lambda_, alpha)
        shape = np.exp(-index * log - power)
        values = amplitude * shape
        return values, [
            -log * values,
            shape,
            index / reference * values,
            -by_argument * energy * values,
            -by_exponent * values,
        ]


class ExpCutoffPowerLawNormSpectralModel(AnalyticSpectralModel):
    """The same as a factor: ``norm (E / reference)^-index exp(-(lambda E)^alpha)``.

    Parameters
    ----------
    index, norm : float
    reference, lambda_ : Quantity
    alpha : float
        Frozen at 1 by default.
    """

    tag = ("ExpCutoffPowerLawNormSpectralModel", "ecpl-norm")
    index = Parameter("index", 0.0)
    norm = Parameter("norm", 1.0, interp="log")
    reference = Parameter("reference", "1 TeV", frozen=True)
    lambda_ = Parameter("lambda_", "0.1 TeV-1")
    alpha = Parameter("alpha", 1.0, frozen=True)
    is_norm_spectral_model = True
    formula = staticmethod(ExpCutoffPowerLawSpectralModel.formula)


class ExpCutoffPowerLaw3FGLSpectralModel(AnalyticSpectralModel):
    """Cutoff as in the 3FGL: ``amplitude (E / reference)^-index exp((reference - E) / ecut)``.

    Parameters
    ----------
    index : float
    amplitude, reference, ecut : Quantity
    """

    tag = ("ExpCutoffPowerLaw3FGLSpectralModel", "ecpl-3fgl")
    index = Parameter("index", 1.5)
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    reference = Parameter("reference", "1 TeV", frozen=True)
    ecut = Parameter("ecut", "10 TeV")

    @staticmethod
    def formula(
        energy: NDArray[np.float64], index: Any, amplitude: Any, reference: Any, ecut: Any
    ) -> Formula:
        """Values and derivatives."""
        log, over = np.log(energy / reference), (reference - energy) / ecut
        shape = np.exp(-index * log + over)
        values = amplitude * shape
        return values, [
            -log * values,
            shape,
            (index / reference + 1.0 / ecut) * values,
            -over / ecut * values,
        ]


class SuperExpCutoffPowerLaw3FGLSpectralModel(AnalyticSpectralModel):
    """``amplitude (E / reference)^-index_1 exp((reference / ecut)^index_2 - (E / ecut)^index_2)``.

    Parameters
    ----------
    amplitude, reference, ecut : Quantity
    index_1, index_2 : float
    """

    tag = ("SuperExpCutoffPowerLaw3FGLSpectralModel", "secpl-3fgl")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    reference = Parameter("reference", "1 TeV", frozen=True)
    ecut = Parameter("ecut", "10 TeV")
    index_1 = Parameter("index_1", 1.5)
    index_2 = Parameter("index_2", 2.0)

    @staticmethod
    def formula(
        energy: NDArray[np.float64], amplitude: Any, reference: Any, ecut: Any, index_1: Any, index_2: Any
    ) -> Formula:
        """Values and derivatives."""
        log = np.log(energy / reference)
        log_pivot, log_cut = np.log(reference / ecut), np.log(energy / ecut)
        pivot, cut = np.exp(index_2 * log_pivot), np.exp(index_2 * log_cut)
        shape = np.exp(-index_1 * log + pivot - cut)
        values = amplitude * shape
        return values, [
            shape,
            (index_1 + index_2 * pivot) / reference * values,
            -index_2 / ecut * (pivot - cut) * values,
            -log * values,
            (pivot * log_pivot - cut * log_cut) * values,
        ]


class SuperExpCutoffPowerLaw4FGLSpectralModel(AnalyticSpectralModel):
    """``amplitude (E / reference)^-index_1 exp(expfactor (reference^index_2 - E^index_2))``, energies in MeV.

    Equation 4 of arXiv:1902.10045 (4FGL, DR1 and DR2).

    Parameters
    ----------
    amplitude, reference : Quantity
    expfactor : float
        In MeV^-index_2.
    index_1, index_2 : float
    """

    tag = ("SuperExpCutoffPowerLaw4FGLSpectralModel", "secpl-4fgl")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    reference = Parameter("reference", "1 TeV", frozen=True)
    expfactor = Parameter("expfactor", 1e-14)
    index_1 = Parameter("index_1", 1.5)
    index_2 = Parameter("index_2", 2.0)

    @staticmethod
    def formula(
        energy: NDArray[np.float64],
        amplitude: Any,
        reference: Any,
        expfactor: Any,
        index_1: Any,
        index_2: Any,
    ) -> Formula:
        """Values and derivatives."""
        log = np.log(energy / reference)
        log_pivot, log_energy = np.log(reference / MEV), np.log(energy / MEV)
        pivot, cut = np.exp(index_2 * log_pivot), np.exp(index_2 * log_energy)
        shape = np.exp(-index_1 * log + expfactor * (pivot - cut))
        values = amplitude * shape
        return values, [
            shape,
            (index_1 + expfactor * index_2 * pivot) / reference * values,
            (pivot - cut) * values,
            -log * values,
            expfactor * (pivot * log_pivot - cut * log_energy) * values,
        ]


class SuperExpCutoffPowerLaw4FGLDR3SpectralModel(AnalyticSpectralModel):
    """4FGL-DR3, with x = ln(E / reference), b = index_2.

    ``amplitude exp(-index_1 x - expfactor (e^(b x) - 1 - b x) / b^2)``: equations 2 and 3 of arXiv:2201.11184
    in one, smooth through b = 0.

    Parameters
    ----------
    amplitude, reference : Quantity
    expfactor, index_1, index_2 : float
    """

    tag = ("SuperExpCutoffPowerLaw4FGLDR3SpectralModel", "secpl-4fgl-dr3")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    reference = Parameter("reference", "1 TeV", frozen=True)
    expfactor = Parameter("expfactor", 1e-2)
    index_1 = Parameter("index_1", 1.5)
    index_2 = Parameter("index_2", 2.0)

    @staticmethod
    def formula(
        energy: NDArray[np.float64],
        amplitude: Any,
        reference: Any,
        expfactor: Any,
        index_1: Any,
        index_2: Any,
    ) -> Formula:
        """Values and derivatives."""
        log = np.log(energy / reference)
        curve, slope = _second_difference(index_2 * log)
        shape = np.exp(-index_1 * log - expfactor * log**2 * curve)
        values = amplitude * shape
        return values, [
            shape,
            (index_1 + expfactor * (2 * log * curve + index_2 * log**2 * slope)) / reference * values,
            -(log**2) * curve * values,
            -log * values,
            -expfactor * log**3 * slope * values,
        ]


def odd_power(x: NDArray[Any], exponent: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """``sign(x) |x|^exponent`` and its derivatives by x and by the exponent (0 at x = 0)."""
    sign = np.where(np.real(x) < 0, -1.0, 1.0)
    zero = x == 0
    if exponent == 1:
        # also for complex x near 0, whose logarithm would not come back as x
        return x, np.ones(x.shape), np.where(zero, 0.0, x * np.log(np.where(zero, 1.0, sign * x)))
    log = np.log(np.where(zero, 1.0, sign * x))
    power = np.where(zero, 0.0, sign * np.exp(exponent * log))
    at_zero = 1.0 if np.real(exponent) == 1 else (0.0 if np.real(exponent) > 1 else np.inf)
    by_x = np.where(zero, at_zero, exponent * power / np.where(zero, 1.0, x))
    return power, by_x, power * log


def _second_difference(y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """``(e^y - 1 - y) / y^2`` and its derivative; by their series where the quotients would cancel."""
    small = np.abs(y) < 0.5
    inner = np.where(small, y, 0.0)
    value, slope = np.zeros_like(inner), np.zeros_like(inner)
    term = np.full_like(inner, 0.5)
    for n in range(16):
        value = value + term
        slope = slope + (n + 1) * term / (n + 3)
        term = term * inner / (n + 3)
    outer = np.where(small, 1.0, y)
    exp = np.exp(outer)
    return (
        np.where(small, value, (exp - 1 - outer) / outer**2),
        np.where(small, slope, (exp * (outer - 2) + outer + 2) / outer**3),
    )
