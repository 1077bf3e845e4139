"""Broken power laws, sharp and smooth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.spectral.analytic import AnalyticSpectralModel

Formula = tuple[NDArray[Any], list[NDArray[Any]]]


class BrokenPowerLawSpectralModel(AnalyticSpectralModel):
    """``amplitude (E / ebreak)^-index1`` below ``ebreak``, with ``index2`` from there on.

    Parameters
    ----------
    index1, index2 : float
    amplitude, ebreak : Quantity
    """

    tag = ("BrokenPowerLawSpectralModel", "bpl")
    index1 = Parameter("index1", 2.0)
    index2 = Parameter("index2", 2.0)
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    ebreak = Parameter("ebreak", "1 TeV")

    @staticmethod
    def formula(
        energy: NDArray[np.float64], index1: Any, index2: Any, amplitude: Any, ebreak: Any
    ) -> Formula:
        """Values and derivatives."""
        below = energy < np.real(ebreak)
        log = np.log(energy / ebreak)
        index = np.where(below, index1, index2)
        shape = np.exp(-index * log)
        values = amplitude * shape
        by_index = -log * values
        return values, [
            np.where(below, by_index, 0.0),
            np.where(below, 0.0, by_index),
            shape,
            index / ebreak * values,
        ]


class SmoothBrokenPowerLawSpectralModel(AnalyticSpectralModel):
    """``amplitude (E / reference)^-index1 (1 + (E / ebreak)^((index2 - index1) / b))^-b``, b = +-beta.

    The sign of b is that of index2 - index1, positive where they are equal. There the model has a step of
    2^(2 beta): a fit should start with different indices.

    Parameters
    ----------
    index1, index2 : float
    amplitude, ebreak, reference : Quantity
    beta : float
        Width of the break, frozen at 1 by default.
    """

    tag = ("SmoothBrokenPowerLawSpectralModel", "sbpl")
    index1 = Parameter("index1", 2.0)
    index2 = Parameter("index2", 2.0)
    amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1", interp="log")
    ebreak = Parameter("ebreak", "1 TeV")
    reference = Parameter("reference", "1 TeV", frozen=True)
    beta = Parameter("beta", 1.0, frozen=True)

    @staticmethod
    def formula(
        energy: NDArray[np.float64],
        index1: Any,
        index2: Any,
        amplitude: Any,
        ebreak: Any,
        reference: Any,
        beta: Any,
    ) -> Formula:
        """Values and derivatives."""
        log, log_break = np.log(energy / reference), np.log(energy / ebreak)
        change = index2 - index1
        sign = -1.0 if np.real(change) < 0 else 1.0
        z = sign * change / beta * log_break
        soft, rise = _softplus(z)
        shape = np.exp(-index1 * log - sign * beta * soft)
        values = amplitude * shape
        return values, [
            (-log + rise * log_break) * values,
            -rise * log_break * values,
            shape,
            rise * change / ebreak * values,
            index1 / reference * values,
            -sign * (soft - rise * z) * values,
        ]


def _softplus(z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """``ln(1 + e^z)`` and its derivative, without overflow."""
    positive = np.real(z) > 0
    tail = np.exp(np.where(positive, -z, z))
    return np.where(positive, z, 0.0) + np.log1p(tail), np.where(positive, 1.0, tail) / (1.0 + tail)
