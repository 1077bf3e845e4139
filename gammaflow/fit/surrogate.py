"""The quadratic expansion of the likelihood, minimised in the parameters of the fit without asking any dataset.

    Q(theta) = g.d + d.H.d / 2 + P(theta) - P(theta_0),     d = z(theta) - z(theta_0)

``z(theta)`` is exact, with all its curvature: an exponential cutoff may bend as it likes, and only
the likelihood itself, convex in the fluxes, is approximated. P: priors. Minimising Q costs no trip
to the datasets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.fit.coordinate_parts import Mapped
from gammaflow.fit.coordinates import Coordinates
from gammaflow.fit.trust_region import Curvature, bounded_step, curvature, free_directions
from gammaflow.likelihood import Expansion

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_STEPS = 40
#: A step of the inner search that gains less than this share of what has been gained ends it.
_ENOUGH = 1e-6
#: Loosest and tightest sensible size of a usual step, in units of a parameter's scale.
_WIDEST = 1e5
#: Estimated distance to the minimum beyond which expected weights replace observed ones.
_FAR = 1.0
#: Largest factor between them.
_FARTHEST = 1e3
#: A size may shrink to this share of itself, or grow as much, in a step that should gain more than `_NEAR`.
SHRINK = 0.5
_NEAR = 1.0


@dataclass(frozen=True, eq=False)
class Place:
    """One point of a fit with all that is known there.

    Parameters
    ----------
    theta : array (m,)
    mapped : Mapped
        ``z`` and its first two derivatives.
    expansion : Expansion
    prior : float
    prior_first, prior_second : arrays (m,)
    """

    theta: Floats
    mapped: Mapped
    expansion: Expansion
    prior: float
    prior_first: Floats
    prior_second: Floats

    @classmethod
    def at(cls, coordinates: Coordinates, theta: Floats, expansion: Expansion) -> Place:
        """A point where the likelihood has been expanded."""
        return cls(theta, coordinates.at(theta, 2), expansion, *coordinates.priors(theta))

    @property
    def stat(self) -> float:
        """Fit statistic with the priors."""
        return self.expansion.stat + self.prior

    @cached_property
    def gradient(self) -> Floats:
        """Of the statistic by theta, (m,)."""
        return np.asarray(self.mapped.jacobian.T @ self.expansion.gradient + self.prior_first)

    @cached_property
    def hessian(self) -> Floats:
        """Of the statistic by theta, (m, m), exact."""
        jacobian = self.mapped.jacobian
        total = jacobian.T @ self.expansion.hessian @ jacobian + np.diag(self.prior_second)
        total += self.mapped.bend(self.expansion.gradient)
        return np.asarray(0.5 * (total + total.T))

    @cached_property
    def convex_diagonal(self) -> Floats:
        """Diagonal (m,) of what of the Hessian cannot be negative: first derivatives of the model, priors."""
        jacobian = self.mapped.jacobian
        diagonal = np.einsum("ki,kl,li->i", jacobian, self.expansion.gauss_newton, jacobian)
        return np.asarray(np.maximum(diagonal, 0.0) + np.maximum(self.prior_second, 0.0))

    @property
    def expected_square(self) -> Floats:
        """The Gauss-Newton matrix (Z, Z) with expected weights 1 / mu in the place of n / mu^2, roughly.

        Far from the minimum n / mu is far from 1, and observed weights make steps that are much too short (too
        little predicted) or too long. The mean of n / mu where a flux is seen follows from the gradient with and
        without counts.
        """
        empty = self.expansion.empty_gradient
        if empty is None:
            return self.expansion.gauss_newton
        ratio = np.ones(len(empty))
        some = empty > 0
        ratio[some] = np.clip(1 - self.expansion.gradient[some] / empty[some], 1 / _FARTHEST, _FARTHEST)
        root = 1 / np.sqrt(ratio)
        return np.asarray(self.expansion.gauss_newton * np.outer(root, root))

    def scale(self, coordinates: Coordinates) -> Floats:
        """One over the standard deviation of each parameter when all others are held (m,), within reason."""
        diagonal = np.maximum(self.convex_diagonal, np.abs(np.diag(self.hessian)))
        return np.maximum(np.sqrt(0.5 * diagonal), 1.0 / (_WIDEST * coordinates.scales))

    def curvature(self, coordinates: Coordinates, moving: Bools) -> Curvature:
        """The exact Hessian on the parameters that are free here."""
        gradient = self.gradient
        free = free_directions(gradient, self.theta, coordinates.bounds, moving)
        return curvature(gradient, self.hessian, self.scale(coordinates), free)


@dataclass(frozen=True, eq=False)
class Proposal:
    """Where the surrogate has its minimum within the trust region.

    Parameters
    ----------
    theta : array (m,)
    gain : float
        By how much the statistic should decrease.
    length : float
        Of the step, in standard deviations.
    """

    theta: Floats
    gain: float
    length: float


class Surrogate:
    """The expansion around one place as a function of theta.

    Parameters
    ----------
    coordinates : Coordinates
    place : Place
    moving : array (m,) of bool
        Parameters that are not held.
    """

    def __init__(self, coordinates: Coordinates, place: Place, moving: Bools) -> None:
        self.coordinates = coordinates
        self.place = place
        self.moving = moving
        self.scale = place.scale(coordinates)
        found = place.curvature(coordinates, moving)
        # the second derivatives of the images help where the whole is convex, and mislead where it is not;
        # but where first derivatives vanish (a size of 0) they are all there is
        blind = place.convex_diagonal < 1e-6 * np.abs(np.diag(place.hessian))
        self.exact = found.positive or bool((blind & moving).any())
        near = found.edm < _FAR
        self._square = place.expansion.gauss_newton if near else place.expected_square
        if self.exact:
            self._square = self._square + place.expansion.second_order

    def value(self, theta: Floats) -> tuple[float, Floats, Floats]:
        """Q, its gradient (m,) and Hessian (m, m); Q is infinite where the models have no value.

        The curvature of ``z(theta)`` is that of the centre: it guides the search and does not move
        its end.
        """
        place, nowhere = self.place, (math.inf, np.zeros(len(theta)), np.zeros((len(theta), len(theta))))
        mapped = place.mapped if theta is place.theta else self.coordinates.at(theta)
        prior, first, second = self.coordinates.priors(theta)
        with np.errstate(over="ignore", invalid="ignore"):
            distance = mapped.point - place.mapped.point
            slope = place.expansion.gradient + self._square @ distance
            value = 0.5 * float((place.expansion.gradient + slope) @ distance) + prior - place.prior
            gradient = mapped.jacobian.T @ slope + first
            hessian = mapped.jacobian.T @ self._square @ mapped.jacobian + place.mapped.bend(slope)
        hessian[np.diag_indices(len(theta))] += second
        if not (math.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(hessian).all()):
            return nowhere
        return value, gradient, 0.5 * (hessian + hessian.T)

    def minimise(self, radius: float, start: Floats | None = None) -> Proposal:
        """Minimise Q within ``radius`` standard deviations and the limits.

        Parameters
        ----------
        radius : float
        start : array (m,), optional
            Where the parameters that are held stand, if not where the expansion was made.
        """
        found = self._minimise(radius, start, self.coordinates.bounds)
        if found.gain < _NEAR:
            return found
        # far from the minimum no size may collapse at once, and no position run away
        origin = self.place.theta if start is None else start
        reach = self.coordinates.reach
        bounds = np.stack([origin - reach, origin + reach], axis=1)
        some = self.coordinates.sizes & (np.abs(origin) > 0)
        bounds[some] = np.stack([origin[some] * SHRINK, origin[some] / SHRINK], axis=1)
        bounds = np.clip(bounds, self.coordinates.bounds[:, :1], self.coordinates.bounds[:, 1:])
        if ((found.theta >= bounds[:, 0]) & (found.theta <= bounds[:, 1])).all():
            return found
        return self._minimise(radius, start, bounds)

    def _minimise(self, radius: float, start: Floats | None, bounds: Floats) -> Proposal:
        theta = origin = self.place.theta if start is None else start
        value, gradient, hessian = self.value(theta)
        first, inner = value, radius
        for _ in range(_STEPS):
            room = bounds - theta[:, None]
            step = bounded_step(gradient, hessian, self.scale, inner, room, self.moving)
            expected = -float(gradient @ step + 0.5 * step @ hessian @ step)
            if not expected > max(_ENOUGH * (first - value), 1e-13):
                break
            trial = np.clip(theta + step, bounds[:, 0], bounds[:, 1])
            there, new_gradient, new_hessian = self.value(trial)
            ratio = (value - there) / expected
            length = float(np.linalg.norm(self.scale * step))
            if not ratio > 0.05:
                inner = 0.3 * length
                if inner < 1e-12:
                    break
                continue
            theta, value, gradient, hessian = trial, there, new_gradient, new_hessian
            if ratio > 0.5:
                inner *= 2.0
            gone = float(np.linalg.norm((self.scale * (theta - origin))[self.moving]))
            inner = min(inner, radius - gone)
            if inner < 0.05 * radius:
                break
        gone = float(np.linalg.norm((self.scale * (theta - origin))[self.moving]))
        return Proposal(theta, first - value, gone)
