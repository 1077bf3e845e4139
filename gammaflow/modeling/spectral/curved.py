"""Log parabolas, and the Gaussian line."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.spectral.analytic import AnalyticSpectralModel

Formula = tuple[NDArray[Any], list[NDArray[Any]]]


class LogParabolaSpectralModel(AnalyticSpectralModel):
    """Log parabola: ``amplitude (E / reference)^(-alpha - beta ln(E / reference))``.

    Parameters
    ----------
    amplitude, reference : Quantity
    alpha, beta : float
    """

    tag = ("LogParabolaSpectralModel", "lp")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    reference = Parameter("reference", "10 TeV", frozen=True)
    alpha = Parameter("alpha", 2.0)
    beta = Parameter("beta", 1.0)

    @staticmethod
    def formula(
        energy: NDArray[np.float64], amplitude: Any, reference: Any, alpha: Any, beta: Any
    ) -> Formula:
        """Values and derivatives."""
        log = np.log(energy / reference)
        shape = np.exp(-log * (alpha + beta * log))
        values = amplitude * shape
        return values, [
            shape,
            (alpha + 2 * beta * log) / reference * values,
            -log * values,
            -(log**2) * values,
        ]

    @classmethod
    def from_log10(cls, amplitude: Any, reference: Any, alpha: Any, beta: float) -> Self:
        """From ``beta`` of a formula with log10 instead of ln."""
        return cls(amplitude=amplitude, reference=reference, alpha=alpha, beta=beta / np.log(10))


class LogParabola2SpectralModel(AnalyticSpectralModel):
    """Log parabola with a scale of its own: ``amplitude (E / reference)^(-alpha - beta ln(E / escale))``.

    Parameters
    ----------
    amplitude, reference : Quantity
    alpha, beta : float
    escale : Quantity
    """

    tag = ("LogParabola2SpectralModel", "lp2")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    reference = Parameter("reference", "10 TeV", frozen=True)
    alpha = Parameter("alpha", 2.0)
    beta = Parameter("beta", 1.0)
    escale = Parameter("escale", "1 TeV", frozen=True)

    @staticmethod
    def formula(
        energy: NDArray[np.float64], amplitude: Any, reference: Any, alpha: Any, beta: Any, escale: Any
    ) -> Formula:
        """Values and derivatives."""
        log, curve = np.log(energy / reference), np.log(energy / escale)
        index = alpha + beta * curve
        shape = np.exp(-log * index)
        values = amplitude * shape
        return values, [
            shape,
            index / reference * values,
            -log * values,
            -log * curve * values,
            beta * log / escale * values,
        ]


class LogParabolaNormSpectralModel(AnalyticSpectralModel):
    """Log parabola as a factor: ``norm (E / reference)^(-alpha - beta ln(E / reference))``.

    Parameters
    ----------
    norm : float
    reference : Quantity
    alpha, beta : float
    """

    tag = ("LogParabolaNormSpectralModel", "lp-norm")
    norm = Parameter("norm", 1.0, interp="log")
    reference = Parameter("reference", "10 TeV", frozen=True)
    alpha = Parameter("alpha", 0.0)
    beta = Parameter("beta", 0.0)
    is_norm_spectral_model = True
    formula = staticmethod(LogParabolaSpectralModel.formula)


class GaussianSpectralModel(AnalyticSpectralModel):
    """Gaussian line: ``amplitude / (sqrt(2 pi) sigma) exp(-(E - mean)^2 / (2 sigma^2))``.

    Its integral is ``amplitude / 2 [erf((E - mean) / (sqrt(2) sigma))]``.

    Parameters
    ----------
    amplitude : Quantity
        Integral flux.
    mean, sigma : Quantity
    """

    tag = ("GaussianSpectralModel", "gauss")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1", interp="log")
    mean = Parameter("mean", "1 TeV")
    sigma = Parameter("sigma", "2 TeV")

    @staticmethod
    def formula(energy: NDArray[np.float64], amplitude: Any, mean: Any, sigma: Any) -> Formula:
        """Values and derivatives."""
        z = (energy - mean) / sigma
        shape = np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * sigma)
        values = amplitude * shape
        return values, [shape, z / sigma * values, (z * z - 1) / sigma * values]

    def _integral_and_gradient(
        self, edges: NDArray[np.float64], point: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        amplitude, mean, sigma = point
        z = (edges - mean) / sigma
        fraction = np.diff(0.5 * erf(z / np.sqrt(2)))
        density = np.exp(-0.5 * z * z) / (np.sqrt(2 * np.pi) * sigma)
        return amplitude * fraction, np.array(
            [fraction, -amplitude * np.diff(density), -amplitude * np.diff(density * z)]
        )

    def _definite(
        self, low: NDArray[np.float64], high: NDArray[np.float64], power: int
    ) -> NDArray[np.float64]:
        amplitude, mean, sigma = self._vector()
        z = (np.stack([low, high]) - mean) / sigma
        flux = 0.5 * amplitude * (erf(z[1] / np.sqrt(2)) - erf(z[0] / np.sqrt(2)))
        if power == 0:
            return np.asarray(flux)
        ends = np.exp(-0.5 * z * z)
        return np.asarray(mean * flux + amplitude * sigma / np.sqrt(2 * np.pi) * (ends[0] - ends[1]))
