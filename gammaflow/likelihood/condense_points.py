"""From flux points and their models to the condensed likelihood."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import FluxPointsDataset
from gammaflow.likelihood.condensed_bins import CondensedBins
from gammaflow.likelihood.coordinates import FluxGrid, Layout
from gammaflow.likelihood.good_time import mean_in_time
from gammaflow.likelihood.npred import sources_of
from gammaflow.likelihood.protocol import CondensedInfo
from gammaflow.modeling import Model

Floats = NDArray[np.float64]

#: Flux points are per cm2, models per m2.
PER_CM2 = 1e-4


@dataclass(frozen=True, eq=False)
class PointStatistic:
    """The statistic of the points of N datasets that take part in a fit.

    Parameters
    ----------
    points : array (N,) of object
        Of each dataset its `gammaflow.datasets.flux_statistics.FluxStatistic`.
    chosen : array (N, n) of bool
        The points that take part.
    """

    points: NDArray[Any]
    chosen: NDArray[np.bool_]
    convex: ClassVar[bool] = False  # limits and likelihood profiles need not be

    def expand(self, predicted: Floats) -> tuple[Floats, Floats, Floats]:
        """Value, score and curvature for predicted fluxes (N, n) in cm-2 s-1 TeV-1."""
        rows = list(zip(self.points, predicted, strict=True))
        value = np.array([statistic.value(at) for statistic, at in rows])
        score = np.array([statistic.score(at) for statistic, at in rows])
        curvature = np.array([statistic.curvature(at) for statistic, at in rows])
        return (
            np.where(self.chosen, value, 0.0),
            np.where(self.chosen, score, 0.0),
            np.where(self.chosen, curvature, 0.0),
        )


def condense_points(dataset: FluxPointsDataset, models: Iterable[Model], layout: Layout) -> CondensedBins:
    """Condense flux points: every point is one bin, and has a flux of its own among the coordinates."""
    grid = FluxGrid(tuple(dataset.energy.tolist()), differential=True)
    n = len(grid.energies)
    fixed = np.zeros(n)
    places: list[NDArray[np.intp]] = []
    parts: list[Floats] = []
    for source in sources_of(dataset, models):
        factor = PER_CM2 * mean_in_time(dataset, source, f"dataset {dataset.name}, source {source.name}")
        flux = layout.flux_slice(source.name, grid)
        if flux is None:
            fixed = fixed + factor * source.spectral_model.values(dataset.energy)
        else:
            places.append(np.arange(flux.start, flux.stop, dtype=np.intp))
            parts.append(factor * np.eye(n))
    index = np.concatenate(places) if places else np.zeros(0, dtype=np.intp)
    order = np.argsort(index, kind="stable")
    response = np.concatenate(parts)[order] if parts else np.zeros((0, n))
    chosen = np.asarray(dataset.mask.values, dtype=np.bool_)
    statistic = np.empty((), dtype=object)
    statistic[()] = dataset.statistic
    used = int(np.count_nonzero(chosen))
    return CondensedBins(
        name=dataset.name,
        index=index[order],
        response=response,
        line=np.zeros(len(index)),
        empty=np.zeros(len(index)),
        fixed=fixed,
        statistic=PointStatistic(statistic, chosen),
        constant=0.0,
        info=CondensedInfo(dataset.name, used, used, 0, response.nbytes),
    )
