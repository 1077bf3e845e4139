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
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.fit.coordinate_parts import EllipsePart, FluxPart, Mapped, Part, Position, SamePart
from gammaflow.fit.problem import FitParameter, Problem
from gammaflow.likelihood import SpatialBlock
from gammaflow.likelihood.source_image import spatial_of
from gammaflow.modeling import Parameter, Prior, RadialSpatialModel, SkyModel, SpatialModel
from gammaflow.modeling.differentiation import scale_of
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
    _own: tuple[tuple[Parameter, int], ...]
    _parts: tuple[Part, ...]
    _positions: tuple[Position, ...]
    _size: int

    @classmethod
    def of(cls, problem: Problem) -> Coordinates:
        """The coordinates of a problem.

        Raises
        ------
        FitError
            When a spectrum is not finite as it starts.
        """
        return _Builder(problem).built()

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
        for part in self._parts:
            if isinstance(part, FluxPart) and part.fixed is None and not part.has_values():
                point[part.place] = np.nan
        return point

    def at(self, theta: Floats, order: int = 1) -> Mapped:
        """``z`` at ``theta``, with derivatives up to ``order``."""
        for parameter, i in self._own:
            parameter.value = float(theta[i])
        out = Mapped(np.zeros(self._size), np.zeros((self._size, self.size)))
        with np.errstate(all="ignore"):
            for part in self._parts:
                part.fill(theta, order, out)
        return out

    # --- theta to what the user sees -------------------------------------------------------------------

    def external(self, theta: Floats) -> tuple[Floats, Floats]:
        """Values (m,) of the parameters at ``theta``, and their derivatives (m, m) by it.

        Rows of an ellipse's e and phi are NaN when it is a circle.
        """
        values, jacobian = theta.copy(), np.eye(self.size)
        for part in self._ellipses:
            turn = part.columns[2]
            part.shown(theta, turn >= 0 and bool(np.isinf(self.bounds[turn]).all()), values, jacobian)
        return values, jacobian

    def direct(self) -> Bools:
        """Which entries of theta are the parameter itself, (m,)."""
        out = np.ones(self.size, dtype=np.bool_)
        for part in self._ellipses:
            if part.free:
                out[part.columns] = False
        return out

    @cached_property
    def _ellipses(self) -> list[EllipsePart]:
        return [part for part in self._parts if isinstance(part, EllipsePart)]

    def drift(self, theta: Floats, other: Floats) -> float:
        """Largest distance, deg, between where the free sources stand at one theta and at another."""
        return max((place.distance(theta, other) for place in self._positions), default=0.0)

    # --- priors ----------------------------------------------------------------------------------------

    def priors(self, theta: Floats) -> tuple[float, Floats, Floats]:
        """Sum of the priors' terms, and the first (m,) and second derivative (m,) of each."""
        total, first, second = 0.0, np.zeros(self.size), np.zeros(self.size)
        for i, prior in self._priors:
            term, first[i], second[i] = prior.derivatives(float(theta[i]))
            total += term
        return total, first, second

    @cached_property
    def _priors(self) -> list[tuple[int, Prior]]:
        pairs = ((i, own.parameter.prior) for i, own in enumerate(self.parameters))
        return [(i, prior) for i, prior in pairs if prior is not None]


class _Builder:
    """Lays the coordinates out block by block, in the order of the layout."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.column = {id(own.parameter): i for i, own in enumerate(problem.shared)}
        users = [own.parameter for own in problem.shared]
        self.theta = np.array([p.value for p in users], dtype=np.float64)
        self.bounds = np.array([p.bounds for p in users], dtype=np.float64).reshape(-1, 2)
        self.scales = np.array([scale_of(p) for p in users], dtype=np.float64)
        self.reach = np.full(len(users), np.inf)
        self.sizes = np.zeros(len(users), dtype=np.bool_)
        self.parts: list[Part] = []
        self.positions: list[Position] = []
        self.end = 0
        self.sources, self.own = self._copies()
        self.column_of = {id(copied): i for copied, i in self.own}

    def _copies(self) -> tuple[dict[str, SkyModel], list[tuple[Parameter, int]]]:
        """Copies of the sources, and of the free parameters with their columns."""
        memo: dict[int, Any] = {}
        sources = {model.name: copy.deepcopy(model, memo) for model in self.problem.models.sky_models}
        for model in sources.values():
            for parameter in model.parameters:
                # limits and priors are the fit's own business
                parameter.prior, parameter.min, parameter.max = None, math.nan, math.nan
        pairs = ((memo.get(id(own.parameter)), i) for i, own in enumerate(self.problem.shared))
        return sources, [(copied, i) for copied, i in pairs if isinstance(copied, Parameter)]

    def built(self) -> Coordinates:
        """All blocks of the layout."""
        layout = self.problem.layout
        for block in layout.flux:
            self.parts.append(FluxPart.of(self.sources[block.source], block, self.end, self.column_of))
            self.end += block.size
        for spatial in layout.spatial:
            self._add_spatial(spatial)
            self.end += spatial.size
        for nuisance in layout.nuisance:
            dataset, name = nuisance.members[0]
            parameter = self.problem.models.background_models[dataset].parameters[name]
            self.parts.append(SamePart(self.end, self.column[id(parameter)]))
            self.end += 1
        return Coordinates(
            parameters=self.problem.shared,
            start=self.theta,
            bounds=self.bounds,
            scales=self.scales,
            reach=self.reach,
            sizes=self.sizes,
            _own=tuple(self.own),
            _parts=tuple(self.parts),
            _positions=tuple(self.positions),
            _size=self.end,
        )

    def _add_spatial(self, block: SpatialBlock) -> None:
        shape = spatial_of(self.sources[block.source])
        columns = {p.name: self.column_of.get(id(p), -1) for p in shape.parameters}
        for number, name in enumerate(block.parameters):
            if name not in COVARIANCE:
                self.parts.append(SamePart(self.end + number, columns[name]))
                self.sizes[columns[name]] = name in SIZES
        if set(POSITION) & set(block.parameters):
            self._add_position(shape, columns)
        if COVARIANCE[0] in block.parameters:
            assert isinstance(shape, RadialSpatialModel)
            self._add_ellipse(shape, columns, self.end + block.parameters.index(COVARIANCE[0]))

    def _add_position(self, shape: SpatialModel, columns: dict[str, int]) -> None:
        lon, lat = (shape.parameters[name] for name in POSITION)
        position = Position.of(lon, lat, (columns[POSITION[0]], columns[POSITION[1]]))
        self.positions.append(position)
        cosine = max(math.cos(math.radians(lat.internal)), 1e-3)
        for (column, _, factor), stretch in ((position.lon, cosine), (position.lat, 1.0)):
            if column >= 0:
                self.reach[column] = POSITION_REACH / (factor * stretch)

    def _add_ellipse(self, shape: RadialSpatialModel, own: dict[str, int], start: int) -> None:
        names = (shape.size, "e", "phi")
        columns = np.array([own[name] for name in names], dtype=np.intp)
        free = self._moves_freely(columns)
        part = EllipsePart.of([shape.parameters[name] for name in names], columns, start, free)
        self.parts.append(part)
        size, _, turn = columns
        if size >= 0:
            self.sizes[size] = True
        if free:
            self.sizes[turn] = True
            self.theta[columns] = part.cholesky
            self.bounds[columns] = [(0.0, np.inf), (-np.inf, np.inf), (0.0, np.inf)]
        elif turn >= 0:
            self.reach[turn] = ANGLE_REACH / part.factors[2]
            whole = np.ptp(self.bounds[turn]) * part.factors[2] >= 360
            if whole and self.problem.shared[turn].parameter.prior is None:
                self.bounds[turn] = (-np.inf, np.inf)

    def _moves_freely(self, columns: Ints) -> bool:
        """Whether size, e and phi are all free, each by itself, without limits other than those of an ellipse."""
        if (columns < 0).any() or len(set(columns.tolist())) < 3:
            return False
        users: Sequence[Parameter] = [self.problem.shared[i].parameter for i in columns]
        uses = [p for model in self.problem.models for p in model.parameters]
        if any(p.prior is not None or sum(p is other for other in uses) > 1 for p in users):
            return False
        (low, high), (e_low, e_high), (phi_low, phi_high) = (p.bounds for p in users)
        return low <= 0 and math.isinf(high) and e_low <= 0 and e_high >= 1 and phi_high - phi_low >= 180
