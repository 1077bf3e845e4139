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

from gammaflow.datasets import MapDataset
from gammaflow.errors import FitError
from gammaflow.fit.problem import FitDataset, Problem
from gammaflow.likelihood import (
    AnchorCheck,
    Cash,
    CondensedInfo,
    ImageOptions,
    NuisanceState,
    Reply,
    Request,
    Shard,
    condense,
    mask_of,
    npred_background,
    npred_signal,
)
from gammaflow.modeling import FoVBackgroundModel, SkyModel

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
    """Datasets condensed in this process.

    Parameters
    ----------
    problem : Problem
        Its datasets are `MapDataset`.
    options : ImageOptions, optional
    """

    def __init__(self, problem: Problem, options: ImageOptions | None = None) -> None:
        self._datasets = tuple(_map_dataset(dataset) for dataset in problem.datasets)
        self._options = options
        condensed = [condense(d, problem.models_of(d), problem.layout, options) for d in self._datasets]
        self._info = tuple(one.info for one in condensed)
        self._shard = Shard(tuple(condensed))

    def evaluate(self, request: Request) -> Reply:
        """The sum over all datasets, in their order."""
        return self._shard.evaluate(request)

    def nuisances(self, point: Floats) -> tuple[NuisanceState, ...]:
        """What each dataset finds for its own parameters at one point (Z,)."""
        return self._shard.nuisances(point)

    def check(self, point: Floats) -> tuple[AnchorCheck, ...]:
        """Whether the frozen geometry still serves at one point (Z,)."""
        return self._shard.check(point)

    def info(self) -> tuple[CondensedInfo, ...]:
        """What was condensed."""
        return self._info

    def full_check(self, problem: Problem) -> tuple[FullCheck, ...]:
        """The sum over every bin with the models as they stand."""
        return tuple(full_check(d, problem.models_of(d), self._options) for d in self._datasets)

    def close(self) -> None:
        """Nothing to let go of: the memory goes with the object."""


def local_evaluator(problem: Problem, options: ImageOptions | None) -> LocalEvaluator:
    """Condense in this process."""
    return LocalEvaluator(problem, options)


def full_check(
    dataset: MapDataset, models: Sequence[SkyModel | FoVBackgroundModel], options: ImageOptions | None = None
) -> FullCheck:
    """Sum over every bin of a dataset with the models as they stand, predictions below zero included."""
    predicted = npred_signal(dataset, models, options) + npred_background(dataset, models)
    counts, mask = dataset.array("counts"), mask_of(dataset)
    assert counts is not None  # a dataset without counts cannot have been condensed
    stat = float(Cash(counts.astype(np.float64)).value(predicted)[mask].sum())
    negative = (predicted < 0) & mask
    return FullCheck(
        dataset.name, stat, int(np.count_nonzero(negative)), int(np.count_nonzero(negative & (counts > 0)))
    )


def _map_dataset(dataset: FitDataset) -> MapDataset:
    if not isinstance(dataset, MapDataset):
        raise FitError(
            f"a {type(dataset).__name__} cannot be condensed in this process",
            where=f"dataset {getattr(dataset, 'name', dataset)!r}",
            hint="Read it into a MapDataset, or give the client whose workers can",
        )
    return dataset


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
