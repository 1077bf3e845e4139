"""Some condensed datasets that are asked together: their answers are added up where they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.blas_threads import one_blas_thread
from gammaflow.likelihood.condensed_bins import CondensedBins, Stack
from gammaflow.likelihood.protocol import AnchorCheck, Condensed, CondensedInfo, NuisanceState, Reply, Request
from gammaflow.likelihood.sums import ReplyRows, joined, total_of_rows

Floats = NDArray[np.float64]

#: So many points are evaluated before they are summed: the answers of all datasets to all points may be large.
POINTS_AT_A_TIME = 16
#: The same in bytes, of the second derivatives before the sum.
BYTES_AT_A_TIME = 1 << 26


class Shard:
    """Condensed datasets, and what a fit asks of them. The answers do not depend on who else is in the shard.

    Datasets without parameters of their own (`CondensedBins`), spectra above all, are evaluated together, as many as
    are alike: one by one the calls of numpy would take most of the time.

    Parameters
    ----------
    datasets : sequence of Condensed
    """

    def __init__(self, datasets: Sequence[Condensed] = ()) -> None:
        self.datasets = tuple(datasets)
        self._lock = threading.Lock()
        alike: dict[object, list[int]] = {}
        self._singles: list[int] = []
        for row, dataset in enumerate(self.datasets):
            if isinstance(dataset, CondensedBins):
                alike.setdefault(dataset.kind, []).append(row)
            else:
                self._singles.append(row)
        self._stacks = [
            Stack.of([self._bins(row) for row in rows], np.array(rows, dtype=np.intp))
            for rows in alike.values()
        ]

    def _bins(self, row: int) -> CondensedBins:
        dataset = self.datasets[row]
        assert isinstance(dataset, CondensedBins)  # the rows of a stack are chosen by it
        return dataset

    def evaluate(self, request: Request) -> Reply:
        """The sum over the datasets, folded in their order; see `gammaflow.likelihood.sums`."""
        begin = time.perf_counter()
        blocks = []
        with self._alone():
            for start in range(0, len(request.points), POINTS_AT_A_TIME):
                points = request.points[start : start + POINTS_AT_A_TIME]
                blocks += self._block(replace(request, points=points))
        return replace(joined(blocks), seconds=time.perf_counter() - begin)

    def _block(self, request: Request) -> list[Reply]:
        """Sums at a few points; in several pieces when they are large."""
        parts = [ReplyRows.of(self.datasets[row].evaluate(request), row) for row in self._singles]
        if request.basis is not None:  # rarely asked for: the change of coordinates comes before the sum
            parts += [
                ReplyRows.of(self.datasets[row].evaluate(request), int(row))
                for stack in self._stacks
                for row in stack.rows
            ]
            return [total_of_rows(parts, len(self.datasets))]
        largest = max((stack.squares_nbytes for stack in self._stacks), default=1)
        step = max(1, BYTES_AT_A_TIME // largest) if request.order == 2 else len(request.points)
        found = []
        for first in range(0, len(request.points), step):
            piece = slice(first, first + step)
            there = [stack.evaluate(request.points[piece], request.order) for stack in self._stacks]
            found.append(total_of_rows([*(part.at(piece) for part in parts), *there], len(self.datasets)))
        return found

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """What each dataset finds for its own parameters at one point (Z,), in their order."""
        with self._alone():
            together: dict[int, NuisanceState] = {}
            for stack in self._stacks:
                together.update(zip(stack.rows.tolist(), stack.nuisances(point), strict=True))
            return tuple(
                state
                for row, dataset in enumerate(self.datasets)
                for state in ((together[row],) if row in together else dataset.nuisances(point))
            )

    def check(self, point: Floats) -> tuple[tuple[AnchorCheck, ...], ...]:
        """Whether the frozen geometry still serves at one point (Z,), dataset by dataset."""
        with self._alone():
            return tuple(dataset.check(point) for dataset in self.datasets)

    def info(self) -> tuple[CondensedInfo, ...]:
        """What was condensed."""
        return tuple(dataset.info for dataset in self.datasets)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The scratch arrays of a dataset serve one thread at a time; and matrix products are made by one."""
        with self._lock, one_blas_thread():
            yield

    def __sizeof__(self) -> int:
        # What Dask goes by when it weighs moving a shard against waiting for its worker.
        return object.__sizeof__(self) + sum(info.nbytes for info in self.info())

    def __getstate__(self) -> dict[str, Any]:
        return {"datasets": self.datasets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["datasets"])  # type: ignore[misc]  # locks do not travel, stacks are made again
