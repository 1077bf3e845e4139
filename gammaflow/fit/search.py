"""Minimisation as a conversation: a search proposes a point, is told the expansion there, and proposes the next.

Searches know nothing of datasets, so that many of them (the points of a profile, both ends of every
interval) can advance together: `advance` collects what they propose into one request a trip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gammaflow.fit.coordinates import Coordinates
from gammaflow.fit.surrogate import Place, Proposal, Surrogate
from gammaflow.likelihood import Expansion

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Estimated distance to the minimum at which a search ends (MINUIT's goal is 2e-4 by default).
EDM_GOAL = 1e-8
#: First radius of the trust region, in standard deviations.
FIRST_RADIUS = 100.0
#: A smaller one means that nothing moves any more.
SMALLEST_RADIUS = 1e-9


class Search(Protocol):
    """Something that looks for a point, a trip at a time."""

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""

    def propose(self) -> Floats:
        """The theta (m,) to evaluate next."""

    def receive(self, expansion: Expansion, variable: float) -> None:
        """The expansion there, and its statistic with all its digits, see `Answer`."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the likelihood says about one point.

    Parameters
    ----------
    expansion : Expansion
    variable : float
        Its statistic counted from a constant that never changes in a session, with all its digits.
    """

    expansion: Expansion
    variable: float


#: Asks for the expansions at some theta together, in one trip.
Ask = Callable[[Sequence[Floats]], Sequence[Answer]]


def advance(
    searches: Sequence[Search], ask: Ask, max_trips: int, each: Callable[[], None] | None = None
) -> None:
    """Let searches go on together until all are done, or for ``max_trips`` trips.

    Parameters
    ----------
    searches : sequence of Search
    ask : callable
    max_trips : int
    each : callable, optional
        Called after each trip.
    """
    for _ in range(max_trips):
        active = [search for search in searches if not search.done]
        if not active:
            return
        for search, answer in zip(active, ask([search.propose() for search in active]), strict=True):
            search.receive(answer.expansion, answer.variable)
        if each is not None:
            each()


class Descent:
    """A minimisation by trust-region Newton steps, some parameters perhaps held.

    Parameters
    ----------
    coordinates : Coordinates
    start : array (m,)
    moving : array (m,) of bool, optional
        Which parameters are not held; all, by default.
    goal : float
        Estimated distance to the minimum to reach.
    first : Place, optional
        An expansion near the start, to make the first step without a trip.
    """

    def __init__(
        self,
        coordinates: Coordinates,
        start: Floats,
        moving: Bools | None = None,
        goal: float = EDM_GOAL,
        first: Place | None = None,
    ) -> None:
        self._coordinates = coordinates
        self._start = np.clip(start, coordinates.bounds[:, 0], coordinates.bounds[:, 1])
        self.moving = np.ones(len(start), dtype=np.bool_) if moving is None else moving
        self._goal = goal
        self.radius = FIRST_RADIUS
        self.place: Place | None = None
        self.variable = math.inf
        self.edm = math.inf
        self.done = False
        self.converged = False
        self.reason = ""
        self.rejected = 0
        self.slack = 0.0
        self.invalid = 0
        self._proposal: Proposal | None = None
        self._surrogate: Surrogate | None = None
        self._guess = self._start
        if first is not None:
            self._guess = Surrogate(coordinates, first, self.moving).minimise(1e6, self._start).theta

    @property
    def expected_gain(self) -> float:
        """By how much the statistic should decrease at the point that is proposed; infinite at the start."""
        return math.inf if self._proposal is None else self._proposal.gain

    def new_anchor(self) -> None:
        """Say that the next answer is that of a slightly other function, whose statistic is not quite comparable."""
        if self._proposal is not None:
            self.slack = max(1.0, 0.2 * self._proposal.gain)

    def propose(self) -> Floats:
        """The theta (m,) to evaluate next."""
        return self._guess if self._proposal is None else self._proposal.theta

    def receive(self, expansion: Expansion, variable: float) -> None:
        """Accept or reject, and work out the next point."""
        theta = self.propose()
        usable = math.isfinite(expansion.stat) and bool(np.isfinite(expansion.hessian).all())
        if self.place is None or self._proposal is None:
            if not usable:
                if theta is self._guess and theta is not self._start:
                    self._guess = self._start  # the first guess led astray
                    return
                self.done, self.invalid = True, expansion.invalid
                self.reason = "no positive prediction at the start"
                return
            self._accept(Place.at(self._coordinates, theta, expansion), variable)
        else:
            self._weigh(theta, expansion, variable, usable)
        if not self.done:
            self._next()

    def _weigh(self, theta: Floats, expansion: Expansion, variable: float, usable: bool) -> None:
        assert self.place is not None
        assert self._proposal is not None
        gain, length = self._proposal.gain, self._proposal.length
        change = math.inf
        if usable:
            place = Place.at(self._coordinates, theta, expansion)
            # the constant part is left out, so that small differences keep their digits
            change = (variable - self.variable) + (place.prior - self.place.prior)
        noise = 1e-9 + 1e-13 * abs(self.variable)
        ratio = -change / gain if math.isfinite(change) else -math.inf
        if gain < 100 * noise and abs(change) < 100 * noise:
            ratio = max(ratio, 0.5)  # rounding decides nothing
        if self.slack > 0 and change < self.slack:
            ratio = max(ratio, 0.5)
        self.slack = 0.0
        if ratio < 0.25:
            self.radius = 0.25 * length if ratio < 1e-3 else 0.5 * length
        elif ratio > 0.75 and length > 0.8 * self.radius:
            self.radius *= 3.0
        if ratio > 1e-3:
            self._accept(place, variable)
        else:
            self.rejected += 1
        if self.radius < SMALLEST_RADIUS:
            self.done, self.reason = True, "no step decreases the statistic any more"

    def _accept(self, place: Place, variable: float) -> None:
        self.place, self.variable = place, variable
        self._surrogate = None
        found = place.curvature(self._coordinates, self.moving)
        self.edm = found.edm
        if found.positive and found.edm < self._goal:
            self.done = self.converged = True
            self.reason = f"estimated distance to minimum {found.edm:.1e} is below {self._goal:.0e}"

    def _next(self) -> None:
        assert self.place is not None
        if self._surrogate is None:
            self._surrogate = Surrogate(self._coordinates, self.place, self.moving)
        self._proposal = self._surrogate.minimise(self.radius)
        if self._proposal.gain <= 0:
            self.done = True
            self.reason = "the expansion shows no way down"
