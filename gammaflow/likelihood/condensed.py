"""The exact condensed likelihood of one map dataset, or of a spectrum whose background has free parameters.

    F = 2 [ sum_s S_s . Ttot_s + sum_e phi_e Btot_e ] - 2 sum_b n_b ln mu_b - 2 sum_e Nout_e ln phi_e - const

b: *active* bins, those with counts inside a source's window. All others enter through totals: a bin
without counts adds its prediction, a bin outside the windows is background alone. Nothing is approximated:
the difference to the sum over all bins is rounding. mu_b = phi_e B_b + sum_s sum_k T_bk S_k is linear in
the fluxes, ``T_bk = R_ke exposure_k[p] I_k[p]``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.active_bins import Profile
from gammaflow.likelihood.condensed_source import CondensedSource, MovedTerm, MovingSource, SourceTerm
from gammaflow.likelihood.nuisance import Background
from gammaflow.likelihood.protocol import AnchorCheck, CondensedInfo, NuisanceState, Reply, Request, pack
from gammaflow.likelihood.wstat_bins import WstatBins

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

#: Points that are evaluated together.
POINTS_AT_A_TIME = 16


class CondensedDataset:
    """A dataset reduced to what its likelihood needs. Made by `condense`.

    Evaluations are pure functions of the point, apart from caches; one dataset must not be evaluated by
    two threads at once.

    Parameters
    ----------
    name : str
    background : Background or WstatBins
    sources : sequence of CondensedSource
    shared : array (p,) of int
        The shared coordinate of each free background parameter, -1 for a local one.
    constant : float
        Part of the statistic that no parameter changes.
    info : CondensedInfo
    """

    def __init__(
        self,
        name: str,
        background: Background | WstatBins,
        sources: Sequence[CondensedSource],
        shared: Ints,
        constant: float,
        info: CondensedInfo,
    ) -> None:
        self.name = name
        self.background = background
        self.sources = tuple(sources)
        self.shared = shared
        self.constant = constant
        self.info = info
        own = [source.coordinates for source in self.sources]
        self._columns = np.cumsum([0, *(len(c) for c in own)])
        used = shared[shared >= 0]
        everything = (
            np.concatenate([*own, used]).astype(np.intp) if own or len(used) else np.zeros(0, np.intp)
        )
        # replies list the coordinates in ascending order
        self._order = np.argsort(everything, kind="stable")
        self._in_order = bool((self._order == np.arange(len(everything))).all())
        self.index = everything[self._order]
        self._bin_energy = background.bins.energy
        self._overlaps = self._find_overlaps()

    @property
    def bins(self) -> int:
        """Active bins."""
        return len(self.background.bins.counts)

    def _find_overlaps(self) -> dict[tuple[int, int], tuple[Ints, Ints]]:
        """For each pair of sources the positions, in each one's rows, of the bins they share."""
        found = {}
        for a, first in enumerate(self.sources):
            for b, second in enumerate(self.sources[:a]):
                _, in_first, in_second = np.intersect1d(
                    first.rows, second.rows, assume_unique=True, return_indices=True
                )
                if len(in_first):
                    found[a, b] = (in_first, in_second)
        return found

    # --- the protocol ------------------------------------------------------------------------------------

    def evaluate(self, request: Request) -> Reply:
        """The statistic and its derivatives at the points of a request."""
        begin = time.perf_counter()
        parts = [
            self._evaluate(request.points[i : i + POINTS_AT_A_TIME], request.order)
            for i in range(0, len(request.points), POINTS_AT_A_TIME)
        ]
        arrays = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        reply = Reply(
            index=self.index,
            constant=self.constant,
            variable=arrays[0],
            gradient=arrays[1],
            gauss_newton=arrays[2],
            spatial=self._spatial_places if request.order == 2 else np.zeros(0, np.intp),
            second_order=arrays[3] if request.order == 2 else np.zeros((len(arrays[0]), 0, len(self.index))),
            invalid=arrays[4],
            at_limit=arrays[5],
            empty_gradient=arrays[6] if request.order == 2 else None,
            seconds=time.perf_counter() - begin,
        )
        return reply if request.basis is None or request.order == 0 else reply.along(request.basis)

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """The local parameters at one point (Z,)."""
        _, profile, variable, _, jacobian = self._at(np.atleast_2d(point), order=2)
        inside, local = profile.inside[0], self.background.local
        p = int(local.sum())
        inverse = np.zeros((p, p))
        response = np.zeros((p, len(self.index)))
        variable_at = self.constant + variable[0]
        free = np.flatnonzero(inside)
        if len(free) and np.isfinite(variable_at):
            rows = np.flatnonzero(inside[local])
            inverse[np.ix_(rows, rows)] = np.linalg.inv(profile.inner.hessian[0][np.ix_(free, free)])
            cross = self._cross(jacobian[0], profile, 0)[:, free]
            response[rows] = -(inverse[np.ix_(rows, rows)] @ cross.T)
        names = tuple(
            name for name, is_local in zip(self.background.factor.names, local, strict=True) if is_local
        )
        return (
            NuisanceState(
                dataset=self.name,
                stat=float(variable_at),
                parameters=names,
                values=profile.values[0][local],
                inverse_hessian=inverse,
                index=self.index,
                response=response,
                at_limit=profile.at_limit[0][local],
                undetermined=(local & ~inside & (profile.at_limit[0] == 0))[local],
            ),
        )

    def check(self, point: Floats) -> tuple[AnchorCheck, ...]:
        """Whether the frozen geometry still serves at one point (Z,)."""
        found = []
        for source in self.sources:
            if not isinstance(source, MovingSource):
                continue
            drift, reason = source.image.check(point[source.spatial])
            found.append(AnchorCheck(self.name, source.name, drift, not reason, reason))
        return tuple(found)

    # --- evaluation ----------------------------------------------------------------------------------------

    def _evaluate(self, points: Floats, order: int) -> tuple[NDArray[np.generic], ...]:
        """Statistic (P,), gradient, Hessian (packed), second order, invalid bins, parameters at limits."""
        terms, profile, variable, invalid, jacobian = self._at(points, order)
        n, p = len(self.index), len(points)
        r = sum(source.spatial_count for source in self.sources)
        gradient = np.zeros((p, n if order else 0))
        square = np.zeros((p, n * (n + 1) // 2 if order == 2 else 0))
        second = np.zeros((p, r if order == 2 else 0, n))
        empty = np.zeros((p, n if order == 2 else 0))
        for i in range(p):
            if order and np.isfinite(variable[i]):
                gradient[i], extra = self._gradient(terms[i], profile, points[i], i, order)
                if order == 2:
                    square[i] = pack(self._gauss_newton(jacobian[i], profile, i))
                    second[i] = extra
                    empty[i] = self._empty_gradient(terms[i])
        return variable, gradient, square, second, invalid, np.abs(profile.at_limit).sum(axis=1), empty

    def _at(
        self, points: Floats, order: int
    ) -> tuple[list[list[SourceTerm]], Profile, Floats, Ints, list[list[Floats]]]:
        """Terms of the sources, profiled nuisances, variable part of the statistic, invalid bins, and J of
        each source.
        """
        count = len(points)
        signal = np.zeros((count, self.bins))
        total = np.zeros(count)
        lost = np.zeros(count, dtype=np.bool_)
        terms: list[list[SourceTerm]] = [[] for _ in range(count)]
        for source in self.sources:
            fluxes = points[:, source.flux]
            if not isinstance(source, MovingSource):
                term = source.term(points[0], order)
                signal[:, source.rows] += fluxes @ term.counts
                total += fluxes @ term.total
                for at_point in terms:
                    at_point.append(term)
                continue
            for i, point in enumerate(points):
                if not np.isfinite(point[source.spatial]).all():
                    lost[i], point = True, np.nan_to_num(point)
                    point[source.spatial] = source.image.start
                moved = source.term(point, order)
                terms[i].append(moved)
                signal[i, source.rows] += fluxes[i] @ moved.counts
                total[i] += fluxes[i] @ moved.total
        lost |= ~np.isfinite(total) | ~np.isfinite(signal).all(axis=1)
        signal[lost], total[lost] = 0.0, 0.0
        shared = np.where(
            self.shared >= 0, points[:, np.maximum(self.shared, 0)] if points.shape[1] else 0.0, 0.0
        )
        profile = self.background.profile(signal, total, shared)
        variable = 2.0 * total + profile.inner.value
        variable[lost] = np.inf
        invalid = np.where(lost, max(self.bins, 1), profile.inner.invalid)
        jacobian: list[list[Floats]] = [[] for _ in range(count)]
        if order == 2:
            for i in range(count):
                if not np.isfinite(variable[i]):
                    continue
                for source, term in zip(self.sources, terms[i], strict=True):
                    own = term.counts
                    if isinstance(source, MovingSource) and isinstance(term, MovedTerm):
                        own = np.concatenate([own, source.slopes(term, points[i, source.flux])])
                    jacobian[i].append(own)
        return terms, profile, variable, invalid, jacobian

    def _empty_gradient(self, terms: Sequence[SourceTerm]) -> Floats:
        """What the gradient by the fluxes would be without counts (n,)."""
        out = np.zeros(len(self.index))
        for term, column in zip(terms, self._columns[:-1], strict=True):
            out[column : column + len(term.total)] = 2.0 * term.total
        return out[self._order]

    def _gradient(
        self, terms: Sequence[SourceTerm], profile: Profile, point: Floats, number: int, order: int
    ) -> tuple[Floats, Floats]:
        """Gradient (n,), and the second-order rows (r, n) of the spatial parameters."""
        ratio = profile.inner.ratio[number]
        gradient = np.zeros(self._columns[-1] + np.count_nonzero(self.shared >= 0))
        gradient[self._columns[-1] :] = profile.inner.gradient[number][self.shared >= 0]
        rows: list[Floats] = []
        for source, term, column in zip(self.sources, terms, self._columns[:-1], strict=True):
            k, r = source.energies, source.spatial_count
            gradient[column : column + k] = 2.0 * (term.total - term.counts @ ratio[source.rows])
            if not (isinstance(source, MovingSource) and isinstance(term, MovedTerm)):
                continue
            fluxes = point[source.flux]
            crossed, curved = source.derivatives(term, ratio, fluxes, order)
            gradient[column + k : column + k + r] = 2.0 * (crossed @ fluxes)
            if order == 2:
                own = np.zeros((r, len(gradient)))
                own[:, column : column + k] = 2.0 * crossed
                own[:, column + k : column + k + r] = 2.0 * curved
                rows.append(own)
        second = np.concatenate(rows)[:, self._order] if rows else np.zeros((0, len(gradient)))
        if len(second):
            second = second[np.argsort(self._spatial_coordinates, kind="stable")]
        return gradient[self._order], second

    @cached_property
    def _spatial_coordinates(self) -> Ints:
        """Shared coordinates of the spatial parameters, source by source."""
        parts = [source.coordinates[source.energies :] for source in self.sources]
        return np.concatenate(parts).astype(np.intp) if parts else np.zeros(0, np.intp)

    @cached_property
    def _spatial_places(self) -> Ints:
        return np.searchsorted(self.index, np.sort(self._spatial_coordinates)).astype(np.intp)

    def _gauss_newton(self, jacobian: Sequence[Floats], profile: Profile, number: int) -> Floats:
        """``J^T h J`` with the local parameters eliminated, (n, n) in the order of ``index``."""
        curvature = profile.inner.curvature[number]
        fluxes = int(self._columns[-1])
        used = self.shared >= 0
        square = np.zeros((fluxes + np.count_nonzero(used),) * 2)
        for a, (source, own) in enumerate(zip(self.sources, jacobian, strict=True)):
            here = slice(self._columns[a], self._columns[a + 1])
            # the square root keeps the product symmetric to the last bit
            weighted = own * np.sqrt(curvature[source.rows])
            square[here, here] = weighted @ weighted.T
            for b in range(a):
                if (a, b) in self._overlaps:
                    first, second = self._overlaps[a, b]
                    there = slice(self._columns[b], self._columns[b + 1])
                    block = (own[:, first] * curvature[source.rows[first]]) @ jacobian[b][:, second].T
                    square[here, there] = block
                    square[there, here] = block.T
        if len(self.shared):
            cross = self._cross(jacobian, profile, number, ordered=False)
            hessian, inside = profile.inner.hessian[number], profile.inside[number]
            if used.any():
                square[:fluxes, fluxes:] = cross[:fluxes, used]
                square[fluxes:, :fluxes] = cross[:fluxes, used].T
                square[fluxes:, fluxes:] = hessian[np.ix_(used, used)]
            if inside.any():
                coupling = cross if inside.all() else cross[:, inside]
                own = hessian if inside.all() else hessian[np.ix_(inside, inside)]
                square -= coupling @ np.linalg.solve(own, coupling.T)
        return square if self._in_order else square[np.ix_(self._order, self._order)]

    def _cross(
        self, jacobian: Sequence[Floats], profile: Profile, number: int, ordered: bool = True
    ) -> Floats:
        """Second derivatives by the coordinates and by all free background parameters, (n, p)."""
        curvature = profile.inner.curvature[number]
        slope = profile.inner.first[number][:, self._bin_energy] * (
            curvature * self.background.bins.background
        )
        used = self.shared >= 0
        rows = [own @ slope[:, source.rows].T for source, own in zip(self.sources, jacobian, strict=True)]
        rows.append(profile.inner.hessian[number][used])
        cross = np.concatenate(rows)
        return cross[self._order] if ordered else cross
