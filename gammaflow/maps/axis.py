"""Binned axes: energy, offset from the source, migration."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import ArrayLike, NDArray

from gammaflow.errors import GeometryError, UnitError

_Scale = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_SCALES: dict[str, tuple[_Scale, _Scale]] = {
    "lin": (lambda x: x, lambda s: s),
    "log": (np.log, np.exp),
    "sqrt": (np.sqrt, np.square),
}
_EQUALITY_RTOL = 1e-6


def _house_unit(unit: u.UnitBase) -> u.UnitBase:
    """The unit in which the package keeps values of this kind."""
    for house in (u.TeV, u.deg):
        if unit.is_equivalent(house):
            return house
    return unit


def _to_house(values: object, unit: str | u.UnitBase | None, name: str) -> tuple[NDArray[np.float64], str]:
    """Floats in the house unit, and that unit's name; ``unit`` is that of bare numbers."""
    where = f"axis '{name}'"
    hint = "Give numbers and a unit, e.g. '0.1 TeV' or '500 GeV'."
    try:
        quantity = u.Quantity(values, dtype=np.float64)  # parses strings and lists of quantities, too
        if (
            not isinstance(values, u.Quantity)
            and quantity.unit == u.dimensionless_unscaled
            and unit is not None
        ):
            quantity = u.Quantity(quantity.value, unit)
    except (TypeError, ValueError) as error:
        raise UnitError(
            f"cannot read {values!r} with unit {unit!r} ({error})", where=where, hint=hint
        ) from error
    if name.startswith("energy") and not quantity.unit.is_equivalent(u.TeV):
        raise UnitError(f"unit '{quantity.unit}' is not an energy", where=where, hint=hint)
    house = _house_unit(quantity.unit)
    return np.atleast_1d(quantity.to_value(house)).astype(np.float64), house.to_string()


@dataclass(frozen=True, eq=False, repr=False, init=False)
class MapAxis:
    """A contiguous binned axis.

    Energies are kept in TeV and angles in deg, whatever unit they come in.

    Parameters
    ----------
    edges : array_like or `~astropy.units.Quantity`
        The N + 1 bin edges, strictly increasing.
    name : str
        ``energy``, ``energy_true``, ``rad``, ``migra``. A name that begins with ``energy`` needs an energy
        unit.
    unit : str
        Unit of ``edges`` that are bare numbers; a quantity brings its own.
    interp : {"log", "lin", "sqrt"}
        The scale in which bin centres lie midway between edges, and pixel coordinates are linear.

    Raises
    ------
    GeometryError
        Edges that do not increase, are not finite, or are not positive on a log axis.
    UnitError
        A unit that cannot be converted.
    """

    edges: NDArray[np.float64]
    name: str
    unit: str
    interp: str

    def __init__(self, edges: ArrayLike, name: str, unit: str | None = "TeV", interp: str = "log") -> None:
        where = f"axis '{name}'"
        if interp not in _SCALES:
            raise GeometryError(
                f"interp {interp!r} is unknown", where=where, hint="Use 'log', 'lin' or 'sqrt'."
            )
        values, house = _to_house(edges, unit, name)
        _check_edges(values, interp, where)
        values.flags.writeable = False
        for attribute, value in (("edges", values), ("name", name), ("unit", house), ("interp", interp)):
            object.__setattr__(self, attribute, value)

    @classmethod
    def from_edges(cls, edges: ArrayLike, name: str, unit: str | None = "", interp: str = "lin") -> MapAxis:
        """Axis from its edges; linear and without unit unless said otherwise."""
        return cls(edges, name, unit, interp)

    @classmethod
    def from_bounds(
        cls, lo: object, hi: object, nbin: int, name: str, unit: str | None = "", interp: str = "lin"
    ) -> MapAxis:
        """``nbin`` bins of equal width in the scale of ``interp`` between ``lo`` and ``hi``."""
        where = f"axis '{name}'"
        if interp not in _SCALES:
            raise GeometryError(
                f"interp {interp!r} is unknown", where=where, hint="Use 'log', 'lin' or 'sqrt'."
            )
        if int(nbin) != nbin or nbin < 1:
            raise GeometryError(f"{nbin} bins", where=where, hint="Give a whole number of bins, one or more.")
        (low,), house = _to_house(lo, unit, name)
        (high,), house_high = _to_house(hi, unit, name)
        if house != house_high:
            raise UnitError(f"bounds in different units: '{house}' and '{house_high}'", where=where)
        _check_edges(np.array([low, high]), interp, where)
        if interp == "log":
            edges = np.geomspace(low, high, int(nbin) + 1)
        elif interp == "sqrt":
            edges = np.linspace(math.sqrt(low), math.sqrt(high), int(nbin) + 1) ** 2
        else:
            edges = np.linspace(low, high, int(nbin) + 1)
        return cls(edges, name, house, interp)

    @classmethod
    def from_energy_bounds(
        cls,
        energy_min: object,
        energy_max: object,
        nbin: int,
        per_decade: bool = False,
        name: str = "energy",
        unit: str | None = None,
    ) -> MapAxis:
        """Energy axis of equal logarithmic bins.

        Parameters
        ----------
        energy_min, energy_max : str, `~astropy.units.Quantity` or float
            First and last edge, e.g. ``"0.1 TeV"``. A bare number takes its unit from ``unit``.
        nbin : int
            Number of bins; with ``per_decade`` bins a decade, of which there are
            ceil(nbin * log10(energy_max / energy_min)) in all.
        per_decade : bool
            See ``nbin``.
        name : str
            ``energy`` or ``energy_true``.
        unit : str, optional
            Unit of bare numbers.
        """
        if per_decade:
            ends = cls.from_bounds(energy_min, energy_max, 1, name, unit, "log").edges
            # as a power of ten may come out a rounding error too large: 5.000000000000001 bins are 5
            nbin = max(1, math.ceil(round(math.log10(ends[1] / ends[0]) * nbin, 9)))
        return cls.from_bounds(energy_min, energy_max, nbin, name, unit, "log")

    @classmethod
    def from_energy_edges(cls, edges: ArrayLike, name: str = "energy", unit: str | None = None) -> MapAxis:
        """Energy axis from its edges, which carry their unit."""
        return cls(edges, name, unit, "log")

    @cached_property
    def center(self) -> NDArray[np.float64]:
        """The bin centres, shape (N,): midway between the edges in the scale of ``interp``."""
        forward, inverse = _SCALES[self.interp]
        scaled = forward(self.edges)
        center = np.asarray(inverse(0.5 * (scaled[:-1] + scaled[1:])))
        center.flags.writeable = False
        return center

    @property
    def bin_width(self) -> NDArray[np.float64]:
        """Upper minus lower edge, shape (N,)."""
        return np.diff(self.edges)

    @property
    def nbin(self) -> int:
        """Number of bins."""
        return int(self.edges.size - 1)

    def energy_mask(self, energy_min: object = None, energy_max: object = None) -> NDArray[np.bool_]:
        """Bins that lie wholly inside a range, shape (N,).

        A bin is kept if lower edge >= ``energy_min`` and upper edge <= ``energy_max``. The comparison is
        exact, and it is made as Gammapy makes it, with edges that have been to the axis' scale and back:
        exp(ln(10 TeV)) is 10.000000000000002 TeV, so a bin that ends there is not inside a range up to 10
        TeV. Masks depend on it.

        Parameters
        ----------
        energy_min, energy_max : float [axis unit], str or `~astropy.units.Quantity`, optional
            The range. ``None`` (or NaN) is no bound.
        """
        forward, inverse = _SCALES[self.interp]
        edges = inverse(forward(self.edges))
        mask = np.ones(self.nbin, dtype=bool)
        low = self._bound(energy_min)
        high = self._bound(energy_max)
        if low is not None:
            mask &= edges[:-1] >= low
        if high is not None:
            mask &= edges[1:] <= high
        return mask

    def _bound(self, value: object) -> float | None:
        if value is None:
            return None
        if isinstance(value, int | float | np.number):
            bound = float(value)
        else:
            bound = float(_to_house(value, self.unit, self.name)[0][0])
        return None if math.isnan(bound) else bound

    def coord_to_idx(self, x: ArrayLike) -> NDArray[np.intp]:
        """Bin of each value (in the axis unit), -1 outside.

        A bin holds its lower edge and not its upper one, the last bin neither.
        """
        values = np.asarray(x, dtype=np.float64)
        index = np.digitize(values, self.edges) - 1
        return np.where((index >= self.nbin) | ~np.isfinite(values), -1, index)

    def coord_to_pix(self, x: ArrayLike) -> NDArray[np.float64]:
        """Continuous bin coordinate, 0 at the first centre: linear between (and beyond) edges in the axis'
        scale.
        """
        forward, _ = _SCALES[self.interp]
        scaled = np.asarray(forward(np.asarray(x, dtype=np.float64)))
        nodes = forward(self.edges)
        cell = np.clip(np.searchsorted(nodes, scaled, side="right") - 1, 0, self.nbin - 1)
        return np.asarray(cell + (scaled - nodes[cell]) / (nodes[cell + 1] - nodes[cell]) - 0.5)

    def pix_to_coord(self, pix: ArrayLike) -> NDArray[np.float64]:
        """Inverse of `coord_to_pix`."""
        forward, inverse = _SCALES[self.interp]
        position = np.asarray(pix, dtype=np.float64) + 0.5
        nodes = forward(self.edges)
        cell = np.clip(np.floor(position), 0, self.nbin - 1).astype(np.intp)
        return np.asarray(inverse(nodes[cell] + (position - cell) * (nodes[cell + 1] - nodes[cell])))

    def squash(self) -> MapAxis:
        """The same range as one bin."""
        return MapAxis(self.edges[[0, -1]], self.name, self.unit, self.interp)

    def slice(self, first: int, last: int) -> MapAxis:
        """The bins ``first`` to ``last``, the last not included."""
        if not 0 <= first < last <= self.nbin:
            raise GeometryError(f"no bins {first} to {last} among {self.nbin}", where=f"axis '{self.name}'")
        return MapAxis(self.edges[first : last + 1], self.name, self.unit, self.interp)

    def rename(self, name: str) -> MapAxis:
        """The same bins under another name, e.g. ``energy_true``."""
        return MapAxis(self.edges, name, self.unit, self.interp)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold; floats survive exactly."""
        return {"name": self.name, "unit": self.unit, "interp": self.interp, "edges": self.edges.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> MapAxis:
        """Inverse of `to_dict`."""
        return cls(data["edges"], data["name"], data["unit"], data["interp"])

    def difference(self, other: MapAxis, rtol: float = _EQUALITY_RTOL) -> str | None:
        """In words, the first thing in which another axis differs; ``None`` if they are the same."""
        for what in ("name", "unit", "interp", "nbin"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                return f"axis '{self.name}': {what} {mine} and {theirs}"
        # of the largest edge where one is 0; an absolute tolerance in TeV would mean different things to
        # GeV and PeV
        scale = np.maximum(np.abs(self.edges), 1e-3 * np.abs(self.edges).max())
        off = np.abs(self.edges - other.edges) > rtol * scale
        if off.any():
            i = int(np.argmax(off))
            mine, theirs = float(self.edges[i]), float(other.edges[i])
            return f"axis '{self.name}': edge {i} is {mine!r} and {theirs!r} {self.unit}"
        return None

    def is_allclose(self, other: object, rtol: float = _EQUALITY_RTOL) -> bool:
        """Whether another axis has the same name, unit, scale, and edges within ``rtol``."""
        return isinstance(other, MapAxis) and self.difference(other, rtol) is None

    def __eq__(self, other: object) -> bool:
        return self is other or self.is_allclose(other)

    def __hash__(self) -> int:
        # equality is tolerant, so the edges themselves cannot enter
        return hash((self.name, self.unit, self.interp, self.nbin))

    def __len__(self) -> int:
        return self.nbin

    def __repr__(self) -> str:
        low, high = self.edges[0], self.edges[-1]
        return f"MapAxis({self.name}: {self.nbin} {self.interp} bins, {low:.6g} to {high:.6g} {self.unit})"

    def __reduce__(self) -> tuple[object, ...]:
        return (MapAxis, (np.array(self.edges), self.name, self.unit, self.interp))


def _check_edges(edges: NDArray[np.float64], interp: str, where: str) -> None:
    if edges.ndim != 1 or edges.size < 2:
        raise GeometryError(f"edges of shape {edges.shape}", where=where, hint="Give two edges or more.")
    if not np.isfinite(edges).all():
        raise GeometryError(f"edge {int(np.argmin(np.isfinite(edges)))} is not finite", where=where)
    if (interp == "log" and edges[0] <= 0) or (interp == "sqrt" and edges[0] < 0):
        raise GeometryError(
            f"first edge {edges[0]:g} on a {interp} scale", where=where, hint="Begin above zero."
        )
    falling = np.diff(edges) <= 0
    if falling.any():
        i = int(np.argmax(falling))
        raise GeometryError(
            f"edges do not increase: edge {i} is {edges[i]:g}, edge {i + 1} is {edges[i + 1]:g}",
            where=where,
            hint="Give the lower bound first, and no edge twice.",
        )
