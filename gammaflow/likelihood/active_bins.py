"""What the search for a dataset's own parameters looks at, and what it says: the bins with counts near a source, the
inner function there, and where the parameters ended. See `gammaflow.likelihood.nuisance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.nuisance_point import PointInner

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ActiveBins:
    """The bins that are looked at one by one, ordered by energy, and the totals that stand for all others.

    Parameters
    ----------
    counts : array (nb,)
        n, all positive.
    energy : array (nb,) of int
        Reconstructed energy bin, ascending.
    background : array (nb,)
        B, before the factor.
    fixed : array (nb,)
        Counts predicted from sources that do not change.
    background_total : array (E,)
        Sum of B over all bins of the fit.
    counts_outside : array (E,)
        Counts in bins of the fit outside every window.
    """

    counts: Floats
    energy: Ints
    background: Floats
    fixed: Floats
    background_total: Floats
    counts_outside: Floats

    @cached_property
    def inverse_reference(self) -> Floats:
        """1 over the prediction that logarithms are counted from: without it differences of F would lose digits."""
        reference = self.background + self.fixed
        return 1.0 / np.where(reference > 0, reference, 1.0)

    @cached_property
    def constant(self) -> float:
        """Part of the statistic that goes with the references."""
        return 2.0 * float(self.background_total.sum()) + 2.0 * float(
            self.counts @ np.log(self.inverse_reference)
        )

    @cached_property
    def present(self) -> tuple[Ints, Ints]:
        """The energies that have bins, and the first bin of each."""
        energies, starts = np.unique(self.energy, return_index=True)
        return energies.astype(np.intp), starts.astype(np.intp)

    def per_energy(self, values: Floats) -> Floats:
        """Sums over the bins of each energy, (..., nb) to (..., E)."""
        out = np.zeros((*values.shape[:-1], len(self.background_total)))
        energies, starts = self.present
        if len(starts):
            out[..., energies] = np.add.reduceat(values, starts, axis=-1)
        return out


@dataclass(frozen=True, eq=False)
class Inner:
    """The inner function at P points.

    Parameters
    ----------
    value : array (P,)
        Without `ActiveBins.constant`; ``inf`` where not possible.
    gradient, hessian : arrays (P, p), (P, p, p)
        With respect to all free background parameters, the shared ones too.
    ratio : array (P, nb)
        n / mu.
    curvature : array (P, nb)
        2 n / mu^2.
    first : array (P, p, E)
        ``dphi/dpsi``.
    invalid : array (P,) of int
        Bins with counts and no positive prediction.
    """

    value: Floats
    gradient: Floats
    hessian: Floats
    ratio: Floats
    curvature: Floats
    first: Floats
    invalid: Ints

    @classmethod
    def of_point(cls, point: PointInner) -> Inner:
        """That of one point where the function has a value."""
        return cls(
            np.array([point.value]),
            point.gradient[None],
            point.hessian[None],
            point.ratio[None],
            point.curvature[None],
            point.first[None],
            np.zeros(1, dtype=np.intp),
        )

    def put(self, rows: Ints, other: Inner) -> None:
        """Replace some of the points."""
        for name in vars(self):
            getattr(self, name)[rows] = getattr(other, name)


@dataclass(frozen=True, eq=False)
class Profile:
    """Where the local parameters ended at P points.

    Parameters
    ----------
    values : array (P, p)
        All free background parameters; shared ones as they were given.
    inner : Inner
        The inner function there.
    inside : array (P, p) of bool
        Local parameters that are neither at a limit nor undetermined.
    at_limit : array (P, p) of int
        -1 at the lower, +1 at the upper limit.
    """

    values: Floats
    inner: Inner
    inside: Bools
    at_limit: Ints
