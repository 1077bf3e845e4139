"""`SpectralModel`: values, integrals and derivatives that every spectral model has."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammaflow.errors import ModelError
from gammaflow.modeling.differentiation import central_gradient, complex_step, scale_of
from gammaflow.modeling.model import Model
from gammaflow.modeling.spectral.integration import (
    NODES_PER_DECADE,
    bin_nodes,
    loglog_trapezoid,
    loglog_trapezoid_gradient,
)
from gammaflow.modeling.units import FLUX_DENSITY

SHOWN_FLUX_DENSITY = u.Unit("TeV-1 s-1 cm-2")


class SpectralModel(Model):
    """Base of the spectral models.

    A model of one's own needs ``evaluate(energy, <parameters by name>)`` on float64 arrays in TeV, with its
    parameters as floats in TeV, m, s and deg (a formula that is right dimensionally is right as it is)::

        class Bump(SpectralModel):
            tag = ("BumpSpectralModel", "bump")
            amplitude = Parameter("amplitude", "1e-12 cm-2 s-1 TeV-1")
            centre = Parameter("centre", "3 TeV")
            width = Parameter("width", 0.5)

            @staticmethod
            def evaluate(energy, amplitude, centre, width):
                return amplitude * np.exp(-0.5 * (np.log(energy / centre) / width) ** 2)

    It then has integrals, derivatives, a place in YAML files and in fits.

    Notes
    -----
    Derivatives of a model without formulas of its own are central differences of fourth order. With
    ``complex_step = True`` in the class they are exact to rounding, if ``evaluate`` is made of analytic
    functions of numpy (no ``abs``, no ``scipy.special``).
    """

    kind = "spectral"

    is_norm_spectral_model: bool = False
    """Whether the values are factors instead of a flux density."""

    complex_step: ClassVar[bool] = False
    """Whether ``evaluate`` may be differentiated by a complex step."""

    analytic_gradient: bool = False
    """Whether the gradient has a formula, which takes complex parameters too."""

    is_power_law: bool = False
    """Whether two nodes a bin integrate it exactly."""

    evaluate: Callable[..., Any]

    # --- what a user calls -------------------------------------------------------------------------

    def __call__(self, energy: u.Quantity | str) -> u.Quantity:
        """Value at energies.

        Parameters
        ----------
        energy : Quantity
            Any shape.

        Returns
        -------
        Quantity
            In TeV-1 s-1 cm-2 for a flux density, without unit for a norm.
        """
        return self._with_unit(self.values(_tev(energy)), self.unit)

    def integral(self, energy_min: u.Quantity | str, energy_max: u.Quantity | str) -> u.Quantity:
        """Integral from ``energy_min`` to ``energy_max``: exact for a power law, else a log-log trapezoid.

        The trapezoid has ``max(2, int(100 log10(E2 / E1)))`` nodes a bin, as many as the widest bin needs.
        """
        return self._with_unit(self._integrate(energy_min, energy_max, 0), self.unit * u.TeV)

    def energy_flux(self, energy_min: u.Quantity | str, energy_max: u.Quantity | str) -> u.Quantity:
        """Integral of E times the value, by the same rule."""
        return self._with_unit(self._integrate(energy_min, energy_max, 1), self.unit * u.TeV**2)

    def evaluate_error(self, energy: u.Quantity | str) -> tuple[u.Quantity, u.Quantity]:
        """Value and one standard deviation at energies, the covariance of the parameters carried over."""
        at = _tev(energy)
        values, gradient = self.values_and_gradient(at.ravel())
        error = np.sqrt(np.einsum("ie,ij,je->e", gradient, self.covariance.data, gradient))
        return self._with_unit(values.reshape(at.shape), self.unit), self._with_unit(
            error.reshape(at.shape), self.unit
        )

    def spectral_index(self, energy: u.Quantity | str, epsilon: float = 1e-5) -> NDArray[np.float64]:
        """Local index, - d ln f / d ln E, from the values at E and E (1 + epsilon)."""
        at = _tev(energy)
        return np.asarray(np.log(self.values(at) / self.values(at * (1 + epsilon))) / np.log1p(epsilon))

    # --- what computes -------------------------------------------------------------------------------

    @property
    def unit(self) -> u.UnitBase:
        """Unit of `values`."""
        return u.dimensionless_unscaled if self.is_norm_spectral_model else FLUX_DENSITY

    def values(self, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values at energies.

        Parameters
        ----------
        energy : array
            TeV, any shape.

        Returns
        -------
        array
            TeV-1 s-1 m-2 for a flux density, a factor for a norm.
        """
        return self._values(np.asarray(energy, dtype=np.float64), self._vector())

    def values_and_gradient(
        self, energy: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values (E,) and derivatives (n_par, E) with respect to every parameter's value in its own unit.

        The rows follow `parameters`, frozen ones included; a parameter linked inside the model has a row for
        each of its places.
        """
        values, gradient = self._values_and_gradient(np.asarray(energy, dtype=np.float64), self._vector())
        return values, gradient * self._factors()[:, None]

    def integral_values(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Integrals over bins.

        Parameters
        ----------
        edges : (L + 1,)
            TeV.

        Returns
        -------
        (L,)
            s-1 m-2 for a flux density, TeV for a norm.
        """
        return self._definite(edges[:-1], edges[1:], 0)

    def integral_and_gradient(
        self, edges: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Integrals over bins (L,) and their derivatives (n_par, L) with respect to the parameters' values.

        The derivatives are exact for the sum that `integral_values` makes. Rows as in `values_and_gradient`.
        """
        integral, gradient = self._integral_and_gradient(edges, self._vector())
        return integral, gradient * self._factors()[:, None]

    def integral_hessian(self, edges: NDArray[np.float64]) -> NDArray[np.float64]:
        """Second derivatives of the integrals over bins, (n_par, n_par, L).

        A complex step through the gradient's formula; for a model without one, differences of the gradient.
        """
        return self._hessian(lambda x: self._integral_and_gradient(edges, x)[1], len(edges) - 1)

    def values_hessian(self, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Second derivatives of the values at energies (E,), (n_par, n_par, E); as `integral_hessian`."""
        return self._hessian(lambda x: self._values_and_gradient(energy, x)[1], len(energy))

    def _hessian(self, gradient: Callable[[NDArray[Any]], NDArray[Any]], size: int) -> NDArray[np.float64]:
        """Second derivatives (n_par, n_par, size) from a gradient (n_par, size) by inside values."""
        point, factors = self._vector(), self._factors()
        if not point.size:
            return np.zeros((0, 0, size))
        if self.analytic_gradient:
            hessian = complex_step(gradient, point)
        else:
            hessian = central_gradient(gradient, point, self._scales(), self._bounds())
        hessian = 0.5 * (hessian + hessian.swapaxes(0, 1))
        return hessian * factors[:, None, None] * factors[None, :, None]

    # --- what a model with formulas of its own overrides ---------------------------------------------

    def _values(self, energy: NDArray[np.float64], point: NDArray[Any]) -> NDArray[Any]:
        """Values for parameters ``point`` (n_par,), inside units, perhaps complex."""
        values = self.evaluate(energy, **dict(zip(self._pars, point, strict=True)))
        return np.broadcast_to(values, energy.shape)

    def _values_and_gradient(
        self, energy: NDArray[np.float64], point: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Values and derivatives (n_par, ...) with respect to ``point``."""

        def values(x: NDArray[Any]) -> NDArray[Any]:
            return self._values(energy, x)

        if self.complex_step:
            return values(point), complex_step(values, point)
        return values(point), central_gradient(values, point, self._scales(), self._bounds())

    def _nodes(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        return bin_nodes(low, high, 0 if self.is_power_law else NODES_PER_DECADE)

    def _integral_and_gradient(
        self, edges: NDArray[np.float64], point: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        nodes = self._nodes(edges[:-1], edges[1:])
        values, gradient = self._values_and_gradient(nodes, point)
        return loglog_trapezoid_gradient(nodes, values, gradient)

    # --- parameters as a vector ----------------------------------------------------------------------

    def _vector(self) -> NDArray[np.float64]:
        return np.array([p.internal for p in self.parameters], dtype=np.float64)

    def _factors(self) -> NDArray[np.float64]:
        return np.array([p.internal_factor for p in self.parameters], dtype=np.float64)

    def _scales(self) -> NDArray[np.float64]:
        """By how much a parameter may change before the model does: for the steps of differences."""
        return np.array([scale_of(p) * p.internal_factor for p in self.parameters], dtype=np.float64)

    def _bounds(self) -> NDArray[np.float64]:
        return (
            np.array([p.bounds for p in self.parameters], dtype=np.float64).reshape(-1, 2)
            * self._factors()[:, None]
        )

    # --- sums and products ---------------------------------------------------------------------------

    def __add__(self, other: Any) -> SpectralModel:
        return _combine(self, other, operator.add)

    def __sub__(self, other: Any) -> SpectralModel:
        return _combine(self, other, operator.sub)

    def __mul__(self, other: Any) -> SpectralModel:
        return _combine(self, other, operator.mul)

    def __truediv__(self, other: Any) -> SpectralModel:
        return _combine(self, other, operator.truediv)

    # --- the edge ------------------------------------------------------------------------------------

    def _integrate(self, energy_min: Any, energy_max: Any, power: int) -> NDArray[np.float64]:
        low, high = np.broadcast_arrays(_tev(energy_min), _tev(energy_max))
        if np.any(high <= low) or np.any(low <= 0):
            raise ModelError(
                "an energy range that is empty or reaches down to 0",
                where=type(self).__name__,
                hint="Give 0 < energy_min < energy_max",
            )
        return self._definite(low.ravel(), high.ravel(), power).reshape(low.shape)

    def _definite(
        self, low: NDArray[np.float64], high: NDArray[np.float64], power: int
    ) -> NDArray[np.float64]:
        """Integrals of E^power times the value over bins (L,)."""
        nodes = self._nodes(low, high)
        return loglog_trapezoid(nodes, self._values(nodes, self._vector()) * nodes**power)

    @staticmethod
    def _with_unit(values: NDArray[np.float64], unit: u.UnitBase) -> u.Quantity:
        quantity = u.Quantity(values, unit)
        for shown in (SHOWN_FLUX_DENSITY, SHOWN_FLUX_DENSITY * u.TeV, SHOWN_FLUX_DENSITY * u.TeV**2):
            if unit.is_equivalent(shown):
                return quantity.to(shown)
        return quantity


def _tev(energy: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(u.Quantity(energy).to_value(u.TeV), dtype=np.float64)
    except (u.UnitsError, TypeError, ValueError) as error:
        raise ModelError(
            f"{energy!r} is no energy: {error}", hint="Give a quantity, e.g. 1 * u.TeV; .values() takes TeV"
        ) from None


def _combine(first: SpectralModel, second: Any, operation: Callable[..., Any]) -> SpectralModel:
    if not isinstance(second, SpectralModel):
        second = Model.create("const", "spectral", u.Quantity(second))
    return Model.create("compound", "spectral", first, second, operation)
