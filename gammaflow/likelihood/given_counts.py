"""Counts that a model gives itself (`TemplateNPredModel`), in the bins of a dataset.

They are linear in their norms as a source is in its fluxes: one norm stands for each energy bin of the template, and
its response is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import Dataset, MapDataset
from gammaflow.errors import ModelError, UnsupportedError
from gammaflow.likelihood.coordinates import FluxGrid
from gammaflow.likelihood.lattice import PixelGrid
from gammaflow.modeling import TemplateNPredModel

Floats = NDArray[np.float64]


def norm_grid(model: TemplateNPredModel) -> FluxGrid:
    """Where the norms of a template are asked for: at the centres of its energy bins."""
    return FluxGrid(tuple(model.map.centers.tolist()), differential=True)


def check_takes_counts(dataset: Dataset, model: TemplateNPredModel) -> MapDataset:
    """The dataset, which has to be a map.

    Raises
    ------
    UnsupportedError
        When it is not.
    """
    if isinstance(dataset, MapDataset):
        return dataset
    raise UnsupportedError(
        f"the counts of a TemplateNPredModel in a {type(dataset).__name__}",
        where=f"dataset {dataset.name}, model {model.name}",
        hint="Templates of counts are for maps.",
    )


@dataclass(frozen=True, eq=False)
class GivenCounts:
    """The counts of a template on the map of a dataset.

    Parameters
    ----------
    name : str
    rows, columns : slice
        Where they lie on the map.
    counts : array (E, n, m)
        With a norm of 1.
    """

    name: str
    rows: slice
    columns: slice
    counts: Floats

    @classmethod
    def of(cls, dataset: Dataset, model: TemplateNPredModel) -> GivenCounts | None:
        """Of a dataset; None where the template lies off its map.

        Raises
        ------
        UnsupportedError
            When the dataset is no map.
        ModelError
            When its pixels or energies are not those of the dataset.
        """
        dataset = check_takes_counts(dataset, model)
        where = f"dataset {dataset.name}, model {model.name}"
        edges = np.asarray(dataset.geometry.energy_axis.edges)
        if len(edges) != len(model.map.edges) or not np.allclose(edges, model.map.edges, rtol=1e-6):
            raise ModelError(
                f"its counts are in energies from {_ends(model.map.edges)}, the dataset's from {_ends(edges)}",
                where=where,
                hint="Make the template with the axis of the dataset.",
            )
        image = dataset.geometry.image
        (own, first), (grid, begin) = PixelGrid.of(model.map.geom), PixelGrid.of(image)
        if own != grid:
            raise ModelError(
                f"its pixels are not those of the dataset: {model.map.geom.difference(image) or 'other places'}",
                where=where,
                hint="Make the template with the dataset's geometry, or a cutout of it.",
            )
        on_map, in_template = [], []
        for axis in (1, 0):
            shift = first[axis] - begin[axis]
            low = max(shift, 0)
            high = min(shift + model.map.geom.npix[axis], image.npix[axis])
            if low >= high:
                return None
            on_map.append(slice(low, high))
            in_template.append(slice(low - shift, high - shift))
        return cls(model.name, on_map[0], on_map[1], model.map.data[(slice(None), *in_template)])

    def add_to(self, out: Floats, norms: Floats) -> None:
        """Add the counts to a map (E, ny, nx), for norms (E,)."""
        out[:, self.rows, self.columns] += self.counts * norms[:, None, None]


def _ends(edges: Floats) -> str:
    return f"{edges[0]:.4g} to {edges[-1]:.4g} TeV in {len(edges) - 1} bins"
