"""Where the profile statistic has risen by a given amount: intervals of single parameters, contours of two.

A limit is the end of a path ``theta_held = best + t u`` along which all other parameters are at
their best. On the expansion around the last point asked about, ``t`` and the others are solved for
(Venzon & Moolgavkar 1988, Appl. Statist. 37, 87); then the datasets are asked again there. All
limits advance together, one trip for a step of all of them; two or three trips are the rule.

Where the path bends so much that the expansion leads astray (an amplitude far from its pivot energy beside a curved
spectrum), `Bracket` finds the end by minimising at held values of ``t``: more trips, and sure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.fit.coordinates import Coordinates
from gammaflow.fit.search import Descent
from gammaflow.fit.surrogate import Place, Surrogate
from gammaflow.likelihood import Expansion

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: A limit is found when the next step would move it by less than this share of itself: the step after it
#: would move it by the square of that.
GOAL = 2e-3
#: The rise there may be off by this share of what was asked for: the last step has not been evaluated.
_NEAR = 0.05
_SOLVE = 30
#: t may grow or shrink at most by this in a step.
_STRETCH = 3.0


@dataclass(frozen=True)
class Interval:
    """Confidence interval of a parameter, by the rise of the profile statistic.

    Parameters
    ----------
    name : str
    value : float
        Best fit.
    errn, errp : float
        Distance down to the lower and up to the upper end, both positive; NaN where none was found.
    sigma : float
        The statistic rises by ``sigma^2``.
    at_lower, at_upper : bool
        The end is the parameter's limit, where the statistic has not yet risen that far.
    success : bool
        Whether both ends were found, or are limits.
    message : str
    trips : int
        Requests that it took, for all parameters that were asked about together.
    """

    name: str
    value: float
    errn: float
    errp: float
    sigma: float
    at_lower: bool
    at_upper: bool
    success: bool
    message: str
    trips: int


class Limit:
    """The search for one limit.

    Parameters
    ----------
    coordinates : Coordinates
    best : Place
        The minimum.
    variable : float
        Its statistic, see `Answer`.
    direction : array (m,)
        u; the parameters with a value other than 0 are those that are held.
    rise : float
        By how much the statistic is to rise.
    first : float
        A guess of t.
    """

    def __init__(
        self,
        coordinates: Coordinates,
        best: Place,
        variable: float,
        direction: Floats,
        rise: float,
        first: float,
    ) -> None:
        self._coordinates = coordinates
        self._best = best
        self._lowest = variable + best.prior
        self.direction = direction
        self._moving: Bools = direction == 0
        self._rise = rise
        self._furthest = self._room()
        self.first = self.t = min(first, self._furthest)
        self.theta = best.theta
        self.done = False
        self.found = False
        self.at_limit = False
        self.below = False
        self.message = ""
        self._above = 0.0
        self._good = 0.0
        self._around(best)
        self._solve()

    def _around(self, place: Place) -> None:
        """Take the expansion at a place, and how the other parameters follow t by it."""
        self._surrogate = Surrogate(self._coordinates, place, self._moving)
        inverse = place.curvature(self._coordinates, self._moving).inverse
        self._response = np.where(self._moving, -inverse @ (place.hessian @ self.direction), 0.0)

    def _room(self) -> float:
        """Largest t within the limits."""
        best, u = self._best.theta, self.direction
        low, high = self._coordinates.bounds.T
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.where(u > 0, (high - best) / u, np.where(u < 0, (low - best) / u, np.inf))
        return float(max(ends.min(initial=np.inf), 0.0))

    @property
    def furthest(self) -> float:
        """Largest t within the parameters' limits."""
        return self._furthest

    @property
    def root(self) -> float:
        """Square root of the rise that is looked for."""
        return math.sqrt(self._rise)

    def descent(self, t: float) -> Descent:
        """A minimisation at a value of t."""
        self._good, self._above = 0.0, 0.0
        self._around(self._best)
        return Descent(self._coordinates, self._on_path(t), self._moving)

    def rise_of(self, found: Descent) -> float:
        """By how much the statistic of a minimisation exceeds that of the minimum."""
        assert found.place is not None  # asked of one that converged
        return found.variable + found.place.prior - self._lowest

    def fell_below(self, rise: float) -> bool:
        """Whether a rise is a fall: then there is no minimum to measure from, and the search is over."""
        if rise >= -1e-3:
            return False
        self.done = self.below = True
        self.message = f"the statistic is {-rise:.3g} below what was taken for the minimum"
        return True

    def end(self, t: float, theta: Floats, at_limit: bool) -> None:
        """The limit has been found elsewhere."""
        self.t, self.theta, self.at_limit, self.message = t, theta, at_limit, ""
        self.done = self.found = True

    def propose(self) -> Floats:
        """The theta (m,) to evaluate next."""
        return self.theta

    def receive(self, expansion: Expansion, variable: float) -> None:
        """Take the expansion there, solve again, and see whether anything changed."""
        before = self.t
        if not math.isfinite(expansion.stat):
            self.t = 0.5 * (self.t + self._good)
            self.theta = self._on_path(self.t)
            if abs(self.t - self._good) < 1e-6 * self.t:
                self.done, self.message = True, "the statistic has no value beyond"
            return
        place = Place.at(self._coordinates, self.theta, expansion)
        self._around(place)
        self._above = variable + place.prior - self._lowest
        self._good = self.t
        if self.fell_below(self._above):
            return
        self._solve()
        if abs(self.t - before) <= GOAL * self.t:
            self.at_limit = self.t >= self._furthest and self._height(self.t)[0] < self._rise * (1 - GOAL)
            self.done = True
            self.found = self.at_limit or abs(self._above - self._rise) <= _NEAR * self._rise

    def _on_path(self, t: float) -> Floats:
        """Where the path should be at t, from where the expansion was made."""
        centre = self._surrogate.place.theta
        held = self._best.theta + t * self.direction
        follow = centre + (t - self._good) * self._response
        bounds = self._coordinates.bounds
        return np.asarray(np.clip(np.where(self._moving, follow, held), bounds[:, 0], bounds[:, 1]))

    def _height(self, t: float) -> tuple[float, float, Floats]:
        """Rise of the statistic at t by the expansion at hand, its slope there, and the theta that belongs to it."""
        theta = self._surrogate.minimise(1e6, self._on_path(t)).theta
        value, gradient, _ = self._surrogate.value(theta)
        return self._above + value, float(gradient @ self.direction), theta

    def _solve(self) -> None:
        """Find t and theta by the expansion at hand: the square root of the rise is nearly a straight line."""
        t, centre = self.t, self.t
        for _ in range(_SOLVE):
            height, slope, self.theta = self._height(t)
            if not math.isfinite(height) or height <= 0 or slope <= 0:
                new = t * _STRETCH if math.isfinite(height) else 0.5 * (t + self._good)
            else:
                root = math.sqrt(height)
                new = t + (math.sqrt(self._rise) - root) * 2.0 * root / slope
            new = min(max(new, centre / _STRETCH), centre * _STRETCH, self._furthest)
            done = abs(new - t) <= 1e-2 * GOAL * t
            t = new
            if done:
                break
        self.t, self.theta = t, self._height(t)[2]


class Bracket:
    """The same limit by minimising at values of t until one gives the rise that was asked for.

    Parameters
    ----------
    limit : Limit
        What is looked for; it is told the end that was found.
    """

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._low, self._high = (0.0, 0.0), (math.inf, math.inf)
        self.t = limit.first
        self.done = False

    def descent(self) -> Descent:
        """The minimisation at the value of t that is to be tried next."""
        return self._limit.descent(self.t)

    def receive(self, found: Descent) -> None:
        """Take the minimum at the value of t that was tried."""
        limit = self._limit
        if found.place is None or not found.converged:
            # nothing can be said of what lies there: look nearer
            self._high = (self.t, math.inf)
            self._next(0.5 * (self._low[0] + self.t), f"the statistic has no minimum beyond ({found.reason})")
            return
        rise = limit.rise_of(found)
        if limit.fell_below(rise):
            self.done = True
            return
        root, goal = math.sqrt(max(rise, 0.0)), limit.root
        beyond_limits = self.t >= limit.furthest and root < goal
        if beyond_limits or abs(root - goal) <= GOAL * goal:
            limit.end(self.t, found.place.theta, at_limit=beyond_limits)
            self.done = True
            return
        if root < goal:
            self._low = (self.t, root)
        else:
            self._high = (self.t, root)
        self._next(self._between(), "the end was not found")

    def _between(self) -> float:
        """The root of the rise is nearly a straight line in t."""
        (low, below), (high, above), goal = self._low, self._high, self._limit.root
        if not math.isfinite(above):
            reach = low * goal / below if below > 0 else low * _STRETCH
            farthest = min(_STRETCH * low, high)
            return min(reach if reach < farthest else 0.5 * (low + farthest), self._limit.furthest)
        share = (goal - below) / (above - below)
        return low + (high - low) * min(max(share, 0.05), 0.95)

    def _next(self, t: float, message: str) -> None:
        if abs(t - self.t) <= 1e-9 * self.t:
            self.done, self._limit.message = True, message
        self.t = t
