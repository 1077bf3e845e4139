"""`Parameters`: a sequence of parameters, in which a linked one may stand more than once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, overload

import numpy as np
from astropy.table import Table
from numpy.typing import NDArray

from gammaflow.errors import ModelError
from gammaflow.modeling.parameter import Parameter


class Parameters(Sequence[Parameter]):
    """A sequence of parameters; a linked one may stand in it more than once.

    Parameters
    ----------
    parameters : iterable of Parameter, optional
        The parameters.
    """

    def __init__(self, parameters: Iterable[Parameter] | None = None) -> None:
        self._parameters = tuple(parameters or ())

    @classmethod
    def from_stack(cls, stack: Iterable[Iterable[Parameter]]) -> Parameters:
        """One sequence from several."""
        return cls(parameter for parameters in stack for parameter in parameters)

    @overload
    def __getitem__(self, key: int | str | Parameter) -> Parameter: ...

    @overload
    def __getitem__(self, key: slice | NDArray[np.bool_]) -> Parameters: ...

    def __getitem__(self, key: int | str | Parameter | slice | NDArray[np.bool_]) -> Parameter | Parameters:
        if isinstance(key, slice):
            return Parameters(self._parameters[key])
        if isinstance(key, np.ndarray) and key.dtype == bool:
            return Parameters(p for p, keep in zip(self._parameters, key, strict=True) if keep)
        return self._parameters[self.index(key)]

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters)

    def __contains__(self, key: object) -> bool:
        return any(p is key or p.name == key for p in self._parameters)

    def __add__(self, other: Parameters) -> Parameters:
        return Parameters.from_stack([self, other])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameters):
            return NotImplemented
        return len(self) == len(other) and all(a is b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equality is by content, as a list's is

    def __repr__(self) -> str:
        return f"Parameters({list(self._parameters)!r})"

    def index(self, key: Any, start: int = 0, stop: int | None = None) -> int:
        """Position of a parameter given by itself, its name (the first) or its position."""
        if isinstance(key, int | np.integer):
            return int(key)
        for position, parameter in enumerate(self._parameters[:stop]):
            if position >= start and (parameter is key or parameter.name == key):
                return position
        raise ModelError(
            f"there is no parameter {getattr(key, 'name', key)!r}", hint=f"There are {', '.join(self.names)}"
        )

    @property
    def names(self) -> list[str]:
        """Names, in order."""
        return [p.name for p in self._parameters]

    @property
    def value(self) -> NDArray[np.float64]:
        """Values, (n,), each in its own unit."""
        return np.array([p.value for p in self._parameters], dtype=np.float64)

    @value.setter
    def value(self, values: Sequence[float] | NDArray[np.float64]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.value = float(value)

    @property
    def min(self) -> NDArray[np.float64]:
        """Lower limits, (n,), NaN for none."""
        return np.array([p.min for p in self._parameters], dtype=np.float64)

    @min.setter
    def min(self, limits: Sequence[float]) -> None:
        for parameter, limit in zip(self._parameters, limits, strict=True):
            parameter.min = limit

    @property
    def max(self) -> NDArray[np.float64]:
        """Upper limits, (n,), NaN for none."""
        return np.array([p.max for p in self._parameters], dtype=np.float64)

    @max.setter
    def max(self, limits: Sequence[float]) -> None:
        for parameter, limit in zip(self._parameters, limits, strict=True):
            parameter.max = limit

    @property
    def free_parameters(self) -> Parameters:
        """Those that are not frozen."""
        return Parameters(p for p in self._parameters if not p.frozen)

    @property
    def unique_parameters(self) -> Parameters:
        """Each linked parameter once."""
        return Parameters({id(p): p for p in self._parameters}.values())

    @property
    def free_unique_parameters(self) -> Parameters:
        """What a fit varies: not frozen, each linked one once."""
        return self.unique_parameters.free_parameters

    @property
    def linked(self) -> Parameters:
        """Those that stand here more than once, each once."""
        counts: dict[int, int] = {}
        for parameter in self._parameters:
            counts[id(parameter)] = counts.get(id(parameter), 0) + 1
        return Parameters(p for p in self.unique_parameters if counts[id(p)] > 1)

    def select(self, name: str | Sequence[str] | None = None, frozen: bool | None = None) -> Parameters:
        """Those with one of the names and the given frozen status."""
        names = [name] if isinstance(name, str) else name
        return Parameters(
            p
            for p in self._parameters
            if (names is None or p.name in names) and (frozen is None or p.frozen == frozen)
        )

    def freeze_all(self) -> None:
        """Freeze all."""
        for parameter in self._parameters:
            parameter.frozen = True

    def unfreeze_all(self) -> None:
        """Free all, also those frozen by default."""
        for parameter in self._parameters:
            parameter.frozen = False

    def autoscale(self) -> None:
        """`Parameter.autoscale` for all."""
        for parameter in self._parameters:
            parameter.autoscale()

    def check(self) -> None:
        """Raise `ModelError` when a value lies outside its limits."""
        for parameter in self._parameters:
            parameter.check()

    def prior_stat_sum(self) -> float:
        """Sum of -2 ln(prior) over the unique parameters."""
        return sum(p.prior_stat_sum() for p in self.unique_parameters)

    @contextmanager
    def restore_status(self, restore_values: bool = True) -> Iterator[Parameters]:
        """Inside the ``with`` block values and frozen status may change; afterwards they are as before."""
        before = [(p, p._value, p.frozen) for p in self._parameters]
        try:
            yield self
        finally:
            for parameter, value, frozen in before:
                parameter.frozen = frozen
                if restore_values:
                    parameter._value = value

    def update_link_label(self) -> None:
        """Give every linked parameter a label ``name@id``, the ids counted from 1, and the others none."""
        linked = {id(p) for p in self.linked}
        number = 0
        for parameter in self.unique_parameters:
            if id(parameter) in linked:
                number += 1
                parameter.link = f"{parameter.name}@{number}"
            else:
                parameter.link = None

    def to_dict(self) -> list[dict[str, Any]]:
        """`Parameter.to_dict` of each."""
        return [p.to_dict() for p in self._parameters]

    def to_table(self) -> Table:
        """Table with name, value, unit, error, min, max, frozen, link and prior."""
        self.update_link_label()
        columns: dict[str, tuple[type, list[Any]]] = {
            "name": (str, self.names),
            "value": (float, [p.value for p in self]),
            "unit": (str, [p.unit.to_string("fits") for p in self]),
            "error": (float, [p.error for p in self]),
            "min": (float, [p.min for p in self]),
            "max": (float, [p.max for p in self]),
            "frozen": (bool, [p.frozen for p in self]),
            "link": (str, [p.link or "" for p in self]),
            "prior": (str, [type(p.prior).__name__ if p.prior else "" for p in self]),
        }
        table = Table({name: np.array(values, dtype=kind) for name, (kind, values) in columns.items()})
        table["value"].format = ".4e"
        for name in ("error", "min", "max"):
            table[name].format = ".3e"
        return table


def parameter_lines(parameters: Iterable[Parameter]) -> list[str]:
    """A line a parameter, as Gammapy prints it: name, whether it is frozen, value, error, unit."""
    lines = []
    for p in parameters:
        error = "" if p.frozen or np.isnan(p.error) else f"+/- {_shown(p.error, 2):>7}"
        unit = p.unit.to_string() if str(p.unit) else ""
        line = f"{p.link or p.name:21} {'(frozen)' if p.frozen else '':8}: {_shown(p.value, 3):>10}   {error:11} {unit}"
        lines.append(line.rstrip())
    return lines


def _shown(value: float, decimals: int) -> str:
    """A number with so many decimals, or with an exponent where that would not show it."""
    plain = value == 0 or 1e-3 <= abs(value) < 1e5
    return f"{value:.{decimals}f}" if plain else f"{value:.{decimals - 1}e}"
