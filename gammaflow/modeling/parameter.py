"""`Parameter`: one number of a model, with its unit, limits, error and prior."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammaflow.errors import ModelError
from gammaflow.modeling.prior import Prior
from gammaflow.modeling.units import internal_factor


class Parameter:
    """A parameter of a model.

    Parameters
    ----------
    name : str
        Name, the same as the attribute of the model class it is assigned to.
    value : float, str or Quantity
        Value. A string or Quantity brings its unit along; then ``unit`` is not looked at.
    unit : str or Unit
        Unit of ``value``, ``min``, ``max`` and ``error``.
    scale : float
        Power of ten that an optimiser may divide by; ``factor = value / scale``.
    min, max : float, str or Quantity
        Limits; NaN for none.
    frozen : bool
        Whether a fit leaves it as it is.
    error : float
        One standard deviation.
    scan_min, scan_max : float, optional
        Ends of a scan; by default ``value -+ scan_n_sigma * error``.
    scan_n_values, scan_n_sigma : int
        Number of points and half-width of a scan.
    scan_values : array, optional
        The points of a scan themselves.
    scale_method : {"scale10", "factor1", None}
        How `autoscale` chooses ``scale``.
    interp : {"lin", "log", "sqrt"}
        Spacing of the points of a scan.
    prior : Prior, optional
        Prior; its term is added to the fit statistic.
    scale_transform : {"lin", "log", "sqrt"}
        Kept for Gammapy's files; fits work in the value itself.

    Raises
    ------
    ModelError
        NaN or infinite value, value outside the limits, a unit of another kind.

    Notes
    -----
    The same object in two models links them: `Parameters.unique_parameters` holds it once.
    """

    def __init__(
        self,
        name: str,
        value: float | str | u.Quantity,
        unit: str | u.UnitBase = "",
        scale: float = 1.0,
        min: float | str | u.Quantity | None = math.nan,  # Gammapy's argument name
        max: float | str | u.Quantity | None = math.nan,
        frozen: bool = False,
        error: float = 0.0,
        scan_min: float | None = None,
        scan_max: float | None = None,
        scan_n_values: int = 11,
        scan_n_sigma: int = 2,
        scan_values: NDArray[np.float64] | None = None,
        scale_method: str | None = "scale10",
        interp: str = "lin",
        prior: Prior | None = None,
        scale_transform: str = "lin",
    ) -> None:
        if not isinstance(name, str) or not name:
            raise ModelError(f"{name!r} is no name for a parameter", hint="Give a non-empty string")
        self._name = name
        self._prior: Prior | None = None
        self._min = self._max = math.nan
        self.link: str | None = None
        number, self._unit = _split(value, unit, name)
        self._value = _finite(number, self)
        self.min = min
        self.max = max
        self.error = error
        self.frozen = frozen
        self.scale = float(scale)
        self.scale_method = scale_method
        self.scale_transform = scale_transform
        self.interp = interp
        self.scan_min_set, self.scan_max_set = scan_min, scan_max
        self.scan_n_values, self.scan_n_sigma = int(scan_n_values), int(scan_n_sigma)
        self.scan_values_set = scan_values
        self.prior = prior
        self.check()

    # --- what it is -------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Name."""
        return self._name

    @property
    def value(self) -> float:
        """Value, in `unit`."""
        return self._value

    @value.setter
    def value(self, value: float) -> None:
        if isinstance(value, u.Quantity) and not value.unit.is_equivalent(u.dimensionless_unscaled):
            raise ModelError(f"{value} given as value", where=self.name, hint="Assign it to .quantity")
        number = _finite(value, self)
        low, high = self.bounds
        if not low <= number <= high:
            raise ModelError(
                f"value {number:g} {self._unit} is outside its limits [{low:g}, {high:g}]",
                where=f"parameter {self.name!r}",
                hint="Change the limits first, or the value",
            )
        self._value = number

    @property
    def unit(self) -> u.UnitBase:
        """Unit; change it through `quantity`."""
        return self._unit

    @property
    def quantity(self) -> u.Quantity:
        """Value with its unit. Assigning another unit of the same kind converts limits and error too."""
        return u.Quantity(self._value, self._unit)

    @quantity.setter
    def quantity(self, quantity: u.Quantity | str | float) -> None:
        number, unit = _split(quantity, u.dimensionless_unscaled, self.name)
        if not unit.is_equivalent(self._unit):
            raise ModelError(
                f"unit {_show(unit)} where one like {_show(self._unit)} is needed",
                where=f"parameter {self.name!r}",
                hint=f"Give a quantity such as '1 {_show(self._unit)}'",
            )
        factor = float(self._unit.to(unit))
        self._unit = unit
        self._min, self._max = self._min * factor, self._max * factor
        self.error *= factor
        self.value = number

    @property
    def internal(self) -> float:
        """Value in TeV, m, s, deg: what a model computes with."""
        return self._value * internal_factor(self._unit)

    @property
    def internal_factor(self) -> float:
        """``internal / value``."""
        return internal_factor(self._unit)

    # --- limits and errors ------------------------------------------------------------------------

    @property
    def min(self) -> float:
        """Lower limit, NaN for none. A uniform prior brings its own."""
        return _tighter(self._min, self._prior.support[0] if self._prior else -math.inf, max)

    @min.setter
    def min(self, limit: float | str | u.Quantity | None) -> None:
        self._min = self._limit(limit)
        self._ordered()

    @property
    def max(self) -> float:
        """Upper limit, NaN for none. A uniform prior brings its own."""
        return _tighter(self._max, self._prior.support[1] if self._prior else math.inf, min)

    @max.setter
    def max(self, limit: float | str | u.Quantity | None) -> None:
        self._max = self._limit(limit)
        self._ordered()

    def set_lim(
        self, min: float | str | u.Quantity | None = None, max: float | str | u.Quantity | None = None
    ) -> None:
        """Set lower and upper limit, where given."""
        new_min = self._min if min is None else self._limit(min)
        new_max = self._max if max is None else self._limit(max)
        self._min, self._max = new_min, new_max
        self._ordered()

    @property
    def bounds(self) -> tuple[float, float]:
        """Limits with infinities where there is none."""
        low, high = self.min, self.max
        return (-math.inf if math.isnan(low) else low), (math.inf if math.isnan(high) else high)

    def check(self) -> None:
        """Raise `ModelError` when the value lies outside the limits."""
        self.value = self._value

    @property
    def error(self) -> float:
        """One standard deviation, in `unit`."""
        return self._error

    @error.setter
    def error(self, error: float | str | u.Quantity) -> None:
        self._error = self._limit(error)

    @property
    def frozen(self) -> bool:
        """Whether a fit leaves it as it is."""
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        if not isinstance(frozen, bool | np.bool_):
            raise ModelError(
                f"frozen is {frozen!r}", where=f"parameter {self.name!r}", hint="Give True or False"
            )
        self._frozen = bool(frozen)

    @property
    def prior(self) -> Prior | None:
        """Prior, a function of the value in the parameter's own unit."""
        return self._prior

    @prior.setter
    def prior(self, prior: Prior | dict[str, Any] | None) -> None:
        if isinstance(prior, dict):
            prior = Prior.from_dict(prior)
        if prior is not None and not isinstance(prior, Prior):
            raise ModelError(
                f"{prior!r} is no prior", where=f"parameter {self.name!r}", hint="Give a GaussianPrior, say"
            )
        self._prior = prior

    def prior_stat_sum(self) -> float:
        """-2 ln(prior) at the value, 0 without a prior."""
        return 0.0 if self._prior is None else self._prior.value(self._value)

    # --- what optimisers and scans use ------------------------------------------------------------

    @property
    def factor(self) -> float:
        """``value / scale``."""
        return self._value / self.scale

    @factor.setter
    def factor(self, factor: float) -> None:
        self.value = factor * self.scale

    def autoscale(self) -> None:
        """Choose `scale`: the power of ten below the value (``scale10``), or the value (``factor1``)."""
        if self._value == 0 or self.scale_method is None:
            return
        self.scale = (
            10.0 ** math.floor(math.log10(abs(self._value)))
            if self.scale_method == "scale10"
            else abs(self._value)
        )

    @property
    def scan_min(self) -> float:
        """Lower end of a scan."""
        return self._value - self._step() if self.scan_min_set is None else self.scan_min_set

    @scan_min.setter
    def scan_min(self, value: float | None) -> None:
        self.scan_min_set = value

    @property
    def scan_max(self) -> float:
        """Upper end of a scan."""
        return self._value + self._step() if self.scan_max_set is None else self.scan_max_set

    @scan_max.setter
    def scan_max(self, value: float | None) -> None:
        self.scan_max_set = value

    @property
    def scan_values(self) -> NDArray[np.float64]:
        """The points of a scan, (scan_n_values,)."""
        if self.scan_values_set is not None:
            return np.asarray(self.scan_values_set, dtype=np.float64)
        ends = (self.scan_min, self.scan_max)
        if self.interp == "log":
            return np.geomspace(*ends, self.scan_n_values)
        if self.interp == "sqrt":
            return np.linspace(math.sqrt(ends[0]), math.sqrt(ends[1]), self.scan_n_values) ** 2
        return np.linspace(*ends, self.scan_n_values)

    @scan_values.setter
    def scan_values(self, values: NDArray[np.float64] | None) -> None:
        self.scan_values_set = values

    def _step(self) -> float:
        return self.scan_n_sigma * (self.error if self.error > 0 else abs(self._value))

    # --- files, copies ----------------------------------------------------------------------------

    def copy(self) -> Parameter:
        """Independent copy."""
        return copy.deepcopy(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as it stands in Gammapy's YAML with full output."""
        data: dict[str, Any] = {
            "name": self.name,
            "value": self.value,
            "unit": self.unit.to_string("fits"),
            "error": self.error,
            "min": self.min,
            "max": self.max,
            "frozen": self.frozen,
            "interp": self.interp,
            "scale_method": self.scale_method,
            "scale_transform": self.scale_transform,
        }
        if self.link is not None:
            data["link"] = self.link
        if self._prior is not None:
            data["prior"] = self._prior.to_dict()
        return data

    def __repr__(self) -> str:
        limits = "" if self.bounds == (-math.inf, math.inf) else f", min={self.min:g}, max={self.max:g}"
        return (
            f"Parameter({self.name!r}, {self.value!r}, {_show(self.unit)!r}, frozen={self.frozen}, "
            f"error={self.error:g}{limits}{'' if self._prior is None else f', prior={self._prior!r}'})"
        )

    def _limit(self, limit: float | str | u.Quantity | None) -> float:
        if limit is None or np.ma.is_masked(limit):
            return math.nan
        number, unit = _split(limit, self._unit, self.name)
        if not unit.is_equivalent(self._unit):
            raise ModelError(
                f"limit or error in {_show(unit)} where one like {_show(self._unit)} is needed",
                where=f"parameter {self.name!r}",
            )
        return float(number) * float(unit.to(self._unit))

    def _ordered(self) -> None:
        low, high = self.bounds
        if low > high:
            raise ModelError(
                f"lower limit {low:g} is above the upper limit {high:g}", where=f"parameter {self.name!r}"
            )


def _split(value: float | str | u.Quantity, unit: str | u.UnitBase, name: str) -> tuple[float, u.UnitBase]:
    """Number and unit of what a user gave; a plain number, also one in a string, is in ``unit``."""
    try:
        if isinstance(value, str):
            try:
                return float(value), u.Unit(unit)
            except ValueError:
                value = u.Quantity(value)
        if isinstance(value, u.Quantity):
            return float(value.value), value.unit
        return float(value), u.Unit(unit)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{value!r} (unit {str(unit)!r}) is no number with a unit: {error}",
            where=f"parameter {name!r}",
            hint="Give a number, or a string such as '1e-12 cm-2 s-1 TeV-1'",
        ) from None


def _finite(value: Any, parameter: Parameter) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ModelError(f"value {value!r} is no number", where=f"parameter {parameter.name!r}") from None
    if not math.isfinite(number):
        raise ModelError(
            f"value is {number}",
            where=f"parameter {parameter.name!r}",
            hint="A value must be a finite number",
        )
    return number


def _tighter(own: float, prior: float, choose: Any) -> float:
    if math.isinf(prior):
        return own
    return prior if math.isnan(own) else float(choose(own, prior))


def _show(unit: u.UnitBase) -> str:
    return unit.to_string("fits") or "dimensionless"
