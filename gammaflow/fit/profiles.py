"""Intervals, profiles, surfaces and contours around a minimum: all their points in the same few trips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import FitError
from gammaflow.fit.limits import Bracket, Interval, Limit
from gammaflow.fit.search import Descent, advance
from gammaflow.fit.session import Session
from gammaflow.fit.surrogate import Place

Floats = NDArray[np.float64]

MAX_TRIPS = 40
MAX_BRACKETS = 20


@dataclass(frozen=True, eq=False)
class Scan:
    """The statistic on points at which some parameters are held.

    Parameters
    ----------
    names : tuple of str
        Of the parameters that are held.
    values : array (P, len(names))
    stat : array (P,)
        Fit statistic, all other parameters at their best (or, for a slice, shared ones where they were).
    others : array (P, m)
        Values of all shared parameters at each point.
    success : array (P,) of bool
    trips : int
        Requests that it took.
    """

    names: tuple[str, ...]
    values: Floats
    stat: Floats
    others: Floats
    success: NDArray[np.bool_]
    trips: int


@dataclass(frozen=True, eq=False)
class Contour:
    """A closed line in the plane of two parameters on which the profile statistic has risen by ``sigma^2``.

    Parameters
    ----------
    names : tuple of str
    x, y : array (n,)
        Points in order around the minimum; NaN where none was found.
    sigma : float
        1 gives the line whose shadow on either axis is the interval of one standard deviation (39 % of the plane).
    success : bool
    trips : int
    """

    names: tuple[str, str]
    x: Floats
    y: Floats
    sigma: float
    success: bool
    trips: int


class Explorer:
    """What lies around a minimum.

    Parameters
    ----------
    session : Session
    theta : array (m,)
        The minimum.
    """

    def __init__(self, session: Session, theta: Floats) -> None:
        self.session = session
        self.coordinates = session.coordinates
        answer = session.ask([theta])[0]
        self.best = Place.at(session.coordinates, theta, answer.expansion)
        self.variable = answer.variable
        moving = np.ones(self.coordinates.size, dtype=np.bool_)
        self.inner = 2.0 * self.best.curvature(self.coordinates, moving).inverse

    def column(self, name: str) -> int:
        """Place of a shared parameter.

        Raises
        ------
        FitError
            When there is none of this name, or it has no axis of its own (size, e and phi of a
            freely moving ellipse).
        """
        names = self.coordinates.names
        if name not in names:
            raise FitError(
                f"{name!r} is no free parameter of the fit", hint=f"There are {', '.join(names) or 'none'}"
            )
        place = names.index(name)
        if not self.coordinates.direct()[place]:
            raise FitError(
                f"{name!r} belongs to an ellipse whose size, e and phi all move, and has no axis of its own",
                hint="Give its size a limit, e.g. max: the ellipse is then moved by size, e and phi themselves",
            )
        return place

    # --- intervals -------------------------------------------------------------------------------------

    def intervals(self, names: Sequence[str], sigma: float = 1.0) -> dict[str, Interval]:
        """Confidence intervals of several parameters together.

        Parameters
        ----------
        names : sequence of str
        sigma : float
            The statistic is to rise by ``sigma^2``.
        """
        before = self.session.tally.trips
        columns = [self.column(name) for name in names]
        ends = [(self._limit(column, -1.0, sigma), self._limit(column, 1.0, sigma)) for column in columns]
        self._find([end for pair in ends for end in pair])
        trips = self.session.tally.trips - before
        return {
            name: self._interval(name, column, pair, sigma, trips)
            for name, column, pair in zip(names, columns, ends, strict=True)
        }

    def _limit(self, column: int, sign: float, sigma: float) -> Limit:
        direction = np.zeros(self.coordinates.size)
        direction[column] = sign
        width = math.sqrt(max(float(self.inner[column, column]), 0.0))
        if width == 0:
            width = 1.0 / float(self.best.scale(self.coordinates)[column])
        return Limit(self.coordinates, self.best, self.variable, direction, sigma**2, sigma * width)

    def _find(self, ends: Sequence[Limit]) -> None:
        """Find ends of paths: by expansion, and those that it does not lead to by minimising on the way."""
        advance(ends, self.session.ask, MAX_TRIPS)
        brackets = [Bracket(end) for end in ends if not (end.found or end.below)]
        for _ in range(MAX_BRACKETS):
            looking = [bracket for bracket in brackets if not bracket.done]
            if not looking:
                return
            descents = [bracket.descent() for bracket in looking]
            advance(descents, self.session.ask, MAX_TRIPS)
            for bracket, descent in zip(looking, descents, strict=True):
                bracket.receive(descent)

    def _interval(
        self, name: str, column: int, pair: tuple[Limit, Limit], sigma: float, trips: int
    ) -> Interval:
        lower, upper = pair
        messages = [
            f"{side} end: {end.message or 'not found'}"
            for side, end in zip(("lower", "upper"), pair, strict=True)
            if not end.found
        ]
        return Interval(
            name=name,
            value=float(self.best.theta[column]),
            errn=lower.t if lower.found else math.nan,
            errp=upper.t if upper.found else math.nan,
            sigma=sigma,
            at_lower=lower.at_limit,
            at_upper=upper.at_limit,
            success=lower.found and upper.found,
            message="; ".join(messages) or "both ends found",
            trips=trips,
        )

    # --- points ----------------------------------------------------------------------------------------

    def scan(self, names: Sequence[str], values: Floats, reoptimize: bool = True) -> Scan:
        """The statistic where some parameters have given values.

        Parameters
        ----------
        names : sequence of str
        values : array (P, len(names))
        reoptimize : bool
            Whether the other shared parameters follow; a dataset's own parameters always do.

        Raises
        ------
        FitError
            When a value is outside the parameter's limits.
        """
        before = self.session.tally.trips
        columns = [self.column(name) for name in names]
        values = np.asarray(values, dtype=np.float64).reshape(-1, len(columns))
        low, high = self.coordinates.bounds[columns].T
        if not ((values >= low) & (values <= high)).all():
            raise FitError(
                "a point of the scan lies outside the limits of its parameter", where=", ".join(names)
            )
        thetas = np.tile(self.best.theta, (len(values), 1))
        thetas[:, columns] = values
        if reoptimize:
            moving = np.ones(self.coordinates.size, dtype=np.bool_)
            moving[columns] = False
            searches = [Descent(self.coordinates, theta, moving, first=self.best) for theta in thetas]
            advance(searches, self.session.ask, MAX_TRIPS)
            stat = np.array([np.nan if s.place is None else s.place.stat for s in searches])
            thetas = np.array(
                [
                    theta if s.place is None else s.place.theta
                    for s, theta in zip(searches, thetas, strict=True)
                ]
            )
            success = np.array([s.converged for s in searches], dtype=np.bool_)
        else:
            stat = self.session.statistics(list(thetas))
            success = np.isfinite(stat)
        others = np.array([self.coordinates.external(theta)[0] for theta in thetas])
        return Scan(tuple(names), values, stat, others, success, self.session.tally.trips - before)

    def contour(self, x: str, y: str, sigma: float = 1.0, points: int = 20) -> Contour:
        """The line in the plane of two parameters on which the profile statistic has risen by ``sigma^2``.

        Parameters
        ----------
        x, y : str
        sigma : float
        points : int
            How many, evenly spread around the ellipse that a parabolic statistic would have.
        """
        before = self.session.tally.trips
        columns = [self.column(x), self.column(y)]
        block = self.inner[np.ix_(columns, columns)]
        try:
            root = np.linalg.cholesky(block)
        except np.linalg.LinAlgError:
            raise FitError(
                "one of the two is not determined, or stands at a limit", where=f"contour of {x!r} and {y!r}"
            ) from None
        searches = []
        for angle in np.linspace(0.0, 2.0 * math.pi, points, endpoint=False):
            direction = np.zeros(self.coordinates.size)
            # a direction along an axis of the plane would not hold the other parameter
            direction[columns] = root @ [math.cos(angle), math.sin(angle)]
            direction[columns] += np.where(direction[columns] == 0, 1e-12 * np.diag(root), 0.0)
            searches.append(Limit(self.coordinates, self.best, self.variable, direction, sigma**2, sigma))
        self._find(searches)
        found = np.array([s.found for s in searches], dtype=np.bool_)
        line = np.array([self.best.theta[columns] + s.t * s.direction[columns] for s in searches])
        line[~found] = np.nan
        return Contour(
            (x, y), line[:, 0], line[:, 1], sigma, bool(found.all()), self.session.tally.trips - before
        )
