"""From the minimum that a backend found to the result: own parameters of the datasets, covariance, warnings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from gammaflow.fit.covariance import FitCovariance, LocalBlock
from gammaflow.fit.evaluator import FullCheck
from gammaflow.fit.newton import Minimum
from gammaflow.fit.problem import FitParameter
from gammaflow.fit.result import FitResult, FittedParameter
from gammaflow.fit.session import Session
from gammaflow.fit.trust_region import Curvature, free_directions
from gammaflow.fit.trust_region import curvature as curvature_of
from gammaflow.likelihood import NuisanceState

Floats = NDArray[np.float64]

#: Share of a parameter in a direction without curvature from which on it is named.
_NAMED = 0.05
#: What negative predictions may take off the statistic before the fit counts as failed.
_WORTH_MENTIONING = 0.01
_NEGATIVE = (
    "counts are predicted below zero, where the statistic means nothing: give amplitudes a lower limit"
)
#: Up to this many parameters the models get the whole covariance, beyond each its own block.
_WHOLE = 1500


@dataclass(frozen=True, eq=False)
class _Local:
    """An own parameter of a dataset, and what was found for it."""

    own: FitParameter
    value: float
    at_limit: int
    undetermined: bool


def conclude(
    session: Session, minimum: Minimum, backend: str, seconds: float, errors: bool = True
) -> FitResult:
    """The result of a fit; values, errors and covariance are written to the models.

    Parameters
    ----------
    session : Session
    minimum : Minimum
    backend : str
    seconds : float
        What the fit has taken.
    errors : bool
        Whether to work out the covariance, too.
    """
    problem, coordinates = session.problem, session.coordinates
    theta = minimum.theta
    point = coordinates.point(theta)
    states = session.evaluator.nuisances(point)
    values, to_values = coordinates.external(theta)
    place, moving = minimum.place, np.ones(coordinates.size, dtype=np.bool_)
    free = free_directions(place.gradient, theta, coordinates.bounds, moving)
    curvature = curvature_of(place.gradient, place.hessian, place.scale(coordinates), free)
    local = _local_values(session, states)
    degenerate, unknown = _degenerate(session, curvature)
    limits = _at_limits(session, theta, curvature)

    for own, value in zip(problem.shared, values, strict=True):
        own.parameter.value = float(np.clip(value, *own.parameter.bounds))
    for found in local:
        own_parameter = found.own.parameter
        own_parameter.value = float(np.clip(found.value, *own_parameter.bounds))

    covariance = None
    sigma: Mapping[str, float] = {}
    if errors:
        jacobian = coordinates.at(theta).jacobian
        names = _local_names(session)
        blocks = [
            LocalBlock.of(state, [names[state.dataset, n] for n in state.parameters], jacobian)
            for state in states
            if state.parameters
        ]
        covariance = FitCovariance(coordinates.names, 2.0 * curvature.inverse, to_values, tuple(blocks))
        sigma = _errors(
            covariance, {*unknown, *limits, *(f.own.name for f in local if f.at_limit or f.undetermined)}
        )
        _write_back(session, covariance, sigma)
    stats = {state.dataset: state.stat for state in states}
    prior = coordinates.priors(theta)[0]
    fitted = [_fitted(own, own.parameter.value, sigma, limits.get(own.name, 0)) for own in problem.shared] + [
        _fitted(found.own, found.own.parameter.value, sigma, found.at_limit) for found in local
    ]
    negative: tuple[FullCheck, ...] = ()
    if (point[: problem.layout.n_flux] < 0).any() or any("norm" in f.own.name and f.value < 0 for f in local):
        negative = tuple(c for c in session.evaluator.full_check(problem) if c.negative_bins)
    total = math.fsum((*stats.values(), prior))
    success, message = _verdict(minimum, degenerate, curvature)
    if negative and math.fsum(check.stat - stats[check.dataset] for check in negative) > _WORTH_MENTIONING:
        success, message = False, f"{_NEGATIVE} ({message})"
    if limits:
        message += f"; at a limit: {', '.join(limits)}"
    return FitResult(
        backend=backend,
        method=minimum.method,
        success=success,
        message=message,
        models=problem.models,
        fitted=tuple(fitted),
        total_stat=total,
        stat_per_dataset=stats,
        edm=minimum.edm,
        covariance=covariance,
        trips=session.tally.trips,
        nfev=session.tally.points,
        seconds=seconds,
        timings={"condense": session.tally.condense_seconds, "datasets": session.tally.worker_seconds},
        anchors=session.tally.anchors,
        degenerate=degenerate,
        negative=negative,
        warnings=(*_warnings(session, local), *_negative_warnings(negative)),
        trace=minimum.trace,
        minuit=minimum.minuit,
    )


def _verdict(
    minimum: Minimum, degenerate: tuple[tuple[str, ...], ...], curvature: Curvature
) -> tuple[bool, str]:
    if degenerate:
        groups = "; ".join(" with ".join(group) for group in degenerate)
        return False, f"the data do not determine {groups} ({minimum.message})"
    if minimum.converged and not curvature.positive:
        return False, f"no minimum: the statistic falls in some direction ({minimum.message})"
    return minimum.converged, minimum.message


def _degenerate(session: Session, curvature: Curvature) -> tuple[tuple[tuple[str, ...], ...], set[str]]:
    """Groups of parameters that share a direction without curvature, and all their names."""
    names = session.coordinates.names
    groups: list[set[str]] = []
    for direction in curvature.flat:
        here = {names[i] for i in np.flatnonzero(direction**2 > _NAMED)}
        joined = [group for group in groups if group & here]
        groups = [group for group in groups if not group & here] + [here.union(*joined)]
    ordered = tuple(tuple(name for name in names if name in group) for group in groups)
    return ordered, {name for group in groups for name in group}


def _at_limits(session: Session, theta: Floats, curvature: Curvature) -> dict[str, int]:
    """Parameters that are pressed against a limit."""
    bounds = session.coordinates.bounds
    held = ~curvature.free
    return {
        name: (-1 if theta[i] <= bounds[i, 0] else 1)
        for i, name in enumerate(session.coordinates.names)
        if held[i]
    }


def _local_names(session: Session) -> dict[tuple[str, str], str]:
    """Dataset and name of each own parameter to the name that the result shows."""
    return {(own.dataset, own.parameter.name): own.name for own in session.problem.local}


def _local_values(session: Session, states: tuple[NuisanceState, ...]) -> list[_Local]:
    places = {(own.dataset, own.parameter.name): own for own in session.problem.local}
    found = []
    for state in states:
        for i, name in enumerate(state.parameters):
            own = places[state.dataset, name]
            found.append(
                _Local(own, float(state.values[i]), int(state.at_limit[i]), bool(state.undetermined[i]))
            )
    return found


def _errors(covariance: FitCovariance, unknown: set[str]) -> dict[str, float]:
    return {name: math.nan if name in unknown else float(sigma) for name, sigma in covariance.errors.items()}


@lru_cache(maxsize=64)
def _shown(unit: u.UnitBase) -> str:
    """A unit in FITS notation: thousands of parameters have the same few."""
    return str(unit.to_string("fits"))


def _fitted(own: FitParameter, value: float, sigma: Mapping[str, float], at_limit: int) -> FittedParameter:
    low, high = own.parameter.bounds
    return FittedParameter(
        name=own.name,
        value=value,
        error=sigma.get(own.name, math.nan),
        unit=_shown(own.parameter.unit),
        min=low,
        max=high,
        at_limit=at_limit,
        dataset=own.dataset,
    )


def _write_back(session: Session, covariance: FitCovariance, sigma: Mapping[str, float]) -> None:
    """Covariance and errors to the models; what is not known counts 0 in the matrix, and NaN as an error."""
    name_of = {id(own.parameter): own.name for own in session.problem.parameters}
    parts: list[Any] = []
    for models in (session.problem.models, *session.problem.collections):
        parts += [models] if len(models.parameters) <= _WHOLE else list(models)
    for part in {id(part): part for part in parts}.values():
        parameters = part.parameters
        rows = [i for i, p in enumerate(parameters) if id(p) in name_of]
        names = [name_of[id(parameters[i])] for i in rows]
        full = np.zeros((len(parameters), len(parameters)))
        known = np.array([not math.isnan(sigma[name]) for name in names], dtype=np.bool_)
        block = np.where(known[:, None] & known, np.nan_to_num(covariance.matrix(names)), 0.0)
        full[np.ix_(rows, rows)] = 0.5 * (block + block.T)
        part.covariance = full
    for own in session.problem.parameters:
        own.parameter.error = sigma[own.name]


def _warnings(session: Session, local: list[_Local]) -> list[str]:
    warnings = list(session.problem.warnings)
    warnings += [text for info in session.evaluator.info() for text in info.warnings]
    warnings += [f"dataset {name!r}: every bin is masked" for name in session.empty]
    warnings += [
        f"{f.own.name} stands at its {'lower' if f.at_limit < 0 else 'upper'} limit"
        for f in local
        if f.at_limit
    ]
    return warnings


def _negative_warnings(negative: tuple[FullCheck, ...]) -> list[str]:
    return [
        f"dataset {check.dataset!r}: {check.negative_bins} bins are predicted below zero, {check.with_counts} of them "
        f"with counts; with these counted as 1e-25 its statistic is {check.stat:.4f}"
        for check in negative
    ]
