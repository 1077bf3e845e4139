"""The MINUIT backend: MIGRAD on the profile likelihood with its gradient, a cross-check of the Newton backend."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from iminuit import Minuit
from numpy.typing import NDArray

from gammaflow.errors import FitError
from gammaflow.fit.newton import Callback, Minimum
from gammaflow.fit.result import FitProgress
from gammaflow.fit.session import MAX_ANCHORS, Session
from gammaflow.fit.surrogate import Place
from gammaflow.likelihood import Request

Floats = NDArray[np.float64]

#: What MINUIT is told where the statistic has no value, above the lowest one seen.
_WALL = 1e6


class _Profile:
    """The profile statistic and its gradient in scaled coordinates, as MINUIT wants them."""

    def __init__(self, session: Session, scale: Floats, callback: Callback | None) -> None:
        self.session = session
        self.scale = scale
        self.lowest = math.inf
        self.trace: list[FitProgress] = []
        self._callback = callback
        self._at: tuple[bytes, float, Floats] = (b"", 0.0, np.zeros(0))

    def _look(self, x: Floats) -> tuple[float, Floats]:
        """Both at once: MINUIT asks for the gradient where it has just asked for the value."""
        key = x.tobytes()
        if self._at[0] != key:
            self._at = (key, *self._ask(x / self.scale))
        return self._at[1], self._at[2]

    def _ask(self, theta: Floats) -> tuple[float, Floats]:
        coordinates = self.session.coordinates
        mapped = coordinates.at(theta)
        if not np.isfinite(mapped.point).all():
            return self.lowest + _WALL, np.zeros(len(theta))
        reply = self.session.send(Request.at(mapped.point, order=1))
        found = reply.at(0, len(mapped.point))
        if not math.isfinite(found.stat):
            return (self.lowest if math.isfinite(self.lowest) else 0.0) + _WALL, np.zeros(len(theta))
        prior, first, _ = coordinates.priors(theta)
        better = found.stat + prior < self.lowest
        self.lowest = min(self.lowest, found.stat + prior)
        step = FitProgress(self.session.tally.trips, self.lowest, math.nan, better, math.nan)
        self.trace.append(step)
        if self._callback is not None:
            self._callback(step)
        return found.stat + prior, (mapped.jacobian.T @ found.gradient + first) / self.scale

    def value(self, x: Any) -> float:
        return self._look(np.asarray(x, dtype=np.float64))[0]

    def gradient(self, x: Any) -> Floats:
        return self._look(np.asarray(x, dtype=np.float64))[1]


def minimise(
    session: Session,
    start: Floats | None = None,
    *,
    tolerance: float = 0.1,
    strategy: int = 1,
    callback: Callback | None = None,
) -> Minimum:
    """Minimise the profile statistic with MIGRAD.

    The covariance of the result is nevertheless the exact one: HESSE's finite differences are worse by
    orders of magnitude.

    Parameters
    ----------
    session : Session
    start : array (m,), optional
        By default where the models stand.
    tolerance : float
        MINUIT's ``tol``: it stops at an estimated distance of 0.002 times that.
    strategy : {0, 1, 2}
        MINUIT's.
    callback : callable, optional
        Is given a `FitProgress` after each evaluation.

    Raises
    ------
    FitError
        When the statistic has no value at the start.
    """
    theta = session.coordinates.start if start is None else start
    while True:
        found = _migrad(session, theta, tolerance, strategy, callback)
        reasons = [
            c.reason for c in session.evaluator.check(session.coordinates.point(found.theta)) if not c.ok
        ]
        if not reasons or not found.converged:
            return found
        if session.tally.anchors >= MAX_ANCHORS:
            return replace(found, converged=False, message=f"{found.message}, but {reasons[0]}")
        theta = found.theta
        session.reanchor(theta)


def _migrad(
    session: Session, theta: Floats, tolerance: float, strategy: int, callback: Callback | None
) -> Minimum:
    coordinates = session.coordinates
    answer = session.ask([theta])[0]
    if not math.isfinite(answer.expansion.stat):
        raise FitError(
            f"the prediction is not positive in {answer.expansion.invalid} bins with counts, as the models start",
            where=", ".join(dataset.name for dataset in session.problem.datasets[:5]),
            hint="Start with positive amplitudes and norms",
        )
    scale = Place.at(coordinates, theta, answer.expansion).scale(coordinates)
    profile = _Profile(session, scale, callback)
    minuit = Minuit(profile.value, theta * scale, grad=profile.gradient, name=list(coordinates.names))
    minuit.errordef = 1.0
    minuit.tol = tolerance
    minuit.strategy = strategy
    minuit.print_level = 0
    for name, bounds, factor in zip(coordinates.names, coordinates.bounds, scale, strict=True):
        minuit.errors[name] = 1.0
        if np.isfinite(bounds).any():
            minuit.limits[name] = tuple(bounds * factor)
    minuit.migrad()
    found = np.clip(np.array(minuit.values) / scale, coordinates.bounds[:, 0], coordinates.bounds[:, 1])
    expansion = session.ask([found])[0].expansion
    if not math.isfinite(expansion.stat):
        raise FitError("MIGRAD ended where the statistic has no value", hint="Try the backend 'newton'")
    message = "MIGRAD: " + ("valid minimum" if minuit.valid else _complaint(minuit))
    return Minimum(
        theta=found,
        place=Place.at(coordinates, found, expansion),
        edm=float(minuit.fmin.edm),
        converged=bool(minuit.valid),
        message=message,
        method="MIGRAD on the profile likelihood",
        trace=tuple(profile.trace),
        minuit=minuit,
    )


def _complaint(minuit: Minuit) -> str:
    """What MIGRAD says is wrong."""
    found = minuit.fmin
    reasons = {
        "the estimated distance to the minimum is above the goal": found.is_above_max_edm,
        "the limit of calls was reached": found.has_reached_call_limit,
        "its Hessian is not positive definite": not found.has_posdef_covar,
        "a parameter stands at a limit": found.has_parameters_at_limit,
    }
    return "no valid minimum" + "".join(f", {text}" for text, is_so in reasons.items() if is_so)
