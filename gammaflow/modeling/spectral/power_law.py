"""Power laws: the plain one, the one normalised by its integral flux, and the one that is a factor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.spectral.analytic import AnalyticSpectralModel
from gammaflow.modeling.spectral.integration import expm1_ratio, expm1_ratio_slope


class PowerLawSpectralModel(AnalyticSpectralModel):
    """Power law: ``amplitude (E / reference)^-index``.

    Parameters
    ----------
    index : float
    amplitude : Quantity
    reference : Quantity
    """

    tag = ("PowerLawSpectralModel", "pl")
    index = Parameter("index", 2.0)
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    reference = Parameter("reference", "1 TeV", frozen=True)
    is_power_law = True

    @staticmethod
    def formula(
        energy: NDArray[np.float64], index: Any, amplitude: Any, reference: Any
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Values and derivatives."""
        log = np.log(energy / reference)
        shape = np.exp(-index * log)
        values = amplitude * shape
        return values, [-log * values, shape, index / reference * values]


class PowerLawNormSpectralModel(AnalyticSpectralModel):
    """Power law as a factor: ``norm (E / reference)^-tilt``.

    Parameters
    ----------
    tilt : float
        Frozen by default.
    norm : float
    reference : Quantity
    """

    tag = ("PowerLawNormSpectralModel", "pl-norm")
    tilt = Parameter("tilt", 0.0, frozen=True)
    norm = Parameter("norm", 1.0, interp="log")
    reference = Parameter("reference", "1 TeV", frozen=True)
    is_power_law = True
    is_norm_spectral_model = True

    @staticmethod
    def formula(
        energy: NDArray[np.float64], tilt: Any, norm: Any, reference: Any
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Values and derivatives."""
        log = np.log(energy / reference)
        shape = np.exp(-tilt * log)
        values = norm * shape
        return values, [-log * values, shape, tilt / reference * values]


class PowerLaw2SpectralModel(AnalyticSpectralModel):
    """Power law of a given flux: ``amplitude (1 - index) E^-index / (emax^(1-index) - emin^(1-index))``.

    Parameters
    ----------
    amplitude : Quantity
        Flux between ``emin`` and ``emax``.
    index : float
    emin, emax : Quantity
    """

    tag = ("PowerLaw2SpectralModel", "pl-2")
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1", interp="log")
    index = Parameter("index", 2.0)
    emin = Parameter("emin", "0.1 TeV", frozen=True)
    emax = Parameter("emax", "100 TeV", frozen=True)
    is_power_law = True

    @staticmethod
    def formula(
        energy: NDArray[np.float64], amplitude: Any, index: Any, emin: Any, emax: Any
    ) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Values and derivatives."""
        # the integral of (E / emin)^-index is emin * span * g((1 - index) span): no case for index = 1
        span = np.log(emax / emin)
        exponent = np.asarray((1.0 - index) * span)
        growth, slope = expm1_ratio(exponent), expm1_ratio_slope(exponent)
        width = emin * span * growth
        log = np.log(energy / emin)
        shape = np.exp(-index * log) / width
        values = amplitude * shape
        # d ln(width): by index, by emax, by emin at fixed shape
        at_emax = np.exp(exponent) / (emax * span * growth)
        return values, [
            shape,
            values * (-log + span * slope / growth),
            values * (1.0 / (emin * span * growth)),
            -values * at_emax,
        ]
