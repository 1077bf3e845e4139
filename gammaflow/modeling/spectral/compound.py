"""Sums and products of spectral models, and one model scaled by a norm."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammaflow.errors import ModelError
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.parameters import Parameters
from gammaflow.modeling.spectral.base import SpectralModel

OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "truediv": operator.truediv,
}


class CompoundSpectralModel(SpectralModel):
    """Two spectral models added, subtracted, multiplied or divided.

    Parameters
    ----------
    model1, model2 : SpectralModel
    operator : callable
        One of ``operator.add``, ``sub``, ``mul``, ``truediv``, or its name.

    Raises
    ------
    ModelError
        Another operator, or a sum of a flux and a factor.
    """

    tag = ("CompoundSpectralModel", "compound")

    def __init__(
        self, model1: SpectralModel, model2: SpectralModel, operator: Callable[..., Any] | str
    ) -> None:
        super().__init__()
        name = operator if isinstance(operator, str) else operator.__name__
        if name not in OPERATORS:
            raise ModelError(
                f"operator {name!r} between spectral models", hint=f"There are {', '.join(OPERATORS)}"
            )
        self.model1, self.model2 = model1, model2
        self.operator = OPERATORS[name]
        self.operator_name = name
        if name in ("add", "sub") and not model1.unit.is_equivalent(model2.unit):
            raise ModelError(
                f"{name} of models in {model1.unit} and {model2.unit}",
                where=self.tag[0],
                hint="Add fluxes to fluxes and factors to factors; a factor multiplies",
            )

    @property
    def parameters(self) -> Parameters:
        """Those of the first model, then those of the second."""
        return self.model1.parameters + self.model2.parameters

    @property
    def parameter_names(self) -> list[str]:
        """Names with ``model1.`` or ``model2.`` before them."""
        return [
            f"model{i}.{name}"
            for i, model in enumerate((self.model1, self.model2), 1)
            for name in model.parameter_names
        ]

    @property
    def unit(self) -> u.UnitBase:
        """Unit of `values`."""
        if self.operator_name in ("add", "sub"):
            return self.model1.unit
        return self.operator(self.model1.unit, self.model2.unit)

    @property
    def is_norm_spectral_model(self) -> bool:  # type: ignore[override]  # follows from the two models
        """Whether the values are factors."""
        return bool(self.unit == u.dimensionless_unscaled)

    @property
    def is_power_law(self) -> bool:  # type: ignore[override]  # follows from the two models
        """A product of power laws is one."""
        both = self.model1.is_power_law and self.model2.is_power_law
        return both and self.operator_name in ("mul", "truediv")

    @property
    def analytic_gradient(self) -> bool:  # type: ignore[override]  # follows from the two models
        """Whether both models have a formula for it."""
        return self.model1.analytic_gradient and self.model2.analytic_gradient

    def evaluate(self, energy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values at energies in TeV."""
        return self.values(energy)

    def _split(self, point: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        first = len(self.model1.parameters)
        return point[:first], point[first:]

    def _values(self, energy: NDArray[np.float64], point: NDArray[Any]) -> NDArray[Any]:
        first, second = self._split(point)
        return np.asarray(
            self.operator(self.model1._values(energy, first), self.model2._values(energy, second))
        )

    def _values_and_gradient(
        self, energy: NDArray[np.float64], point: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        first, second = self._split(point)
        f1, d1 = self.model1._values_and_gradient(energy, first)
        f2, d2 = self.model2._values_and_gradient(energy, second)
        if self.operator_name == "add":
            rows = (d1, d2)
        elif self.operator_name == "sub":
            rows = (d1, -d2)
        elif self.operator_name == "mul":
            rows = (d1 * f2, f1 * d2)
        else:
            rows = (d1 / f2, -f1 / f2**2 * d2)
        return np.asarray(self.operator(f1, f2)), np.concatenate(rows)

    def unfreeze(self) -> None:
        """Frozen status as the two classes have it."""
        self.model1.unfreeze()
        self.model2.unfreeze()

    def _replace(self, old: Parameter, new: Parameter) -> None:
        self.model1._replace(old, new)
        self.model2._replace(old, new)

    def _defaults(self) -> Parameters:
        return self.model1._defaults() + self.model2._defaults()

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML."""
        return {
            "spectral": {
                "type": self.tag[0],
                "model1": self.model1.to_dict(full_output)["spectral"],
                "model2": self.model2.to_dict(full_output)["spectral"],
                "operator": self.operator_name,
            }
        }

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> CompoundSpectralModel:
        check_keys(entry, ("type", "model1", "model2", "operator"))
        for key in ("model1", "model2", "operator"):
            if key not in entry:
                raise ModelError(f"has no {key!r}")
        models = [SpectralModel.from_dict({"spectral": entry[key]}) for key in ("model1", "model2")]
        return cls(models[0], models[1], entry["operator"])

    def __repr__(self) -> str:
        return f"CompoundSpectralModel({self.model1!r}, {self.model2!r}, {self.operator_name!r})"

    __str__ = __repr__


class ScaleSpectralModel(SpectralModel):
    """Another model, as it is, times a norm.

    Parameters
    ----------
    model : SpectralModel
        Its parameters are not among this model's.
    norm : float
    """

    tag = ("ScaleSpectralModel", "scale")
    norm = Parameter("norm", 1.0, interp="log")
    analytic_gradient = True

    def __init__(self, model: SpectralModel, norm: Any = None) -> None:
        super().__init__(**({} if norm is None else {"norm": norm}))
        self.model = model

    @property
    def unit(self) -> u.UnitBase:
        """Unit of `values`."""
        return self.model.unit

    @property
    def is_norm_spectral_model(self) -> bool:  # type: ignore[override]  # follows from the model
        """Whether the values are factors."""
        return self.model.is_norm_spectral_model

    def _values(self, energy: NDArray[np.float64], point: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(point[0] * self.model.values(energy))

    def _values_and_gradient(
        self, energy: NDArray[np.float64], point: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        values = self.model.values(energy)
        return np.asarray(point[0] * values), np.asarray(values[None] + 0 * point[0])

    def _nodes(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.model._nodes(low, high)

    def evaluate(self, energy: NDArray[np.float64], norm: Any) -> NDArray[Any]:
        """Values at energies in TeV."""
        return np.asarray(norm * self.model.values(energy))

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As a product of a norm and the model, which files know."""
        from_norm = SpectralModel.create("pl-norm", "spectral", norm=self.norm.value)
        return CompoundSpectralModel(from_norm, self.model, "mul").to_dict(full_output)
