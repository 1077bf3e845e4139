"""Counts that a model gives itself in a condensed dataset: a source whose fluxes are its norms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.condensed_source import FrozenSource, SourceTerm
from gammaflow.likelihood.counted_bins import CountedBins
from gammaflow.likelihood.given_counts import GivenCounts

Bools = NDArray[np.bool_]


def condensed_counts(given: GivenCounts, flux: slice, counted: CountedBins, active: Bools) -> FrozenSource:
    """A template with those of the active bins (n,) that are its own.

    Parameters
    ----------
    given : GivenCounts
    flux : slice
        Its norms among the shared coordinates.
    counted : CountedBins
    active : array (n,) of bool
    """
    chosen = np.flatnonzero(active & counted.inside(given.rows, given.columns))
    energy = counted.energy[chosen]
    row, column = counted.row[chosen] - given.rows.start, counted.column[chosen] - given.columns.start
    counts = np.zeros((len(given.counts), len(chosen)))
    counts[energy, np.arange(len(chosen))] = given.counts[energy, row, column]
    mask = counted.mask[:, given.rows, given.columns]
    total = np.where(mask, given.counts, 0.0).sum(axis=(1, 2))
    rows = np.searchsorted(np.flatnonzero(active), chosen)
    return FrozenSource(given.name, flux, rows, SourceTerm(counts, total))


def lit_by(given: GivenCounts, shape: tuple[int, ...]) -> Bools:
    """The bins (E, ny, nx) for which a template predicts something."""
    out = np.zeros(shape, dtype=np.bool_)
    out[:, given.rows, given.columns] = given.counts != 0
    return out
