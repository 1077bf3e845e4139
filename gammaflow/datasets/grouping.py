"""Datasets of similar conditions: by a column of their observations, in bins or value by value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gammaflow.datasets.schema import OBSERVATION_COLUMNS
from gammaflow.errors import DataError


@dataclass(frozen=True)
class GroupBy:
    """What makes datasets alike.

    Attributes
    ----------
    column : str
        A column of the table of observations, e.g. ``zenith`` or ``tstart``, or a key of ``meta``, e.g.
        ``instrument``.
    bins : tuple of float
        Edges of half-open bins; without them the values themselves are the groups.
    """

    column: str
    bins: tuple[float, ...] = ()

    def label(self, dataset: Any) -> str:
        """The group of a dataset: ``<column>-<value>``, or ``<column>-<lower>-<upper edge>``.

        Of several observations the mean of the values counts, by livetime, where there are bins; without bins
        they must agree.

        Raises
        ------
        DataError
            When the dataset has no value, several, or one outside the bins.
        """
        where = f"dataset {dataset.name}"
        if self.column in dataset.meta:
            return f"{self.column}-{dataset.meta[self.column]}"
        rows = getattr(dataset, "observations", None)
        if self.column not in OBSERVATION_COLUMNS or rows is None or not len(rows):
            raise DataError(
                f"it has no {self.column!r} to be grouped by",
                where=where,
                hint=f"Known are the keys of its meta, and {', '.join(OBSERVATION_COLUMNS)}",
            )
        values = rows[self.column]
        if not self.bins:
            different = np.unique(values)
            if len(different) > 1:
                raise DataError(
                    f"its observations have {len(different)} values of {self.column!r}",
                    where=where,
                    hint="Give bins",
                )
            return f"{self.column}-{different[0]}"
        weights = rows["livetime"] if rows["livetime"].sum() > 0 else np.ones(len(rows))
        mean = float(np.average(values, weights=weights))
        index = int(np.searchsorted(self.bins, mean, side="right")) - 1
        if not (np.isfinite(mean) and 0 <= index < len(self.bins) - 1):
            raise DataError(
                f"its {self.column} {mean:g} is outside the bins {self.bins[0]:g} to {self.bins[-1]:g}",
                where=where,
                hint="Widen the bins, or leave the dataset out",
            )
        return f"{self.column}-{self.bins[index]:g}-{self.bins[index + 1]:g}"


def groups_of(datasets: Sequence[Any], by: GroupBy) -> dict[str, list[Any]]:
    """Datasets by the label of their group, groups in the order of their first members."""
    groups: dict[str, list[Any]] = {}
    for dataset in datasets:
        groups.setdefault(by.label(dataset), []).append(dataset)
    return groups
