"""Shards of a fit: some of its datasets, condensed where they are evaluated.

A shard is the value of a pure function, `load_shard` of a `ShardSpec`: if the process that holds it dies, the same
shard is made again elsewhere, and every answer has the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

from gammaflow.dag.faults import fault_point
from gammaflow.dag.fit_datasets import StoredDataset
from gammaflow.datasets import Dataset
from gammaflow.errors import FitError
from gammaflow.fit import FullCheck, Problem
from gammaflow.fit.evaluator import DatasetModels, condensed_shard, full_checks
from gammaflow.likelihood import ImageOptions, Layout, Reply, Request, Shard
from gammaflow.likelihood.sums import deal


@dataclass(frozen=True, eq=False)
class ShardSpec:
    """Everything that a shard is made of.

    Parameters
    ----------
    name : str
        For messages, and for faults on demand.
    datasets : tuple of StoredDataset or Dataset
        Those of a run travel by reference; those in memory travel whole.
    models : tuple of tuple of models
        What describes each dataset, as it stands: positions are anchors.
    layout : Layout
        Shared coordinates of the fit.
    options : ImageOptions or None
        How predicted counts are made.
    """

    name: str
    datasets: tuple[StoredDataset | Dataset, ...]
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
    described: list[tuple[StoredDataset | Dataset, DatasetModels]] = []
    for dataset in problem.datasets:
        if not isinstance(dataset, StoredDataset | Dataset):
            raise FitError(
                f"a {type(dataset).__name__} cannot be sent to workers",
                where=f"dataset {dataset.name!r}",
                hint="Give a dataset, or a reference to one in a run folder",
            )
        described.append((dataset, tuple(problem.models_of(dataset))))
    return tuple(
        ShardSpec(
            f"shard-{number}",
            tuple(dataset for dataset, _ in hand),
            tuple(models for _, models in hand),
            problem.layout,
            options,
        )
        for number, hand in enumerate(deal(described, threads))
    )


def load_shard(spec: ShardSpec) -> Shard:
    """Read the datasets of a shard and condense them, one after the other.

    Raises
    ------
    GammaflowError
        A dataset cannot be read, is not what its receipt says, or cannot be condensed; with its name.
    """
    fault_point("fit_load", spec.name)
    return condensed_shard(spec.datasets, spec.models, spec.layout, spec.options)


def evaluate_shard(shard: Shard, name: str, request: Request) -> Reply:
    """One step of a fit on one shard."""
    fault_point("fit_step", name)
    return shard.evaluate(request)


def check_shard(spec: ShardSpec) -> tuple[FullCheck, ...]:
    """The sum over every bin, dataset by dataset, with the models as they stand in the specification."""
    return full_checks(spec.datasets, spec.models, spec.options)
