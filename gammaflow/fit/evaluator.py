"""Who answers a fit's questions: the condensed datasets, here or on workers.

A fit sees an `Evaluator` and nothing else. `local_evaluator` condenses the datasets in this
process. What runs elsewhere registers a way to make an evaluator from its kind of client
(`register_client`), so that `Fit.run(datasets, client=client)` finds it, and this room needs to
know of no scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import CountsDataset, Dataset, FluxPointsDataset
from gammaflow.errors import FitError, GammaflowError
from gammaflow.fit.problem import FitDataset, Problem
from gammaflow.likelihood import (
    AnchorCheck,
    CondensedInfo,
    ImageOptions,
    Layout,
    NuisanceState,
    Reply,
    Request,
    Shard,
    WStat,
    condense,
    mask_of,
    npred_background,
    npred_signal,
    one_blas_thread,
    statistic_of,
)
from gammaflow.modeling import FoVBackgroundModel, SkyModel

#: What describes one dataset.
DatasetModels = tuple[SkyModel | FoVBackgroundModel, ...]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FullCheck:
    """What the sum over every bin of a dataset says about a solution with something negative in it.

    Parameters
    ----------
    dataset : str
    stat : float
        The statistic of all bins, without priors; predictions below 1e-25 count as that (Gammapy's rule).
    negative_bins : int
        Bins of the fit whose prediction is below zero.
    with_counts : int
        How many of them have counts.
    """

    dataset: str
    stat: float
    negative_bins: int
    with_counts: int


class Evaluator(Protocol):
    """The datasets of a fit, condensed at one anchor. Replies come in the same bits, however the work is spread."""

    def evaluate(self, request: Request) -> Reply:
        """The sum over all datasets, in their order."""

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """What each dataset finds for its own parameters at one point (Z,), in their order."""

    def check(self, point: Floats) -> tuple[AnchorCheck, ...]:
        """Whether the frozen geometry still serves at one point (Z,)."""

    def info(self) -> tuple[CondensedInfo, ...]:
        """What was condensed, dataset by dataset."""

    def full_check(self, problem: Problem) -> tuple[FullCheck, ...]:
        """The sum over every bin with the models as they stand, dataset by dataset."""

    def close(self) -> None:
        """Let go of what is held."""


class EvaluatorFactory(Protocol):
    """Condenses the datasets of a problem with its models as they stand: their positions become the anchors."""

    def __call__(self, problem: Problem, options: ImageOptions | None) -> Evaluator:
        """Make an evaluator."""


class LocalEvaluator:
    """Datasets condensed in this process, read one at a time where they are on disk.

    Parameters
    ----------
    problem : Problem
        Its datasets are in memory, or references with a method ``load``.
    options : ImageOptions, optional
    """

    def __init__(self, problem: Problem, options: ImageOptions | None = None) -> None:
        self._options = options
        self._shard = condensed_shard(problem.datasets, _models(problem), problem.layout, options)

    def evaluate(self, request: Request) -> Reply:
        """The sum over all datasets, in their order."""
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
        return full_checks(problem.datasets, _models(problem), self._options)

    def close(self) -> None:
        """Nothing to let go of: the memory goes with the object."""


def local_evaluator(problem: Problem, options: ImageOptions | None) -> LocalEvaluator:
    """Condense in this process."""
    return LocalEvaluator(problem, options)


def _models(problem: Problem) -> list[DatasetModels]:
    return [tuple(problem.models_of(dataset)) for dataset in problem.datasets]


def condensed_shard(
    datasets: Sequence[FitDataset],
    models: Sequence[DatasetModels],
    layout: Layout,
    options: ImageOptions | None = None,
) -> Shard:
    """Datasets condensed, one after the other; on workers, too.

    Parameters
    ----------
    datasets : sequence of FitDataset
        In memory, or references that are loaded one at a time.
    models : sequence of tuple of models
        What describes each dataset.
    layout : Layout
    options : ImageOptions, optional

    Raises
    ------
    GammaflowError
        A dataset cannot be read or condensed; with its name.
    """
    condensed = []
    for dataset, own in zip(datasets, models, strict=True):
        loaded = _loaded(dataset)
        try:
            with one_blas_thread():
                condensed.append(condense(loaded, own, layout, options))
        except GammaflowError as error:
            raise error if loaded.name in str(error) else error.at(f"dataset {loaded.name}") from None
    return Shard(condensed)


def full_checks(
    datasets: Sequence[FitDataset], models: Sequence[DatasetModels], options: ImageOptions | None = None
) -> tuple[FullCheck, ...]:
    """The sum over every bin, dataset by dataset, with the models as they stand."""
    with one_blas_thread():
        return tuple(
            full_check(_loaded(dataset), own, options) for dataset, own in zip(datasets, models, strict=True)
        )


def full_check(dataset: Dataset, models: DatasetModels, options: ImageOptions | None = None) -> FullCheck:
    """Sum over every bin of a dataset with the models as they stand, predictions below zero included.

    Flux points may be predicted below zero: of them nothing is counted.
    """
    if isinstance(dataset, FluxPointsDataset):
        shown = dataset.copy()
        shown.models = list(models)
        return FullCheck(dataset.name, shown.stat_sum(), 0, 0)
    assert isinstance(dataset, CountsDataset)  # anything else could not have been condensed
    predicted, statistic = npred_signal(dataset, models, options), statistic_of(dataset)
    if isinstance(statistic, WStat):
        negative = statistic.nothing_left(predicted)
        counts = statistic.on
    else:
        predicted = predicted + npred_background(dataset, models)
        negative, counts = predicted < 0, statistic.counts
    mask = mask_of(dataset)
    negative &= mask
    return FullCheck(
        dataset.name,
        float(statistic.value(predicted)[mask].sum()),
        int(np.count_nonzero(negative)),
        int(np.count_nonzero(negative & (counts > 0))),
    )


def _loaded(dataset: FitDataset) -> Dataset:
    """The dataset that a reference stands for."""
    if isinstance(dataset, Dataset):
        return dataset
    load = getattr(dataset, "load", None)
    if load is None:
        raise FitError(
            f"a {type(dataset).__name__} cannot be condensed in this process",
            where=f"dataset {getattr(dataset, 'name', dataset)!r}",
            hint="Read it into a dataset, or give the client whose workers can",
        )
    loaded = load()
    assert isinstance(loaded, Dataset)
    return loaded


# --- clients -----------------------------------------------------------------------------------------------

_CLIENTS: dict[str, Callable[[object], EvaluatorFactory]] = {}


def register_client(package: str, factory_of: Callable[[object], EvaluatorFactory]) -> None:
    """Say how evaluators are made for the clients of a package.

    Parameters
    ----------
    package : str
        Top-level package in which the class of the client, or a base of it, is defined.
    factory_of : callable
        Takes the client, gives the factory.
    """
    _CLIENTS[package] = factory_of


def factory_for(client: object | None) -> EvaluatorFactory:
    """The factory for a client: None means here; an `EvaluatorFactory` is taken as it is.

    Raises
    ------
    FitError
        When nobody has registered for this kind of client.
    """
    if client is None:
        return local_evaluator
    for kind in type(client).__mro__:
        package = kind.__module__.partition(".")[0]
        if package in _CLIENTS:
            return _CLIENTS[package](client)
    if callable(client):
        return cast(EvaluatorFactory, client)
    known = ", ".join(sorted(_CLIENTS)) or "none yet"
    raise FitError(
        f"nobody knows how to fit with a {type(client).__module__}.{type(client).__qualname__}",
        where="client",
        hint=f"Kinds of clients known: {known}; `import gammaflow.dag` makes Dask's known",
    )
