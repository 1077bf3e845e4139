"""The bins of a fit that have counts, and sums over all others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gammaflow.datasets import MapDataset
from gammaflow.errors import DataError
from gammaflow.likelihood.npred import fitted_bins

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class CountedBins:
    """Bins with counts inside ``mask_safe & mask_fit``, n of them, ordered by energy.

    Parameters
    ----------
    counts : array (n,)
    energy, row, column : array (n,) of int
    background : array (n,)
        Before any factor.
    background_total : array (E,)
        Sum over all bins of the fit.
    mask : array (E, ny, nx) of bool
        The bins of the fit; with OFF counts, only those where there is a measurement of them.
    """

    counts: Floats
    energy: Ints
    row: Ints
    column: Ints
    background: Floats
    background_total: Floats
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, dataset: MapDataset) -> CountedBins:
        """Those of a dataset.

        Raises
        ------
        DataError
            No counts; counts that are negative; a background that is not finite in the mask.
        """
        where = f"dataset {dataset.name}"
        counts, background = dataset.array("counts"), dataset.array("background")
        if counts is None:
            raise DataError("there are no counts", where=where, hint="Fill them, or fake some.")
        mask = fitted_bins(dataset)
        flat = np.flatnonzero(counts != 0)  # numpy is quicker with bools
        flat = flat[mask.ravel()[flat]]
        values = counts.ravel()[flat].astype(np.float64)
        if np.any(values < 0):
            raise DataError("there are negative counts", where=where, hint="The statistic needs counts.")
        energy, pixel = np.divmod(flat, counts[0].size)
        row, column = np.divmod(pixel, counts.shape[2])
        if background is None:
            at_bins, total = np.zeros(len(flat)), np.zeros(len(counts))
        else:
            at_bins = background.ravel()[flat].astype(np.float64)
            planes = zip(background, mask, strict=True)
            total = np.array([plane[chosen].sum(dtype=np.float64) for plane, chosen in planes])
        if not np.isfinite(total).all():
            raise DataError(
                "the background is not finite in the mask", where=where, hint="Mask these bins out."
            )
        return cls(values, energy, row, column, at_bins, total, mask)

    def at(self, cube: Floats) -> Floats:
        """The values (n,) of a cube (E, ny, nx) in these bins."""
        return cube[self.energy, self.row, self.column]

    def inside(self, rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Which lie in a rectangle of the map, (n,)."""
        found = (self.row >= rows.start) & (self.row < rows.stop)
        return found & (self.column >= columns.start) & (self.column < columns.stop)

    def per_energy(self, chosen: NDArray[np.bool_]) -> Floats:
        """Counts (E,) of some of the bins."""
        out = np.zeros(len(self.background_total))
        np.add.at(out, self.energy[chosen], self.counts[chosen])
        return out
