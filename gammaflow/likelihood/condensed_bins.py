"""The condensed likelihood of datasets without parameters of their own: spectra, and flux points.

    F = sum_b f_b(mu_b) + 2 sum_s S_s . Ttot_s + const,     mu_b = fixed_b + sum_s sum_k T_bk S_k

b: *active* bins, those with ON counts (or points). Bins without counts are linear in the prediction and enter through
totals. ``f_b`` is any statistic. There is nothing to profile: F and its derivatives are a few products of small
matrices, so small that calling numpy takes most of the time. `Stack` makes them for many datasets at once, each by
the same operations in the same order as it would be alone: its bits do not depend on the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.protocol import (
    AnchorCheck,
    CondensedInfo,
    NuisanceState,
    Reply,
    Request,
    upper_triangle,
)
from gammaflow.likelihood.sums import ReplyRows, total_of_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class BinStatistic(Protocol):
    """A statistic as a fit wants it."""

    @property
    def convex(self) -> bool:
        """Whether its curvature is nowhere negative."""

    def expand(self, predicted: Floats) -> tuple[Floats, Floats, Floats]:
        """Value (infinite where it has none), score and curvature of bins (N, nb)."""


@dataclass(frozen=True, eq=False)
class CondensedBins:
    """One dataset.

    Parameters
    ----------
    name : str
    index : array (n,) of int
        The shared coordinates that it depends on, ascending.
    response : array (n, nb)
        T: counts (fluxes) in the active bins per unit of each coordinate.
    line : array (n,)
        Derivatives of the statistic of all other bins.
    empty : array (n,)
        What the gradient would be without counts, see `Reply`.
    fixed : array (nb,)
        What is predicted for the active bins by what does not change.
    statistic : dataclass of arrays (nb,), with `BinStatistic.expand`
    constant : float
        Part of the statistic that no parameter changes.
    info : CondensedInfo
    """

    name: str
    index: Ints
    response: Floats
    line: Floats
    empty: Floats
    fixed: Floats
    statistic: Any
    constant: float
    info: CondensedInfo

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for those that one `Stack` can hold."""
        return type(self.statistic), self.response.shape, self.index.tobytes()

    def evaluate(self, request: Request) -> Reply:
        """The statistic and its derivatives at the points of a request."""
        reply = total_of_rows([self._alone.evaluate(request.points, request.order)], 1)
        return reply if request.basis is None or request.order == 0 else reply.along(request.basis)

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """The statistic at one point (Z,); there are no own parameters."""
        return self._alone.nuisances(point)

    def check(self, point: Floats) -> tuple[AnchorCheck, ...]:
        """Nothing was frozen."""
        return ()

    @property
    def _alone(self) -> Stack:
        return Stack.of([self], np.zeros(1, dtype=np.intp))


@dataclass(frozen=True, eq=False)
class Stack:
    """N datasets that depend on the same coordinates and have as many active bins. Made by `of`.

    Parameters
    ----------
    names : tuple of str
    rows : array (N,) of int
        Where they stand among the datasets of a shard.
    index : array (n,) of int
    response : array (N, n, nb)
    line, empty : array (N, n)
    fixed : array (N, nb)
    statistic : dataclass of arrays (N, nb)
    constant : array (N,)
    """

    names: tuple[str, ...]
    rows: Ints
    index: Ints
    response: Floats
    line: Floats
    empty: Floats
    fixed: Floats
    statistic: BinStatistic
    constant: Floats

    @classmethod
    def of(cls, datasets: Sequence[CondensedBins], rows: Ints) -> Self:
        """Datasets of one `CondensedBins.kind`."""
        first = datasets[0]
        kind = type(first.statistic)
        statistic = kind(
            *(np.stack([getattr(one.statistic, field.name) for one in datasets]) for field in fields(kind))
        )
        return cls(
            tuple(one.name for one in datasets),
            rows,
            first.index,
            np.stack([one.response for one in datasets]),
            np.stack([one.line for one in datasets]),
            np.stack([one.empty for one in datasets]),
            np.stack([one.fixed for one in datasets]),
            statistic,
            np.array([one.constant for one in datasets]),
        )

    @property
    def squares_nbytes(self) -> int:
        """Bytes of the second derivatives at one point."""
        return max(8 * len(self.rows) * len(self.index) ** 2, 1)

    def evaluate(self, points: Floats, order: int) -> ReplyRows:
        """Statistic and derivatives at points (P, Z), dataset by dataset."""
        begin = time.perf_counter()
        number, n, p = len(self.rows), len(self.index), len(points)
        variable = np.empty((number, p))
        gradient = np.zeros((number, p, n if order else 0))
        square = np.zeros((number, p, n * (n + 1) // 2 if order == 2 else 0))
        rows, columns = upper_triangle(n)
        upper = rows * n + columns
        # Points one after the other: as many as may be asked together, the bits of each are the same.
        for i, point in enumerate(points):
            score, curvature, variable[:, i] = self._at(point)
            possible = np.isfinite(variable[:, i])
            if order:
                slope = np.matmul(self.response, score[:, :, None])[:, :, 0]
                gradient[:, i] = np.where(possible[:, None], self.line + slope, 0.0)
            if order == 2:
                whole = self._square(np.where(possible[:, None], curvature, 0.0))
                square[:, i] = whole.reshape(number, -1).take(upper, axis=1)
        empty = np.repeat(self.empty[:, None], p, axis=1) if order == 2 else None
        return ReplyRows(
            rows=self.rows,
            index=self.index,
            spatial=np.zeros(0, dtype=np.intp),
            constant=self.constant,
            variable=variable,
            gradient=gradient,
            gauss_newton=square,
            second_order=np.zeros((number, p, 0, n)),
            invalid=(~np.isfinite(variable)).astype(np.intp),
            at_limit=np.zeros((number, p), dtype=np.intp),
            empty_gradient=empty,
            datasets=number,
            seconds=time.perf_counter() - begin,
        )

    def _square(self, curvature: Floats) -> Floats:
        """``T h T^T`` (N, n, n) for curvatures (N, nb)."""
        if self.statistic.convex:  # a matrix by its own transpose: half the work
            weighted = self.response * np.sqrt(curvature)[:, None, :]
            return np.asarray(np.matmul(weighted, weighted.swapaxes(1, 2)))
        weighted = self.response * curvature[:, None, :]
        return np.asarray(np.matmul(weighted, self.response.swapaxes(1, 2)))

    def _at(self, point: Floats) -> tuple[Floats, Floats, Floats]:
        """Score and curvature (N, nb), and the statistic (N,), infinite where it has no value."""
        own = point[self.index]
        usable = bool(np.isfinite(own).all())
        own = own if usable else np.zeros(len(own))
        predicted = self.fixed + np.matmul(own, self.response)
        value, score, curvature = self.statistic.expand(predicted)
        variable = value.sum(axis=1) + np.matmul(self.line, own)
        if not usable:
            variable = np.full(len(variable), np.inf)
        return score, curvature, np.where(np.isnan(variable), np.inf, variable)

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """The statistic of each at one point (Z,)."""
        variable = self._at(point)[2]
        nothing, none = np.zeros(0), np.zeros((0, len(self.index)))
        return tuple(
            NuisanceState(
                dataset=name,
                stat=stat,
                parameters=(),
                values=nothing,
                inverse_hessian=np.zeros((0, 0)),
                index=self.index,
                response=none,
                at_limit=np.zeros(0, dtype=np.intp),
                undetermined=np.zeros(0, dtype=np.bool_),
            )
            for name, stat in zip(self.names, (self.constant + variable).tolist(), strict=True)
        )
