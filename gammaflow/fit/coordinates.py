"""From the parameters of a fit to the shared coordinates of the likelihood, with first and second derivatives.

``theta`` (m,) holds the free shared parameters in their own units (a freely moving ellipse stands
there with the three entries of its Cholesky factor, see `ellipse`); ``z`` (Z,) is what the
likelihood understands, see `gammaflow.likelihood.protocol`: fluxes in true-energy bins, spatial
parameters, shared nuisances. Spectra are integrated here, so that no dataset ever evaluates one.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import FitError
from gammaflow.fit import ellipse
from gammaflow.fit.problem import FitParameter, Problem
from gammaflow.likelihood.source_image import spatial_of
from gammaflow.modeling import Parameter, Prior, RadialSpatialModel, SpectralModel
from gammaflow.modeling.spatial.base import POSITION
from gammaflow.modeling.spatial.ellipse import COVARIANCE

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]

#: Farthest that a position, and the angle of an ellipse, moves in one step, deg.
POSITION_REACH = 0.12
ANGLE_REACH = 45.0
#: Names of the spatial parameters that are sizes.
SIZES = ("sigma", "r_0", "radius", "width")


@dataclass(frozen=True, eq=False)
class Mapped:
    """``z`` at one ``theta``.

    Parameters
    ----------
    point : array (Z,)
    jacobian : array (Z, m)
        ``dz/dtheta``.
    curved : tuple of (slice, array (n,) of int, array (n, n, k))
        Second derivatives of the k coordinates of a slice by n of the parameters; zero elsewhere.
    """

    point: Floats
    jacobian: Floats
    curved: tuple[tuple[slice, Ints, Floats], ...] = ()

    def bend(self, weights: Floats) -> Floats:
        """``sum_k weights_k d2z_k / dtheta2`` (m, m)."""
        m = self.jacobian.shape[1]
        total = np.zeros((m, m))
        for place, index, second in self.curved:
            total[np.ix_(index, index)] += second @ weights[place]
        return total


@dataclass(frozen=True, eq=False)
class _Spectrum:
    """The fluxes of one block; ``rows`` of the model's gradient belong to ``columns`` of theta."""

    source: str
    model: SpectralModel
    edges: Floats
    place: slice
    rows: Ints
    columns: Ints
    fixed: Floats | None


@dataclass(frozen=True, eq=False)
class _Ellipse:
    """The matrix of one ellipse; entries of ``columns`` are -1 for frozen parameters, which stay as in ``start``.

    Parameters
    ----------
    free : bool
        Whether theta holds its Cholesky factor.
    factors : array (3,)
        deg per unit of size, e, phi.
    """

    place: slice
    columns: Ints
    free: bool
    start: Floats
    factors: Floats

    def at(self, theta: Floats) -> ellipse.Curved:
        """Sigma, derivatives by the three values that theta holds for it."""
        values = np.where(self.columns >= 0, theta[self.columns], self.start)
        if self.free:
            return ellipse.from_cholesky(values)
        found = ellipse.from_shape(values * self.factors)
        f = self.factors
        return ellipse.Curved(found.value, found.first * f, found.second * f[:, None] * f)


@dataclass(frozen=True, eq=False)
class _Position:
    """Longitude and latitude of a source: column of theta (-1 for none), value that holds then, deg per unit."""

    lon: tuple[int, float, float]
    lat: tuple[int, float, float]

    def at(self, theta: Floats) -> tuple[float, float]:
        lon, lat = (
            (float(theta[column]) if column >= 0 else value) * factor
            for column, value, factor in (self.lon, self.lat)
        )
        return lon, lat


@dataclass(eq=False)
class Coordinates:
    """The map from theta to z, made of copies of the models: nothing of the user's is touched.

    Parameters
    ----------
    parameters : tuple of FitParameter
        m of them.
    start : array (m,)
        theta as the models stand.
    bounds : array (m, 2)
        Limits in theta, infinite where there is none.
    scales : array (m,)
        By how much an entry may change before a model does.
    reach : array (m,)
        How far an entry may move in one step far from the minimum, infinite where that does not matter: a position
        must not leave its window at once, an angle not turn round.
    sizes : array (m,) of bool
        Sizes of sources: the statistic is even in them, so that 0 is a trap from which no gradient
        leads away.
    """

    parameters: tuple[FitParameter, ...]
    start: Floats
    bounds: Floats
    scales: Floats
    reach: Floats
    sizes: Bools
    _size: int
    _own: tuple[tuple[Parameter, int], ...]
    _spectra: tuple[_Spectrum, ...]
    _same: tuple[tuple[int, int], ...]
    _ellipses: tuple[_Ellipse, ...]
    _positions: tuple[_Position, ...]

    @classmethod
    def of(cls, problem: Problem) -> Coordinates:
        """The coordinates of a problem.

        Raises
        ------
        FitError
            When a spectrum is not finite as it starts.
        """
        column = {id(own.parameter): i for i, own in enumerate(problem.shared)}
        memo: dict[int, Any] = {}
        sources = {model.name: copy.deepcopy(model, memo) for model in problem.models.sky_models}
        own = []
        for i, shared in enumerate(problem.shared):
            copied = memo.get(id(shared.parameter))
            if isinstance(copied, Parameter):
                # limits and priors are the fit's own business
                copied.prior, copied.min, copied.max = None, math.nan, math.nan
                own.append((copied, i))
        of_copy = {id(copied): i for copied, i in own}

        spectra, start = [], 0
        for block in problem.layout.flux:
            model = sources[block.source].spectral_model
            pairs = [(row, of_copy[id(p)]) for row, p in enumerate(model.parameters) if id(p) in of_copy]
            rows, columns = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
            edges, place = np.array(block.edges), slice(start, start + block.size)
            values = model.integral_values(edges)
            if not _has_values(model, edges) or not np.isfinite(values).all():
                raise FitError(
                    "the spectrum is not finite as it starts",
                    where=f"source {block.source!r}",
                    hint=f"Look at its parameters: {model!r}",
                )
            spectra.append(
                _Spectrum(block.source, model, edges, place, rows, columns, None if len(rows) else values)
            )
            start += block.size

        theta = np.array([shared.parameter.value for shared in problem.shared], dtype=np.float64)
        bounds = np.array([shared.parameter.bounds for shared in problem.shared], dtype=np.float64).reshape(
            -1, 2
        )
        same, ellipses = [], []
        sizes, reach = np.zeros(len(theta), dtype=np.bool_), np.full(len(theta), np.inf)
        positions = []
        for spatial in problem.layout.spatial:
            shape = spatial_of(sources[spatial.source])
            own_columns = {p.name: of_copy.get(id(p), -1) for p in shape.parameters}
            for number, name in enumerate(spatial.parameters):
                if name not in COVARIANCE:
                    same.append((start + number, own_columns[name]))
                    sizes[own_columns[name]] = name in SIZES
            if set(POSITION) & set(spatial.parameters):
                pair = [shape.parameters[name] for name in POSITION]
                places = tuple((own_columns[p.name], p.value, p.internal_factor) for p in pair)
                positions.append(_Position(*places))
                cosine = max(math.cos(math.radians(places[1][1] * places[1][2])), 1e-3)
                for (column_of, _, factor), stretch in zip(places, (cosine, 1.0), strict=True):
                    if column_of >= 0:
                        reach[column_of] = POSITION_REACH / (factor * stretch)
            if COVARIANCE[0] in spatial.parameters:
                assert isinstance(shape, RadialSpatialModel)
                first = start + spatial.parameters.index(COVARIANCE[0])
                names = (shape.size, "e", "phi")
                columns = np.array([own_columns[name] for name in names], dtype=np.intp)
                pars = [shape.parameters[name] for name in names]
                users = [problem.shared[i].parameter for i in columns if i >= 0]
                free = _moves_freely(users, columns, problem)
                entry = _Ellipse(
                    slice(first, first + 3),
                    columns,
                    free,
                    np.array([p.value for p in pars]),
                    np.array([p.internal_factor for p in pars]),
                )
                ellipses.append(entry)
                if columns[0] >= 0:
                    sizes[columns[0]] = True
                if columns[2] >= 0 and not free:
                    turn = columns[2]
                    reach[turn] = ANGLE_REACH / entry.factors[2]
                    if np.ptp(bounds[turn]) * entry.factors[2] >= 360 and pars[2].prior is None:
                        bounds[turn] = (-np.inf, np.inf)
                if free:
                    sizes[columns[2]] = True
                    theta[columns] = ellipse.cholesky(*(p.internal for p in pars))
                    bounds[columns] = [(0.0, np.inf), (-np.inf, np.inf), (0.0, np.inf)]
            start += spatial.size
        for nuisance in problem.layout.nuisance:
            dataset, name = nuisance.members[0]
            parameter = problem.models.background_models[dataset].parameters[name]
            same.append((start, column[id(parameter)]))
            start += 1
        scales = np.array([_scale(shared.parameter) for shared in problem.shared], dtype=np.float64)
        maps = tuple(own), tuple(spectra), tuple(same), tuple(ellipses), tuple(positions)
        return cls(problem.shared, theta, bounds, scales, reach, sizes, start, *maps)

    # --- theta to z ------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Number of parameters, m."""
        return len(self.start)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(own.name for own in self.parameters)

    def point(self, theta: Floats) -> Floats:
        """``z`` (Z,), NaN where a spectrum has no value."""
        point = self.at(theta, 0).point
        for spectrum in self._spectra:
            if spectrum.fixed is None and not _has_values(spectrum.model, spectrum.edges):
                point[spectrum.place] = np.nan
        return point

    def at(self, theta: Floats, order: int = 1) -> Mapped:
        """``z`` at ``theta``, with derivatives up to ``order``."""
        for parameter, i in self._own:
            parameter.value = float(theta[i])
        point, jacobian = np.zeros(self._size), np.zeros((self._size, self.size))
        curved: list[tuple[slice, Ints, Floats]] = []
        with np.errstate(all="ignore"):
            for spectrum in self._spectra:
                self._fluxes(spectrum, order, point, jacobian, curved)
        for place, column in self._same:
            point[place] = theta[column]
            jacobian[place, column] = 1.0
        for entry in self._ellipses:
            found = entry.at(theta)
            point[entry.place] = found.value
            moving = np.flatnonzero(entry.columns >= 0)
            columns = entry.columns[moving]
            for column, slope in zip(columns, found.first[:, moving].T, strict=True):
                jacobian[entry.place, column] += slope
            if order == 2:
                second = found.second[:, moving][:, :, moving].transpose(1, 2, 0)
                curved += _merged(entry.place, columns, second)
        return Mapped(point, jacobian, tuple(curved))

    @staticmethod
    def _fluxes(
        spectrum: _Spectrum,
        order: int,
        point: Floats,
        jacobian: Floats,
        curved: list[tuple[slice, Ints, Floats]],
    ) -> None:
        if spectrum.fixed is not None:
            point[spectrum.place] = spectrum.fixed
            return
        if order == 0:
            point[spectrum.place] = spectrum.model.integral_values(spectrum.edges)
            return
        values, gradient = spectrum.model.integral_and_gradient(spectrum.edges)
        point[spectrum.place] = values
        second = spectrum.model.integral_hessian(spectrum.edges) if order == 2 else None
        if not values.any():
            gradient, second = _beside_zero(spectrum.model, spectrum.edges, gradient, second)
        for row, column in zip(spectrum.rows, spectrum.columns, strict=True):
            jacobian[spectrum.place, column] += gradient[row]
        if second is not None:
            curved += _merged(spectrum.place, spectrum.columns, second[np.ix_(spectrum.rows, spectrum.rows)])

    # --- theta to what the user sees -------------------------------------------------------------------

    def external(self, theta: Floats) -> tuple[Floats, Floats]:
        """Values (m,) of the parameters at ``theta``, and their derivatives (m, m) by it.

        Rows of an ellipse's e and phi are NaN when it is a circle.
        """
        values, jacobian = theta.copy(), np.eye(self.size)
        for entry in self._ellipses:
            if not entry.free:
                turn = entry.columns[2]
                if turn >= 0 and np.isinf(self.bounds[turn]).all():
                    half = 90.0 / entry.factors[2]
                    values[turn] = (values[turn] + half) % (2 * half) - half
                continue
            shape, first = ellipse.shape_of(theta[entry.columns])
            values[entry.columns] = shape / entry.factors
            jacobian[np.ix_(entry.columns, entry.columns)] = first / entry.factors[:, None]
        return values, jacobian

    def direct(self) -> Bools:
        """Which entries of theta are the parameter itself, (m,)."""
        out = np.ones(self.size, dtype=np.bool_)
        for entry in self._ellipses:
            if entry.free:
                out[entry.columns] = False
        return out

    def drift(self, theta: Floats, other: Floats) -> float:
        """Largest distance, deg, between where the free sources stand at one theta and at another."""
        largest = 0.0
        for place in self._positions:
            (lon, lat), (other_lon, other_lat) = place.at(theta), place.at(other)
            east = math.remainder(lon - other_lon, 360.0) * math.cos(math.radians(lat))
            largest = max(largest, math.hypot(east, lat - other_lat))
        return largest

    # --- priors ----------------------------------------------------------------------------------------

    def priors(self, theta: Floats) -> tuple[float, Floats, Floats]:
        """Sum of the priors' terms, and the first (m,) and second derivative (m,) of each."""
        total, first, second = 0.0, np.zeros(self.size), np.zeros(self.size)
        for i, prior in self._priors:
            term, first[i], second[i] = prior.derivatives(float(theta[i]))
            total += term
        return total, first, second

    @property
    def _priors(self) -> list[tuple[int, Prior]]:
        pairs = ((i, own.parameter.prior) for i, own in enumerate(self.parameters))
        return [(i, prior) for i, prior in pairs if prior is not None]


def _moves_freely(users: Sequence[Parameter], columns: Ints, problem: Problem) -> bool:
    """Whether size, e and phi are all free, each by itself, without limits other than those of an ellipse."""
    if len(users) < 3 or len(set(columns.tolist())) < 3:
        return False
    uses = [p for model in problem.models for p in model.parameters]
    if any(p.prior is not None or sum(p is other for other in uses) > 1 for p in users):
        return False
    (low, high), (e_low, e_high), (phi_low, phi_high) = (p.bounds for p in users)
    return low <= 0 and math.isinf(high) and e_low <= 0 and e_high >= 1 and phi_high - phi_low >= 180


def _merged(place: slice, columns: Ints, second: Floats) -> list[tuple[slice, Ints, Floats]]:
    """A term of second derivatives; a parameter that stands twice (linked inside a model) counts twice."""
    unique, where = np.unique(columns, return_inverse=True)
    if len(unique) == len(columns):
        return [(place, columns, second)]
    total = np.zeros((len(unique), len(unique), second.shape[2]))
    np.add.at(total, (where[:, None], where[None, :]), second)
    return [(place, unique.astype(np.intp), total)]


def _beside_zero(
    model: SpectralModel, edges: Floats, gradient: Floats, second: Floats | None
) -> tuple[Floats, Floats | None]:
    """Derivatives of a spectrum that is zero everywhere, from those with a little amplitude.

    A log-log integral knows of no slope at zero. The spectrum is linear in its amplitude: the slope is the
    same beside it, and no other parameter matters.
    """
    for row, parameter in enumerate(model.parameters):
        before = parameter.value
        parameter.value = before + 1e-6 * _scale(parameter)
        if model.values(edges).any():
            gradient = np.zeros_like(gradient)
            gradient[row] = model.integral_and_gradient(edges)[1][row]
            if second is not None:
                beside, second = model.integral_hessian(edges), np.zeros_like(second)
                second[row], second[:, row] = beside[row], beside[:, row]
            parameter.value = before
            break
        parameter.value = before
    return gradient, second


def _has_values(model: SpectralModel, edges: Floats) -> bool:
    """Whether a spectrum is finite: its integral would count 0 for a piece that is not."""
    with np.errstate(all="ignore"):
        return bool(np.isfinite(model.values(edges)).all())


def _scale(parameter: Parameter) -> float:
    """By how much a parameter may change before a model does, in its own unit."""
    size = max(abs(parameter.value), parameter.error if math.isfinite(parameter.error) else 0.0)
    if size == 0:
        low, high = parameter.bounds
        size = high - low if math.isfinite(high - low) else 1.0
    return size
