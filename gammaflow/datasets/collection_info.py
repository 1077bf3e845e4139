"""What a collection of datasets says about itself: tables of sums and of conditions, and what ``print`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from numpy.typing import NDArray

from gammaflow.data import GTI
from gammaflow.datasets.counts_dataset import CountsDataset
from gammaflow.datasets.observations import REFERENCE_TIME, parse_reference, seconds_between
from gammaflow.datasets.stacking import stack, united

_RTOL = 1e-6  # of edges that are the same


def info_table(datasets: Sequence[Any], cumulative: bool = False) -> QTable:
    """One row a dataset of counts: sums over its safe range, see `CountsDataset.info_dict`."""
    counted = [d for d in datasets if isinstance(d, CountsDataset)]
    if not cumulative:
        rows = [dataset.info_dict() for dataset in counted]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        return QTable(rows=[{key: row.get(key, np.nan) for key in columns} for row in rows])
    rows, total = [], None
    for dataset in counted:
        if total is None:
            total = stack([dataset])
        else:
            total.stack(dataset)
        rows.append(total.info_dict())
    return QTable(rows=rows)


def meta_table(datasets: Sequence[Any]) -> Table:
    """One row a dataset: name, type, what its ``meta`` holds, and which observations went in.

    ``OBS_ID`` lists the observations in use. What a dataset does not say is masked.
    """
    keys = list(dict.fromkeys(key for dataset in datasets for key in dataset.meta))
    table = Table({"NAME": [d.name for d in datasets], "TYPE": [d.tag for d in datasets]})
    rows = [getattr(dataset, "observations", None) for dataset in datasets]
    table["OBS_ID"] = [
        "" if row is None else " ".join(str(n) for n in row["obs_id"][row["used"]]) for row in rows
    ]
    for key in keys:
        values = [dataset.meta.get(key) for dataset in datasets]
        masked = [value is None for value in values]
        plain = [value for value in values if value is not None]
        if not all(isinstance(value, str | int | float) for value in plain):
            values = [str(value) for value in values]
        filler = type(plain[0])() if plain and isinstance(plain[0], str | int | float) else ""
        table[key.upper()] = MaskedColumn(
            [filler if m else v for v, m in zip(values, masked, strict=True)], mask=masked
        )
    return table


def energy_ranges(datasets: Sequence[Any]) -> tuple[u.Quantity, u.Quantity]:
    """Lowest and highest energy of each dataset; of flux points without edges those of the points."""
    limits = []
    for dataset in datasets:
        if isinstance(dataset, CountsDataset):
            edges = dataset.geometry.energy_axis.edges
        else:
            names = [n for n in ("energy_min", "energy_max") if n in dataset.data.variables] or ["energy"]
            edges = np.concatenate([dataset.data[name].values for name in names])
        limits.append((float(np.min(edges)), float(np.max(edges))))
    low, high = np.array(limits).reshape(-1, 2).T
    return u.Quantity(low, u.TeV), u.Quantity(high, u.TeV)


def energy_axes_are_aligned(datasets: Sequence[Any]) -> bool:
    """Whether the bins of reconstructed energy of all have the same edges where they overlap."""
    edges = [d.geometry.energy_axis.edges for d in datasets if isinstance(d, CountsDataset)]
    return all(_aligned(edges[0], other) for other in edges[1:])


def _aligned(one: NDArray[np.float64], two: NDArray[np.float64]) -> bool:
    low, high = max(one[0], two[0]) * (1 - _RTOL), min(one[-1], two[-1]) * (1 + _RTOL)
    within = [edges[(edges >= low) & (edges <= high)] for edges in (one, two)]
    if len(within[0]) != len(within[1]) or not len(within[0]):
        return False
    return bool(np.allclose(within[0], within[1], rtol=_RTOL, atol=0.0))


def common_gti(datasets: Sequence[Any]) -> GTI | None:
    """The good time of all datasets, overlapping and touching intervals merged; None when none has any."""
    intervals = [
        np.stack([start, stop], axis=1) + seconds_between(REFERENCE_TIME, dataset.time_reference)
        for dataset in datasets
        if (start := dataset.array("gti_start")) is not None
        and (stop := dataset.array("gti_stop")) is not None
        and len(start)
    ]
    if not intervals:
        return None
    start, stop = united(np.concatenate(intervals))
    return GTI(start, stop, parse_reference(REFERENCE_TIME))


def describe(datasets: Sequence[Any]) -> str:
    """The list that ``print(datasets)`` shows."""
    lines = ["Datasets", "--------", ""]
    for number, dataset in enumerate(datasets):
        names = [model.name for model in dataset.all_models]
        lines += [
            f"Dataset {number}: ",
            "",
            f"  Type       : {dataset.tag}",
            f"  Name       : {dataset.name}",
            f"  Instrument : {dataset.meta.get('instrument', '')}",
            f"  Models     : {names or ''}",
            "",
        ]
    return "\n".join(lines) + "\n"
