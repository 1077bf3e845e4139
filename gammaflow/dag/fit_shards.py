"""Shards of a fit: some of its datasets, condensed where they are evaluated.

A shard is the value of a pure function, `load_shard` of a `ShardSpec`: if the process that holds it dies, the same
shard is made again elsewhere, and every answer has the same bits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.dag import fit_sums
from gammaflow.dag.blas_threads import one_blas_thread
from gammaflow.dag.faults import fault_point
from gammaflow.dag.fit_datasets import StoredDataset
from gammaflow.datasets import MapDataset
from gammaflow.errors import FitError, GammaflowError
from gammaflow.fit import FullCheck, Problem, full_check
from gammaflow.likelihood import (
    AnchorCheck,
    CondensedDataset,
    CondensedInfo,
    ImageOptions,
    Layout,
    NuisanceState,
    Reply,
    Request,
    condense,
)
from gammaflow.modeling import FoVBackgroundModel, SkyModel

Floats = NDArray[np.float64]
DatasetModels = tuple[SkyModel | FoVBackgroundModel, ...]

POINTS_AT_A_TIME = 16
"""So many points are evaluated before they are summed: the answers of all datasets to all points may be large."""


@dataclass(frozen=True, eq=False)
class ShardSpec:
    """Everything that a shard is made of.

    Parameters
    ----------
    name : str
        For messages, and for faults on demand.
    datasets : tuple of StoredDataset or MapDataset
        Those of a run travel by reference; those in memory travel whole.
    models : tuple of tuple of models
        What describes each dataset, as it stands: positions are anchors.
    layout : Layout
        Shared coordinates of the fit.
    options : ImageOptions or None
        How predicted counts are made.
    """

    name: str
    datasets: tuple[StoredDataset | MapDataset, ...]
    models: tuple[DatasetModels, ...]
    layout: Layout
    options: ImageOptions | None = None


def shards_of(problem: Problem, options: ImageOptions | None, threads: int) -> tuple[ShardSpec, ...]:
    """The datasets of a fit dealt into shards, one or two for each thread.

    Raises
    ------
    FitError
        A dataset is neither in memory nor in a run folder.
    """
    sources = problem.models.sky_models
    backgrounds = problem.models.background_models
    described: list[tuple[StoredDataset | MapDataset, DatasetModels]] = []
    for dataset in problem.datasets:
        if not isinstance(dataset, StoredDataset | MapDataset):
            raise FitError(
                f"a {type(dataset).__name__} cannot be sent to workers",
                where=f"dataset {dataset.name!r}",
                hint="Give a MapDataset, or a reference to one in a run folder",
            )
        own: list[SkyModel | FoVBackgroundModel] = [m for m in sources if m.belongs_to(dataset.name)]
        if dataset.name in backgrounds:
            own.append(backgrounds[dataset.name])
        described.append((dataset, tuple(own)))
    return tuple(
        ShardSpec(
            f"shard-{number}",
            tuple(dataset for dataset, _ in hand),
            tuple(models for _, models in hand),
            problem.layout,
            options,
        )
        for number, hand in enumerate(fit_sums.deal(described, threads))
    )


class LoadedShard:
    """Condensed datasets, and what a fit asks of them.

    Parameters
    ----------
    datasets : sequence of CondensedDataset
    """

    def __init__(self, datasets: Sequence[CondensedDataset]) -> None:
        self.datasets = tuple(datasets)
        self._lock = threading.Lock()

    def evaluate(self, request: Request) -> Reply:
        """The sum over the datasets, folded in their order; see `fit_sums`."""
        begin = time.perf_counter()
        blocks = []
        with self._alone():
            for start in range(0, len(request.points), POINTS_AT_A_TIME):
                points = request.points[start : start + POINTS_AT_A_TIME]
                part = Request(points, request.order, request.basis)
                blocks.append(fit_sums.total([dataset.evaluate(part) for dataset in self.datasets]))
        return replace(fit_sums.joined(blocks), seconds=time.perf_counter() - begin)

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """What each dataset finds for its own parameters at one point (Z,)."""
        with self._alone():
            return tuple(state for dataset in self.datasets for state in dataset.nuisances(point))

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
        self.datasets = state["datasets"]
        self._lock = threading.Lock()


def load_shard(spec: ShardSpec) -> LoadedShard:
    """Read the datasets of a shard and condense them, one after the other.

    Raises
    ------
    GammaflowError
        A dataset cannot be read, is not what its receipt says, or cannot be condensed; with its name.
    """
    fault_point("fit_load", spec.name)
    condensed = []
    for dataset, models in zip(spec.datasets, spec.models, strict=True):
        loaded = dataset if isinstance(dataset, MapDataset) else dataset.load()
        try:
            with one_blas_thread():
                condensed.append(condense(loaded, models, spec.layout, spec.options))
        except GammaflowError as error:
            raise error if loaded.name in str(error) else error.at(f"dataset {loaded.name}") from None
    return LoadedShard(condensed)


def evaluate_shard(shard: LoadedShard, name: str, request: Request) -> Reply:
    """One step of a fit on one shard."""
    fault_point("fit_step", name)
    return shard.evaluate(request)


def check_shard(spec: ShardSpec) -> tuple[FullCheck, ...]:
    """The sum over every bin, dataset by dataset, with the models as they stand in the specification."""
    with one_blas_thread():
        return tuple(
            full_check(dataset if isinstance(dataset, MapDataset) else dataset.load(), models, spec.options)
            for dataset, models in zip(spec.datasets, spec.models, strict=True)
        )


class SerialEvaluator:
    """The datasets of a fit condensed in this process, read one at a time: the evaluator without Dask.

    Parameters
    ----------
    problem : Problem
        Its datasets are in memory or in a run folder.
    options : ImageOptions, optional
    """

    def __init__(self, problem: Problem, options: ImageOptions | None = None) -> None:
        self._options = options
        (spec,) = shards_of(problem, options, threads=1)
        self._shard = load_shard(spec)

    def evaluate(self, request: Request) -> Reply:
        """The sum over all datasets, in the same bits as on any number of workers."""
        return self._shard.evaluate(request)

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """What each dataset finds for its own parameters at one point (Z,)."""
        return self._shard.nuisances(point)

    def check(self, point: Floats) -> tuple[AnchorCheck, ...]:
        """Whether the frozen geometry still serves at one point (Z,)."""
        return tuple(found for checks in self._shard.check(point) for found in checks)

    def info(self) -> tuple[CondensedInfo, ...]:
        """What was condensed."""
        return self._shard.info()

    def full_check(self, problem: Problem) -> tuple[FullCheck, ...]:
        """The sum over every bin with the models as they stand."""
        (spec,) = shards_of(problem, self._options, threads=1)
        return check_shard(spec)

    def close(self) -> None:
        """Nothing to let go of: the memory goes with the object."""
