"""What a fit and the condensed datasets say to each other.

The statistic of a joint fit is ``F = sum_i f_i(z, phi_i)``: ``z`` are the *shared coordinates*, all that
the fit (the *manager*) moves; ``phi_i`` are the *local* parameters of dataset i, which nobody else sees. A
dataset finds its own ``phi_i`` for every ``z`` it is asked about (profiles them), so that the manager sees
the profile likelihood ``F_p(z) = sum_i min_phi f_i(z, phi)``, its gradient and its second derivatives, and
never a local parameter.

**Shared coordinates** (`coordinates.Layout` gives each its place in the vector ``z``), in this order:

1. *fluxes*, one block per source and true-energy axis (`FluxBlock`): ``S_k`` is the integral of the source's
   spectrum over true-energy bin k, in m-2 s-1 (as `SpectralModel.integral_values` gives it); of flux points it
   is the value at energy k, in m-2 s-1 TeV-1. The prediction is linear in them, so ``F`` is convex there, and any
   spectral model will do: the manager computes ``S(theta)`` and its derivatives itself, a handful of numbers.
2. *spatial parameters*, one block per source that has free ones (`SpatialBlock`): the values, in their own
   units, of the spatial model's free parameters (``lon_0``, ``lat_0``, ``sigma``, ...) in the model's order.
   Of an elliptical model the names ``cov_ee, cov_en, cov_nn`` (deg2) may stand in the place of size, ``e`` and
   ``phi``: the image is smooth in them at ``e = 0``, too.
3. *shared nuisances* (`SharedNuisance`): a background parameter linked between several datasets, in its own
   unit.

**Local parameters** are the free parameters of the background model of one dataset that are not linked to
those of another: profiled with their limits and priors on the spot. Priors on shared parameters are the
manager's to add.

**A trip.** The manager sends a `Request` (one or many points ``z``) to every shard; each answers with a
`Reply`, and the replies add up (`gammaflow.likelihood.sums`, in a fixed order). The quadratic expansion at point i is
``reply.at(i)``:

    Q(d) = stat + gradient.d + d.H.d / 2,      H = gauss_newton + second_order

``gauss_newton`` is ``J^T h J`` after the elimination of the local parameters (Schur complement with their
exact Hessian); ``second_order`` is what the spatial parameters add by their second derivatives
(flux-spatial and spatial-spatial of the same source). Their sum is the exact Hessian of ``F_p`` in ``z``;
the covariance is ``2 (dz^T H dz + gradient.d2z)^-1``. Far from the minimum ``H`` may be indefinite: fall
back on ``gauss_newton`` there. ``F_p`` is smooth in ``z`` except where a local parameter reaches a limit;
of a bin without OFF counts the curvature begins where the signal alone explains the ON counts.

**There is no accept message.** An evaluation is a pure function of ``z``: datasets keep no state between
trips, F at a point has the same bits whatever was asked before, and a lost shard is rebuilt by its loader.
When the fit is done `NuisanceState` gives what each dataset found for its own parameters at the solution,
and their covariance:

    C_phi,theta = R dz C ,     C_phi_i,phi_j = 2 delta_ij H_i^-1 + R_i dz C dz^T R_j^T ,    R = dphi/dz

**Predictions below zero.** The field's statistic cuts a prediction at zero (with OFF counts: it raises the
background until the sum is zero); the condensed sums over bins without counts do not. The two are equal as
long as nothing is predicted below zero; a fit that ends at a negative flux or norm has to look at the full sum
(`npred.stat_sum`).

**A point that cannot be.** Where a bin with counts has no positive prediction the statistic is ``inf``,
``invalid`` says in how many bins, gradient and curvature are zero: the step is to be shrunk.

**Frozen geometry.** Windows, frequencies, PSF and energy dispersion belong to the position the sources had
when the dataset was condensed (the anchor). After convergence ``check(point)`` returns an `AnchorCheck`
per source; where one is not ``ok`` condense again at the solution and go on. Compare statistics only
between fits with the same anchor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True)
class Request:
    """What the manager asks.

    Parameters
    ----------
    points : array (P, Z)
        Points in the shared coordinates; Z is ``Layout.size``.
    order : {2, 1, 0}
        0: the statistic; 1: with its gradient; 2: with its second derivatives.
    basis : array (Z, m) or None
        When given, derivatives come back along its columns (``dz/dtheta``) instead of along ``z``: smaller
        replies when there are many sources, without the surrogate in the fluxes.
    """

    points: Floats
    order: int = 2
    basis: Floats | None = None

    @classmethod
    def at(cls, point: Floats, order: int = 2) -> Request:
        """A request for one point (Z,)."""
        return cls(np.atleast_2d(np.asarray(point, dtype=np.float64)), order)


@dataclass(frozen=True)
class Expansion:
    """The profile likelihood around one point, in all Z shared coordinates.

    Parameters
    ----------
    stat : float
        The statistic, ``inf`` where a bin with counts has no positive prediction.
    gradient : array (Z,)
    gauss_newton, second_order : array (Z, Z)
        Their sum is the exact Hessian.
    invalid : int
        Number of bins with counts and no positive prediction.
    empty_gradient : array (Z,) or None
        See `Reply`.
    """

    stat: float
    gradient: Floats
    gauss_newton: Floats
    second_order: Floats
    invalid: int = 0
    empty_gradient: Floats | None = None

    @property
    def hessian(self) -> Floats:
        return self.gauss_newton + self.second_order


@dataclass(frozen=True)
class Reply:
    """What datasets answer for P points; replies of different datasets add up.

    Parameters
    ----------
    index : array (n,) of int
        The shared coordinates that these datasets depend on, ascending (columns of the basis if one was
        given).
    constant : float
        Part of the statistic that depends on the data only.
    variable : array (P,)
        The rest: small numbers, so that differences between points keep their digits. ``stat = constant +
        variable``.
    gradient : array (P, n)
        Zero columns when not asked for (P, 0).
    gauss_newton : array (P, n (n + 1) / 2)
        Upper triangle row by row; (P, 0) when not asked for.
    spatial : array (r,) of int
        Which entries of ``index`` are spatial coordinates.
    second_order : array (P, r, n)
        Rows of the second-order part that belong to spatial coordinates; the matrix is symmetric and zero
        elsewhere.
    invalid : array (P,) of int
        Bins with counts and no positive prediction.
    at_limit : array (P,) of int
        Local parameters that stand at a limit.
    datasets : int
        How many datasets have been added up.
    seconds : float
        Time the evaluation took.
    empty_gradient : array (P, n) or None
        What the gradient by each flux would be without any counts: twice the counts that a unit of it adds; zero
        for other coordinates. ``1 - gradient / empty_gradient`` is the mean of n / mu where that flux is seen:
        far from the minimum it tells by how much the observed curvature is off the expected one.
    """

    index: Ints
    constant: float
    variable: Floats
    gradient: Floats
    gauss_newton: Floats
    spatial: Ints
    second_order: Floats
    invalid: Ints
    at_limit: Ints
    datasets: int = 1
    seconds: float = 0.0
    empty_gradient: Floats | None = None

    @property
    def stat(self) -> Floats:
        """The statistic at each of the P points."""
        return self.constant + self.variable

    @property
    def nbytes(self) -> int:
        """Size of the arrays."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    def at(self, number: int, size: int) -> Expansion:
        """The expansion around one of the points in all ``size`` shared coordinates."""
        n = len(self.index)
        gradient = np.zeros(size)
        square, second = np.zeros((size, size)), np.zeros((size, size))
        if self.gradient.shape[1]:
            gradient[self.index] = self.gradient[number]
        if self.gauss_newton.shape[1]:
            square[np.ix_(self.index, self.index)] = unpack(self.gauss_newton[number], n)
            second[np.ix_(self.index, self.index)] = self._full_second_order(number)
        empty = None
        if self.empty_gradient is not None:
            empty = np.zeros(size)
            empty[self.index] = self.empty_gradient[number]
        return Expansion(float(self.stat[number]), gradient, square, second, int(self.invalid[number]), empty)

    def _full_second_order(self, number: int) -> Floats:
        second = np.zeros((len(self.index), len(self.index)))
        second[self.spatial, :] = self.second_order[number]
        second[:, self.spatial] = self.second_order[number].T
        return second

    def along(self, basis: Floats) -> Reply:
        """The same with derivatives along the columns of ``basis`` (Z, m) instead of along ``z``."""
        own = basis[self.index]
        points, m = len(self.variable), basis.shape[1]
        if self.gauss_newton.shape[1]:
            n = len(self.index)
            square = np.array([pack(own.T @ unpack(row, n) @ own) for row in self.gauss_newton])
            second = np.array([own.T @ self._full_second_order(i) @ own for i in range(points)])
        else:
            square, second = np.zeros((points, 0)), np.zeros((points, m, m))
        gradient = self.gradient @ own if self.gradient.shape[1] else self.gradient
        everything = np.arange(m)
        return replace(
            self,
            index=everything,
            gradient=gradient,
            gauss_newton=square,
            spatial=everything,
            second_order=second,
            empty_gradient=None,
        )


@dataclass(frozen=True)
class NuisanceState:
    """What a dataset found for its own parameters at one point.

    Parameters
    ----------
    dataset : str
    stat : float
        The dataset's own statistic there, priors on its local parameters included.
    parameters : tuple of str
        Names of the p local parameters.
    values : array (p,)
    inverse_hessian : array (p, p)
        Inverse of ``d2f/dphi2`` on the parameters that are not at a limit, zero elsewhere: twice it is
        their covariance at fixed ``z``.
    index : array (n,) of int
        The shared coordinates the dataset depends on.
    response : array (p, n)
        ``dphi/dz``.
    at_limit : array (p,) of int
        -1 at the lower limit, +1 at the upper, 0 between.
    undetermined : array (p,) of bool
        The data say nothing about these (no bins left): they keep their starting value.
    """

    dataset: str
    stat: float
    parameters: tuple[str, ...]
    values: Floats
    inverse_hessian: Floats
    index: Ints
    response: Floats
    at_limit: Ints
    undetermined: NDArray[np.bool_]


@dataclass(frozen=True)
class AnchorCheck:
    """Whether the frozen geometry of a source still serves at a point.

    Parameters
    ----------
    dataset, source : str
    drift : float
        Distance of the source from its anchor in deg.
    ok : bool
    reason : str
        Why not, empty when ``ok``.
    """

    dataset: str
    source: str
    drift: float
    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class CondensedInfo:
    """What a condensed dataset holds, for reports and warnings.

    Parameters
    ----------
    dataset : str
    bins : int
        Bins in the fit (``mask_safe & mask_fit``).
    active_bins : int
        Bins with counts inside a source's window: the only ones looked at one by one.
    unexplained_bins : int
        Bins with counts for which neither background nor a source predicts anything. They add a constant.
    nbytes : int
    warnings : tuple of str
    """

    dataset: str
    bins: int
    active_bins: int
    unexplained_bins: int
    nbytes: int
    warnings: tuple[str, ...] = ()


class Condensed(Protocol):
    """What every kind of condensed dataset can do."""

    @property
    def name(self) -> str:
        """Name of the dataset."""

    @property
    def info(self) -> CondensedInfo:
        """What was condensed."""

    def evaluate(self, request: Request) -> Reply:
        """The statistic and its derivatives at the points of the request."""

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """The local parameters at one point (Z,), a state per dataset."""

    def check(self, point: Floats) -> tuple[AnchorCheck, ...]:
        """Whether the frozen geometry still serves at one point (Z,)."""


def pack(square: Floats) -> Floats:
    """Upper triangle of a symmetric matrix, row by row."""
    return square[upper_triangle(len(square))]


def unpack(packed: Floats, n: int) -> Floats:
    """The symmetric matrix (n, n) from its upper triangle."""
    square = np.zeros((n, n))
    square[upper_triangle(n)] = packed
    return square + np.triu(square, 1).T


@lru_cache(maxsize=32)
def upper_triangle(n: int) -> tuple[Ints, Ints]:
    """Rows and columns of the upper triangle; making them costs more than using them."""
    rows, columns = np.triu_indices(n)
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns
