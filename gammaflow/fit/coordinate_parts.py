"""The pieces that the map from parameters to shared coordinates is made of: fluxes, ellipses, and what stays itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import FitError
from gammaflow.fit import ellipse
from gammaflow.likelihood import FluxBlock
from gammaflow.modeling import Parameter, SkyModel, SpectralModel
from gammaflow.modeling.differentiation import scale_of

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(eq=False)
class Mapped:
    """``z`` at one ``theta``.

    Parameters
    ----------
    point : array (Z,)
    jacobian : array (Z, m)
        ``dz/dtheta``.
    curved : list of (slice, array (n,) of int, array (n, n, k))
        Second derivatives of the k coordinates of a slice by n of the parameters; zero elsewhere.
    """

    point: Floats
    jacobian: Floats
    curved: list[tuple[slice, Ints, Floats]] = field(default_factory=list)

    def bend(self, weights: Floats) -> Floats:
        """``sum_k weights_k d2z_k / dtheta2`` (m, m)."""
        m = self.jacobian.shape[1]
        total = np.zeros((m, m))
        for place, index, second in self.curved:
            total[np.ix_(index, index)] += second @ weights[place]
        return total

    def add(self, place: slice, columns: Ints, first: Floats, second: Floats | None) -> None:
        """Derivatives (n, k) and (n, n, k) by the parameters of n columns, of which one may stand twice."""
        for column, slope in zip(columns, first, strict=True):
            self.jacobian[place, column] += slope
        if second is None:
            return
        unique, where = np.unique(columns, return_inverse=True)
        if len(unique) < len(columns):
            total = np.zeros((len(unique), len(unique), second.shape[2]))
            np.add.at(total, (where[:, None], where[None, :]), second)
            columns, second = unique.astype(np.intp), total
        self.curved.append((place, columns, second))


class Part(Protocol):
    """Some of the coordinates as a function of theta."""

    def fill(self, theta: Floats, order: int, out: Mapped) -> None:
        """Put its coordinates, and their derivatives up to ``order``, in place."""


@dataclass(frozen=True, eq=False)
class SamePart:
    """A coordinate that is a parameter itself."""

    place: int
    column: int

    def fill(self, theta: Floats, order: int, out: Mapped) -> None:
        """Put it in place."""
        out.point[self.place] = theta[self.column]
        out.jacobian[self.place, self.column] = 1.0


@dataclass(frozen=True, eq=False)
class FluxPart:
    """The fluxes of one source on one grid of energies; the parameters of its model have been set to theta before.

    Parameters
    ----------
    model : SpectralModel
        A copy that nobody else looks at.
    edges : array (k + 1,), or (k,)
        Edges of bins; or the energies of a differential flux.
    place : slice
        Of the fluxes in ``z``.
    rows, columns : arrays (n,) of int
        The rows of the model's gradient that belong to columns of theta.
    fixed : array (k,) or None
        The fluxes, when no parameter moves them.
    differential : bool
        Whether the fluxes are values at energies, not integrals over bins.
    """

    model: SpectralModel
    edges: Floats
    place: slice
    rows: Ints
    columns: Ints
    fixed: Floats | None
    differential: bool = False

    @classmethod
    def of(cls, source: SkyModel, block: FluxBlock, start: int, column_of: dict[int, int]) -> FluxPart:
        """For the copy of a source; ``column_of`` gives the columns of free parameters by their id.

        Raises
        ------
        FitError
            When the spectrum is not finite as it starts.
        """
        model, edges = source.spectral_model, np.array(block.edges)
        pairs = [(row, column_of[id(p)]) for row, p in enumerate(model.parameters) if id(p) in column_of]
        rows, columns = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        values = model.values(edges) if block.differential else model.integral_values(edges)
        place, fixed = slice(start, start + block.size), None if pairs else values
        part = cls(model, edges, place, rows, columns, fixed, block.differential)
        if not part.has_values() or not np.isfinite(values).all():
            raise FitError(
                "the spectrum is not finite as it starts",
                where=f"source {block.source!r}",
                hint=f"Look at its parameters: {model!r}",
            )
        return part

    def has_values(self) -> bool:
        """Whether the spectrum is finite: its integral would count 0 for a piece that is not."""
        with np.errstate(all="ignore"):
            return bool(np.isfinite(self.model.values(self.edges)).all())

    def fill(self, theta: Floats, order: int, out: Mapped) -> None:
        """Put the fluxes in place."""
        if self.fixed is not None or order == 0:
            out.point[self.place] = self._fluxes() if self.fixed is None else self.fixed
            return
        values, gradient = self._fluxes_and_gradient()
        second = self._hessian() if order == 2 else None
        if not values.any():
            gradient, second = self._beside_zero(gradient, second)
        out.point[self.place] = values
        out.add(
            self.place,
            self.columns,
            gradient[self.rows],
            None if second is None else second[np.ix_(self.rows, self.rows)],
        )

    def _fluxes(self) -> Floats:
        return self.model.values(self.edges) if self.differential else self.model.integral_values(self.edges)

    def _fluxes_and_gradient(self) -> tuple[Floats, Floats]:
        if self.differential:
            return self.model.values_and_gradient(self.edges)
        return self.model.integral_and_gradient(self.edges)

    def _hessian(self) -> Floats:
        if self.differential:
            return self.model.values_hessian(self.edges)
        return self.model.integral_hessian(self.edges)

    def _beside_zero(self, gradient: Floats, second: Floats | None) -> tuple[Floats, Floats | None]:
        """Derivatives of a spectrum that is zero everywhere, from those with a little amplitude.

        A log-log integral knows of no slope at zero. The spectrum is linear in its amplitude: the slope is the
        same beside it, and no other parameter matters.
        """
        for row, parameter in enumerate(self.model.parameters):
            before = parameter.value
            parameter.value = before + 1e-6 * scale_of(parameter)
            if self.model.values(self.edges).any():
                slope = self._fluxes_and_gradient()[1][row]
                gradient = np.zeros_like(gradient)
                gradient[row] = slope
                if second is not None:
                    beside, second = self._hessian(), np.zeros_like(second)
                    second[row], second[:, row] = beside[row], beside[:, row]
                parameter.value = before
                break
            parameter.value = before
        return gradient, second


@dataclass(frozen=True, eq=False)
class EllipsePart:
    """The matrix of one ellipse.

    Parameters
    ----------
    place : slice
        Of its three entries in ``z``.
    columns : array (3,) of int
        Of size, e and phi in theta, -1 for those that are frozen.
    free : bool
        Whether theta holds the entries of the Cholesky factor in their places.
    start : array (3,)
        Values of the parameters; the frozen ones keep them.
    factors : array (3,)
        deg per unit of size, e, phi.
    """

    place: slice
    columns: Ints
    free: bool
    start: Floats
    factors: Floats

    @classmethod
    def of(cls, pars: Sequence[Parameter], columns: Ints, start: int, free: bool) -> EllipsePart:
        """For the parameters size, e and phi of a source."""
        values, factors = np.array([p.value for p in pars]), np.array([p.internal_factor for p in pars])
        return cls(slice(start, start + 3), columns, free, values, factors)

    @property
    def cholesky(self) -> Floats:
        """(a, c, b) as it starts."""
        return ellipse.cholesky(*(self.start * self.factors))

    def fill(self, theta: Floats, order: int, out: Mapped) -> None:
        """Put the entries in place."""
        values = np.where(self.columns >= 0, theta[self.columns], self.start)
        found = ellipse.from_cholesky(values) if self.free else ellipse.from_shape(values * self.factors)
        f = np.ones(3) if self.free else self.factors
        moving = np.flatnonzero(self.columns >= 0)
        out.point[self.place] = found.value
        second = (found.second * f[:, None] * f)[:, moving][:, :, moving].transpose(1, 2, 0)
        out.add(
            self.place, self.columns[moving], (found.first * f)[:, moving].T, second if order == 2 else None
        )

    def shown(self, theta: Floats, turns: bool, values: Floats, jacobian: Floats) -> None:
        """Put size, e and phi, and their derivatives by theta, in place; ``turns``: phi has no limits of its own."""
        if self.free:
            shape, first = ellipse.shape_of(theta[self.columns])
            values[self.columns] = shape / self.factors
            jacobian[np.ix_(self.columns, self.columns)] = first / self.factors[:, None]
        elif turns:
            turn, half = self.columns[2], 90.0 / self.factors[2]
            values[turn] = (values[turn] + half) % (2 * half) - half


@dataclass(frozen=True, eq=False)
class Position:
    """Longitude and latitude of a source: column of theta (-1 for none), value that holds then, deg per unit."""

    lon: tuple[int, float, float]
    lat: tuple[int, float, float]

    @classmethod
    def of(cls, lon: Parameter, lat: Parameter, columns: tuple[int, int]) -> Position:
        """For the parameters of a source."""
        pairs = zip((lon, lat), columns, strict=True)
        first, second = ((column, p.value, p.internal_factor) for p, column in pairs)
        return cls(first, second)

    def at(self, theta: Floats) -> tuple[float, float]:
        """lon, lat in deg."""
        lon, lat = (
            (float(theta[column]) if column >= 0 else value) * factor
            for column, value, factor in (self.lon, self.lat)
        )
        return lon, lat

    def distance(self, theta: Floats, other: Floats) -> float:
        """Between where it stands at one theta and at another, deg."""
        (lon, lat), (other_lon, other_lat) = self.at(theta), self.at(other)
        east = math.remainder(lon - other_lon, 360.0) * math.cos(math.radians(lat))
        return math.hypot(east, lat - other_lat)
