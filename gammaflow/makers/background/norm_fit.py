"""Fit of a norm model to the background of one dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.modeling import FoVBackgroundModel

Floats = NDArray[np.float64]

_MAX_STEPS = 50
_CONVERGED = 1e-16  # expected decrease of the statistic, relative to the counts
_RELATIVE_STEP = 1e-5  # of the central differences of the exact gradient


@dataclass(frozen=True)
class EnergySums:
    """Sums over the pixels in use, one an energy bin: all that a factor of energy can depend on.

    Attributes
    ----------
    counts : ndarray, shape (n_energy,)
    background : ndarray, shape (n_energy,)
        Without norm.
    energy : ndarray, shape (n_energy,)
        Bin centres, TeV.
    """

    counts: Floats
    background: Floats
    energy: Floats

    def npred(self, model: FoVBackgroundModel) -> float:
        """Background that a model predicts."""
        return float(self.background @ model.evaluate(self.energy))


@dataclass(frozen=True)
class NormFit:
    """Result of `fit_norm`.

    Attributes
    ----------
    values, errors : ndarray
        Of the free parameters, in the order of the model.
    success : bool
    message : str
        Why it failed.
    """

    values: Floats
    errors: Floats
    success: bool
    message: str = ""


def scale_norm(sums: EnergySums, model: FoVBackgroundModel) -> tuple[float, float]:
    """Norm and its error that make the background equal to the counts: N / B and sqrt(N) / B, B at norm 1."""
    counts = float(sums.counts.sum())
    background = sums.npred(model) / model.parameters["norm"].value
    return counts / background, float(np.sqrt(counts)) / background


def fit_norm(sums: EnergySums, model: FoVBackgroundModel) -> NormFit:
    """Minimise the Cash statistic of a norm model; the model is set to the result.

    With factors m_k(p) the statistic is ``2 sum_k (B_k m_k - N_k ln m_k)`` up to a constant. With only the norm
    free its minimum is `scale_norm`. Otherwise Newton's method finds it, with steps halved until they descend.
    Errors are the square roots of the diagonal of the inverse of half the Hessian at the minimum.

    Parameters
    ----------
    sums : EnergySums
    model : FoVBackgroundModel
        Frozen parameters stay as they are.
    """
    free = [i for i, parameter in enumerate(model.parameters) if not parameter.frozen]
    names = [model.parameters[i].name for i in free]
    if names == ["norm"]:
        norm, error = scale_norm(sums, model)
        values, errors = np.array([norm]), np.array([error])
    elif not free:
        return NormFit(np.zeros(0), np.zeros(0), True)
    else:
        try:
            values, errors = _newton(sums, model, free)
        except (np.linalg.LinAlgError, _NoMinimumError) as problem:
            return NormFit(np.full(len(free), np.nan), np.full(len(free), np.nan), False, str(problem))
    for i, value, error in zip(free, values, errors, strict=True):
        parameter = model.parameters[i]
        low, high = parameter.bounds
        if not low <= value <= high:
            return NormFit(values, errors, False, f"{parameter.name} {value:g} is outside its limits")
        parameter.value, parameter.error = float(value), float(error)
    return NormFit(values, errors, True)


class _NoMinimumError(Exception):
    """The iteration ended without a minimum."""


def _newton(sums: EnergySums, model: FoVBackgroundModel, free: list[int]) -> tuple[Floats, Floats]:
    trial = model.copy()
    used = (sums.background > 0) | (sums.counts > 0)
    counts, background, energy = sums.counts[used], sums.background[used], sums.energy[used]

    def factors(p: Floats) -> tuple[Floats, Floats]:
        for i, value in zip(free, p, strict=True):
            trial.parameters[i].value = float(value)
        values, gradient = trial.evaluate_and_gradient(energy)
        return values, gradient[free]

    def statistic(values: Floats) -> float:
        if not (np.isfinite(values).all() and (values > 0).all()):
            return np.inf
        return float(background @ values - counts @ np.log(values))

    for i in free:
        # Newton's steps may pass where the limits would forbid; the result is held against them
        trial.parameters[i].min, trial.parameters[i].max = np.nan, np.nan
    p = np.array([trial.parameters[i].value for i in free])
    values, gradient = factors(p)
    current = statistic(values)
    for _ in range(_MAX_STEPS):
        slope = gradient @ (background - counts / values)
        hessian = _hessian(factors, p, values, gradient, counts, background)
        step = -np.linalg.solve(_positive(hessian), slope)
        decrease = float(-slope @ step)
        if decrease <= _CONVERGED * max(1.0, float(counts.sum())):
            return p, np.sqrt(np.diag(np.linalg.inv(hessian)))
        length = 1.0
        while True:
            proposed, proposed_gradient = factors(p + length * step)
            lower = statistic(proposed)
            # Rounding of the statistic must not stop steps that only polish the last digits
            if lower <= current + 1e-13 * abs(current):
                break
            length *= 0.5
            if length < 1e-8:
                raise _NoMinimumError("no step lowers the statistic")
        p, values, gradient, current = p + length * step, proposed, proposed_gradient, lower
    raise _NoMinimumError(f"no minimum after {_MAX_STEPS} steps")


def _hessian(
    factors: object, p: Floats, values: Floats, gradient: Floats, counts: Floats, background: Floats
) -> Floats:
    """Half the Hessian of the statistic: exact first derivatives, their central differences for the second."""
    assert callable(factors)  # a closure of the caller
    hessian = (gradient * (counts / values**2)) @ gradient.T
    weight = background - counts / values
    for i in range(p.size):
        h = _RELATIVE_STEP * max(1.0, abs(p[i]))
        shift = np.zeros(p.size)
        shift[i] = h
        second = (factors(p + shift)[1] - factors(p - shift)[1]) / (2 * h)
        hessian[i] += second @ weight
    return 0.5 * (hessian + hessian.T)


def _positive(hessian: Floats) -> Floats:
    """The Hessian with its eigenvalues made positive, so that a step descends."""
    eigenvalues, vectors = np.linalg.eigh(hessian)
    floor = 1e-12 * np.abs(eigenvalues).max()
    return (vectors * np.maximum(np.abs(eigenvalues), floor)) @ vectors.T
