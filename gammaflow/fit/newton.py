"""The Newton backend: one search, followed by new anchors where a source has moved too far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import FitError
from gammaflow.fit.result import FitProgress
from gammaflow.fit.search import EDM_GOAL, Descent, advance
from gammaflow.fit.session import MAX_ANCHORS, Session
from gammaflow.fit.surrogate import Place, Surrogate

Floats = NDArray[np.float64]
Callback = Callable[[FitProgress], Any]

#: A last step is made without a trip, when the expansion says that it is shorter than this (in units of the statistic).
_LAST = 1e-6


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a backend ended.

    Parameters
    ----------
    theta : array (m,)
    place : Place
        The last expansion, at ``theta`` or as near as makes no difference.
    edm : float
    converged : bool
    message : str
    method : str
    trace : tuple of FitProgress
    minuit : object
        With the backend "minuit".
    """

    theta: Floats
    place: Place
    edm: float
    converged: bool
    message: str
    method: str
    trace: tuple[FitProgress, ...] = ()
    minuit: Any = None


def minimise(
    session: Session,
    start: Floats | None = None,
    *,
    goal: float = EDM_GOAL,
    max_trips: int = 60,
    callback: Callback | None = None,
) -> Minimum:
    """Find the minimum of the profile statistic.

    Parameters
    ----------
    session : Session
    start : array (m,), optional
        By default where the models stand.
    goal : float
        Estimated distance to the minimum to reach.
    max_trips : int
    callback : callable, optional
        Is given a `FitProgress` after each trip.

    Raises
    ------
    FitError
        When the statistic has no value at the start.
    """
    trace: list[FitProgress] = []
    theta = session.coordinates.start if start is None else start
    first = session.tally.trips
    reasons: list[str] = []
    while True:
        search = Descent(session.coordinates, theta, goal=goal)
        accepted = search.rejected

        def told(search: Descent = search) -> None:
            nonlocal accepted
            stat = np.inf if search.place is None else search.place.stat
            step = FitProgress(
                session.tally.trips, stat, search.edm, search.rejected == accepted, search.radius
            )
            accepted = search.rejected
            trace.append(step)
            if callback is not None:
                callback(step)

        def ask(thetas: Any, search: Descent = search) -> Any:
            if session.follow(thetas[0], search.expected_gain):
                search.new_anchor()
            return session.ask(thetas)

        advance([search], ask, max_trips - (session.tally.trips - first), told)
        if search.place is None:
            raise _no_start(session, search)
        if not search.done:
            search.reason = (
                f"no convergence in {max_trips} trips: estimated distance to minimum {search.edm:.1e}"
            )
        last = _last_step(session, search)
        reasons = [c.reason for c in session.evaluator.check(session.coordinates.point(last)) if not c.ok]
        if not reasons or not search.converged or session.tally.anchors >= MAX_ANCHORS:
            break
        theta = last
        session.reanchor(theta)
    converged = search.converged and not reasons
    message = search.reason if not reasons else f"{search.reason}, but {reasons[0]}"
    return Minimum(last, search.place, search.edm, converged, message, "trust-region Newton", tuple(trace))


def look(session: Session) -> Minimum:
    """The expansion where the models stand, as if it were the minimum: for a fit without free shared parameters.

    Raises
    ------
    FitError
        When the statistic has no value there.
    """
    search = Descent(session.coordinates, session.coordinates.start, goal=np.inf)
    advance([search], session.ask, 1)
    if search.place is None:
        raise _no_start(session, search)
    what = (
        "free parameters"
        if not session.problem.local
        else "free parameters but those that datasets find for themselves"
    )
    message = (
        f"there are no {what}: the statistic was evaluated"
        if not session.coordinates.size
        else "not minimised"
    )
    return Minimum(search.place.theta, search.place, search.edm, True, message, "evaluation")


def _last_step(session: Session, search: Descent) -> Floats:
    """The expansion's own minimum, where it is so near that there is no need to look."""
    assert search.place is not None
    if not search.converged:
        return search.place.theta
    found = Surrogate(session.coordinates, search.place, search.moving).minimise(1.0)
    return found.theta if found.gain < _LAST else search.place.theta


def _no_start(session: Session, search: Descent) -> FitError:
    names = ", ".join(own.name for own in session.problem.shared[:6])
    return FitError(
        f"the prediction is not positive in {search.invalid} bins with counts, as the models start",
        where=", ".join(dataset.name for dataset in session.problem.datasets[:5]),
        hint=f"Start with positive amplitudes and norms (free: {names or 'own parameters of the datasets only'})",
    )
