"""The covariance of a fit: exact, and never larger than it must be.

With C the covariance of the shared parameters (twice the inverse Hessian of the profile statistic),
``phi_i`` the own parameters of dataset i, and ``A_i = dphi_i/dtheta`` along the valley:

    C_phi_i,theta = A_i C,     C_phi_i,phi_j = 2 delta_ij H_i^-1 + A_i C A_j^T

The matrix of N datasets is block-diagonal plus something of rank m: it is kept like that, and any
block is made when asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import FitError
from gammaflow.likelihood import NuisanceState

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LocalBlock:
    """What belongs to the own parameters of one dataset.

    Parameters
    ----------
    names : tuple of str
        Of the p parameters.
    response : array (p, m)
        A.
    own : array (p, p)
        ``2 H^-1``: the covariance at fixed shared parameters.
    """

    names: tuple[str, ...]
    response: Floats
    own: Floats

    @classmethod
    def of(cls, state: NuisanceState, names: Sequence[str], jacobian: Floats) -> LocalBlock:
        """From what a dataset says at the solution; ``jacobian`` (Z, m) is ``dz/dtheta`` there."""
        return cls(tuple(names), state.response @ jacobian[state.index], 2.0 * state.inverse_hessian)


@dataclass(frozen=True, eq=False)
class FitCovariance:
    """Covariance of all free parameters of a fit.

    Parameters
    ----------
    shared_names : tuple of str
        Of the m shared parameters.
    inner : array (m, m)
        C in the coordinates of the fit; zero where a parameter is at a limit or undetermined.
    to_values : array (m, m)
        Derivatives of the shared parameters by the coordinates of the fit; NaN in the rows of those
        that mean nothing.
    local : tuple of LocalBlock
        A block per dataset with own parameters.
    """

    shared_names: tuple[str, ...]
    inner: Floats
    to_values: Floats
    local: tuple[LocalBlock, ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of all free parameters, shared ones first."""
        return (*self.shared_names, *(name for block in self.local for name in block.names))

    @cached_property
    def shared(self) -> Floats:
        """Covariance of the shared parameters, (m, m)."""
        return self.matrix(self.shared_names)

    @cached_property
    def errors(self) -> dict[str, float]:
        """Standard deviation of each parameter; 0 at a limit, NaN for one that is not determined or at no minimum."""
        shared = dict(zip(self.shared_names, _roots(np.diag(self.shared)), strict=True))
        for block in self.local:
            variance = np.diag(block.own) + np.einsum(
                "pi,ij,pj->p", block.response, self.inner, block.response
            )
            shared.update(zip(block.names, _roots(variance), strict=True))
        return shared

    def matrix(self, names: Sequence[str] | None = None, others: Sequence[str] | None = None) -> Floats:
        """The covariance between some parameters and others.

        Parameters
        ----------
        names : sequence of str, optional
            By default all.
        others : sequence of str, optional
            By default the same.

        Returns
        -------
        array (len(names), len(others))
        """
        names = self.names if names is None else tuple(names)
        others = names if others is None else tuple(others)
        total = np.asarray(self._rows(names) @ self.inner @ self._rows(others).T)
        columns = self._grouped(others)
        for block, here in self._grouped(names).items():
            there = columns.get(block, [])
            if block >= 0 and there:
                own = self.local[block].own
                at = [self._places[names[i]][1] for i in here], [self._places[others[j]][1] for j in there]
                total[np.ix_(here, there)] += own[np.ix_(*at)]
        return total

    def _grouped(self, names: Sequence[str]) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = {}
        for i, name in enumerate(names):
            groups.setdefault(self._place(name)[0], []).append(i)
        return groups

    def correlation(self, names: Sequence[str] | None = None) -> Floats:
        """``C_ij / sqrt(C_ii C_jj)``, 0 where a variance is 0."""
        matrix = self.matrix(names)
        errors = np.sqrt(np.maximum(np.diag(matrix), 0.0))
        outer = np.outer(errors, errors)
        return np.divide(matrix, outer, out=np.zeros_like(matrix), where=outer > 0)

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        """Name to (block, row in it); block -1 is that of the shared parameters."""
        places = {name: (-1, i) for i, name in enumerate(self.shared_names)}
        for number, block in enumerate(self.local):
            places.update({name: (number, i) for i, name in enumerate(block.names)})
        return places

    def _place(self, name: str) -> tuple[int, int]:
        if name not in self._places:
            raise FitError(
                f"{name!r} is no free parameter of the fit",
                where="covariance",
                hint=f"There are {', '.join(self.names[:8])}{', ...' if len(self.names) > 8 else ''}",
            )
        return self._places[name]

    def _rows(self, names: Sequence[str]) -> Floats:
        """Derivatives of parameters by the coordinates of the fit, (n, m)."""
        rows = np.zeros((len(names), len(self.shared_names)))
        for i, name in enumerate(names):
            block, row = self._place(name)
            rows[i] = self.to_values[row] if block < 0 else self.local[block].response[row]
        return rows


def _roots(variances: Floats) -> Floats:
    """Of a negative one, where the end of a fit is no minimum, NaN."""
    return np.sqrt(np.where(variances < 0, np.nan, variances))
