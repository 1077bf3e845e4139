"""`AnalyticSpectralModel`: a spectral model whose formula comes with its derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.modeling.spectral.base import SpectralModel


class AnalyticSpectralModel(SpectralModel):
    """A spectral model with ``formula(energy, <parameters>) -> values, derivatives``.

    The derivatives are one array a parameter, in their order. The formula is made of analytic functions, so
    that it also takes complex parameters: second derivatives are a complex step through it.
    """

    analytic_gradient = True

    formula: Callable[..., tuple[NDArray[Any], list[NDArray[Any]]]]

    def evaluate(self, energy: NDArray[np.float64], **parameters: Any) -> NDArray[Any]:
        """Values at energies in TeV; parameters in TeV, m, s, deg by name, those left out as they are."""
        own = dict(zip(self._pars, self._vector(), strict=True))
        return type(self).formula(np.asarray(energy), **{**own, **parameters})[0]

    def _values(self, energy: NDArray[np.float64], point: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(type(self).formula(energy, *point)[0], energy.shape)

    def _values_and_gradient(
        self, energy: NDArray[np.float64], point: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        values, rows = type(self).formula(energy, *point)
        gradient = np.empty((len(rows), *energy.shape), dtype=np.result_type(energy, point))
        for row, derivative in zip(gradient, rows, strict=True):
            row[...] = derivative
        return np.broadcast_to(values, energy.shape), gradient
