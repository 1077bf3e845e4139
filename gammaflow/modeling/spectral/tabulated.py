"""Spectra given by numbers: a constant, a table, and factors at energy nodes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import ModelError
from gammaflow.modeling.entries import check_keys, parameter_from_dict
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.parameters import Parameters
from gammaflow.modeling.spectral.analytic import AnalyticSpectralModel
from gammaflow.modeling.units import internal_factor, internal_unit

TINY = float(np.finfo(np.float64).tiny)


class ConstantSpectralModel(AnalyticSpectralModel):
    """The same value at every energy.

    Parameters
    ----------
    const : Quantity or float
        A flux density, a factor, or of whatever unit it is given in.
    """

    tag = ("ConstantSpectralModel", "const")
    const = Parameter("const", "1e-12 cm-2 s-1 TeV-1")
    is_power_law = True

    def __init__(self, const: Any = None) -> None:
        if const is None or isinstance(const, Parameter):
            super().__init__()
            if const is not None:
                self._pars["const"] = const
        else:
            super().__init__()
            quantity = u.Quantity(const)
            self._pars["const"] = Parameter("const", quantity)

    @property
    def unit(self) -> u.UnitBase:
        """Unit of `values`."""
        return internal_unit(self.const.unit)

    @property
    def is_norm_spectral_model(self) -> bool:  # type: ignore[override]  # follows from the unit
        """Whether the value is a factor."""
        return bool(self.unit == u.dimensionless_unscaled)

    @staticmethod
    def formula(energy: NDArray[np.float64], const: Any) -> tuple[NDArray[Any], list[NDArray[Any]]]:
        """Values and derivatives."""
        one = np.ones_like(energy)
        return const * one, [one]

    @classmethod
    def _read_parameters(cls, entry: dict[str, Any]) -> dict[str, Parameter]:
        entries = entry.get("parameters") or []
        if len(entries) != 1 or entries[0].get("name") != "const":
            raise ModelError("needs exactly one parameter, 'const'")
        usual = {"unit": "cm-2 s-1 TeV-1", **entries[0]}
        return {"const": parameter_from_dict(usual)}


class TemplateSpectralModel(AnalyticSpectralModel):
    """A table of values, interpolated and extrapolated linearly in ln E and ln f.

    Parameters
    ----------
    energy : Quantity (N,)
        Rising energies; with one, the value is constant.
    values : Quantity or array (N,)
        Values, at least 0; a zero counts as the smallest number there is.
    meta : dict, optional
        Kept.

    Raises
    ------
    ModelError
        Energies that do not rise, values that are negative or not finite, shapes that differ.
    """

    tag = ("TemplateSpectralModel", "template")

    def __init__(
        self, energy: u.Quantity, values: u.Quantity | ArrayLike, meta: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.energy, self.table = u.Quantity(energy), u.Quantity(values)
        self.meta = meta or {}
        at, table = _checked_table(self.energy, self.table, self.tag[0])
        self._log_energy = np.log(at)
        self._log_values = np.log(np.maximum(table, TINY))
        self._factor = internal_factor(self.table.unit)

    @property
    def unit(self) -> u.UnitBase:
        """Unit of `SpectralModel.values`."""
        return internal_unit(self.table.unit)

    @property
    def is_norm_spectral_model(self) -> bool:  # type: ignore[override]  # follows from the unit
        """Whether the values are factors."""
        return bool(self.unit == u.dimensionless_unscaled)

    def _values(self, energy: NDArray[np.float64], point: NDArray[Any]) -> NDArray[Any]:
        if self._log_energy.size == 1:
            return np.full(energy.shape, self._factor * _exp(self._log_values[0]))
        lower, fraction = _linear(self._log_energy, np.log(energy))
        log = (1 - fraction) * self._log_values[lower] + fraction * self._log_values[lower + 1]
        return np.asarray(self._factor * _exp(log))

    def _values_and_gradient(
        self, energy: NDArray[np.float64], point: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        return self._values(energy, point), np.zeros((0, *energy.shape))

    def evaluate(self, energy: NDArray[np.float64], **parameters: Any) -> NDArray[Any]:
        """Values at energies in TeV."""
        return self.values(energy)

    def copy(self) -> TemplateSpectralModel:
        """Copy that shares the table."""
        return copy.copy(self)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML."""
        data = super().to_dict(full_output)
        data["spectral"]["energy"] = _table_to_dict(self.energy)
        data["spectral"]["values"] = _table_to_dict(self.table)
        return data

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> TemplateSpectralModel:
        check_keys(entry, ("type", "parameters", "energy", "values"))
        return cls(energy=table_from_dict(entry, "energy"), values=table_from_dict(entry, "values"))

    def __repr__(self) -> str:
        return f"TemplateSpectralModel({self.energy.size} values, {self.energy[0]} to {self.energy[-1]})"

    __str__ = __repr__


class PiecewiseNormSpectralModel(AnalyticSpectralModel):
    """A factor with a free norm at each of some energies, interpolated between them, flat outside.

    Parameters
    ----------
    energy : Quantity (N,)
        Rising energies, two or more.
    norms : sequence of float or Parameter, optional
        Initial norms, by default 1.
    interp : {"log", "lin"}
        Whether energies and norms are interpolated in their logarithms or as they are.
    """

    tag = ("PiecewiseNormSpectralModel", "piecewise-norm")
    is_norm_spectral_model = True

    def __init__(
        self, energy: u.Quantity, norms: Sequence[float | Parameter] | None = None, interp: str = "log"
    ) -> None:
        super().__init__()
        self.energy = u.Quantity(energy)
        self.interp = interp
        if interp not in ("log", "lin"):
            raise ModelError(f"interp is {interp!r}", where=self.tag[0], hint="Give 'log' or 'lin'")
        given = list(np.ones(self.energy.size)) if norms is None else list(norms)
        if len(given) != self.energy.size or len(given) < 2:
            raise ModelError(
                f"{len(given)} norms for {self.energy.size} energies",
                where=self.tag[0],
                hint="Give two or more of each",
            )
        for index, norm in enumerate(given):
            name = f"norm_{index}"
            self._pars[name] = norm if isinstance(norm, Parameter) else Parameter(name, norm)
        at, _ = _checked_table(self.energy, u.Quantity(np.ones(len(given))), self.tag[0])
        self._points = np.log(at) if interp == "log" else at

    @property
    def norms(self) -> u.Quantity:
        """The norms, (N,)."""
        return u.Quantity(self.parameters.value)

    def _defaults(self) -> Parameters:
        return Parameters(Parameter(name, 1.0) for name in self._pars)

    def unfreeze(self) -> None:
        """Free all norms."""
        self.parameters.unfreeze_all()

    def _weights(self, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        at = np.log(energy) if self.interp == "log" else energy
        lower, fraction = _linear(self._points, np.clip(at, self._points[0], self._points[-1]))
        nodes = np.arange(self._points.size).reshape(-1, *(1,) * energy.ndim)
        return np.asarray((nodes == lower) * (1 - fraction) + (nodes == lower + 1) * fraction)

    def _values_and_gradient(
        self, energy: NDArray[np.float64], point: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        weights = self._weights(energy)
        if self.interp == "lin":
            return np.tensordot(point, weights, 1), weights + 0 * point[0]
        norms = np.where(point.real > TINY, point, TINY)
        values = np.exp(np.tensordot(np.log(norms), weights, 1))
        return values, values * weights / norms.reshape(-1, *(1,) * energy.ndim)

    def _values(self, energy: NDArray[np.float64], point: NDArray[Any]) -> NDArray[Any]:
        return self._values_and_gradient(energy, point)[0]

    def evaluate(self, energy: NDArray[np.float64], **norms: Any) -> NDArray[Any]:
        """Values at energies in TeV."""
        own = dict(zip(self._pars, self._vector(), strict=True))
        return self._values(np.asarray(energy), np.array(list({**own, **norms}.values())))

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML."""
        data = super().to_dict(full_output)
        data["spectral"]["energy"] = _table_to_dict(self.energy)
        data["spectral"]["interp"] = self.interp
        return data

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> PiecewiseNormSpectralModel:
        check_keys(entry, ("type", "parameters", "energy", "interp"))
        norms = []
        for index, parameter in enumerate(entry.get("parameters") or []):
            if parameter.get("name") != f"norm_{index}":
                raise ModelError(f"parameter {parameter.get('name')!r} where 'norm_{index}' is expected")
            norms.append(parameter_from_dict(parameter, Parameter(f"norm_{index}", 1.0)))
        return cls(table_from_dict(entry, "energy"), norms, entry.get("interp", "log"))


def table_from_dict(entry: dict[str, Any], key: str) -> u.Quantity:
    """A quantity from a YAML entry with ``data`` and ``unit``."""
    table = entry.get(key)
    if not isinstance(table, dict) or "data" not in table:
        raise ModelError(f"has no table {key!r}", hint=f"Add '{key}:' with 'data:' and 'unit:'")
    try:
        return u.Quantity(table["data"], table.get("unit") or "")
    except (TypeError, ValueError) as error:
        raise ModelError(f"table {key!r} is wrong: {error}") from None


def _table_to_dict(table: u.Quantity) -> dict[str, Any]:
    return {"data": table.value.tolist(), "unit": str(table.unit)}


def _checked_table(
    energy: u.Quantity, values: u.Quantity, where: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        at = np.asarray(energy.to_value(u.TeV), dtype=np.float64)
    except u.UnitsError:
        raise ModelError(f"energies in {energy.unit}", where=where) from None
    table = np.asarray(values.value, dtype=np.float64)
    if at.ndim != 1 or table.shape != at.shape or not at.size:
        raise ModelError(f"energies of shape {at.shape}, values of shape {table.shape}", where=where)
    if np.any(~(np.diff(at) > 0)) or at[0] <= 0:
        raise ModelError("energies that are not positive and rising", where=where, hint="Sort them")
    if not np.all(np.isfinite(table)) or np.any(table < 0):
        raise ModelError("values that are negative or not finite", where=where)
    return at, table


def _linear(
    points: NDArray[np.float64], at: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Index of the lower point and fraction of the way to the next; beyond the ends it extrapolates."""
    lower = np.clip(np.searchsorted(points, at, side="right") - 1, 0, points.size - 2)
    return lower, (at - points[lower]) / (points[lower + 1] - points[lower])


def _exp(log_values: NDArray[Any]) -> NDArray[Any]:
    """exp, with what came from a zero of the table back at zero."""
    with np.errstate(over="ignore"):
        values = np.exp(log_values)
    return np.where(values.real <= 2 * TINY, 0.0, values)
