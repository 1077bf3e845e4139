"""Which observations are stacked together: groups by a column of the observation table, or by conditions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray

from gammaflow.config import AnalysisConfig, GroupByConfig
from gammaflow.data import TimeReference
from gammaflow.datasets.grouping import QUANTITIES, Bins
from gammaflow.errors import ConfigError
from gammaflow.maps import separation
from gammaflow.maps.frames import lonlat_to_vectors, position_vector

Center = Callable[[], NDArray[np.float64]]


def group_names(
    group_by: GroupByConfig, table: Table | None, obs_ids: Sequence[int], center: Center | None = None
) -> dict[int, str]:
    """Name of the stacked dataset that each observation belongs to: one a value, or a bin, of a column.

    Parameters
    ----------
    group_by : GroupByConfig
        A column of the observation table, or ``zenith``, ``offset`` (of the pointing from ``center``) or ``time``
        (the middle of the observation), which need other columns; and edges of half-open bins if its values are
        numbers to be binned.
    table : astropy Table
        The observation table.
    obs_ids : sequence of int
        The observations to group.
    center : callable, optional
        Gives the ICRS unit vector that offsets are measured from.

    Returns
    -------
    names : dict of int to str
        By observation, e.g. ``zenith-20-40``: the column in lower case, and the value or the edges of its bin.

    Raises
    ------
    ConfigError
        There is no such column, or an observation has no value in it or lies outside the bins.
    """
    column, where = group_by.column, f"flow.group_by: {group_by.column}"
    if table is None:
        raise ConfigError(
            f"the observation table has no column {column!r}",
            where="flow.group_by",
            hint="Name another: there is no observation table",
        )
    found, unit = _column(column, table, center)
    values = dict(zip((int(number) for number in table["OBS_ID"]), found, strict=True))
    bins = None if group_by.bins is None else Bins.of(group_by.bins, unit, where)
    if bins is None and column not in table.colnames:
        raise ConfigError(
            "it differs from observation to observation",
            where=where,
            hint="Give bins, e.g. {column: zenith, bins: [0, 20, 40, 60]}",
        )
    names: dict[int, str] = {}
    members: dict[str, str] = {}
    homeless = []
    for obs_id in obs_ids:
        value = values.get(obs_id)
        label = None if value is None or np.ma.is_masked(value) else _label(value, bins, where)
        if label is None:
            homeless.append(f"{obs_id}{'' if value is None else f' ({_shown(value)})'}")
            continue
        names[obs_id] = _as_file_name(f"{column}-{label}")
        first = members.setdefault(names[obs_id], label)
        if first != label:
            raise ConfigError(
                f"the groups {first!r} and {label!r} would have one file name, {names[obs_id]!r}",
                where=where,
                hint="Group by another column",
            )
    if homeless:
        listed = ", ".join(homeless[:20]) + (", ..." if len(homeless) > 20 else "")
        raise ConfigError(
            f"{len(homeless)} observations have no group: {listed}",
            where=where,
            hint="Widen the bins, or leave these observations out with flow.exclude",
        )
    return names


def center_of(config: AnalysisConfig) -> NDArray[np.float64]:
    """What offsets are measured from: the centre of the map, or of the region of a spectrum; an ICRS unit vector."""
    datasets = config.datasets
    position = (datasets.on_region if datasets.type == "1d" else datasets.geom.wcs.skydir).skycoord
    return position_vector(position)


def _column(column: str, table: Table, center: Center | None) -> tuple[Iterable[Any], str | None]:
    """The values of all observations, and their unit."""
    if column in table.colnames:
        unit = table[column].unit
        return table[column], None if unit is None else str(unit)
    if column == "zenith" and "ZEN_PNT" in table.colnames:
        return _numbers(table, "ZEN_PNT", "deg"), "deg"
    if column == "zenith" and "ALT_PNT" in table.colnames:
        return 90.0 - _numbers(table, "ALT_PNT", "deg"), "deg"
    if column == "offset" and center is not None and {"RA_PNT", "DEC_PNT"} <= set(table.colnames):
        pointings = lonlat_to_vectors(_numbers(table, "RA_PNT", "deg"), _numbers(table, "DEC_PNT", "deg"))
        return separation(pointings, center()), "deg"
    if column == "time" and {"TSTART", "TSTOP"} <= set(table.colnames):
        middle = 0.5 * (_numbers(table, "TSTART", "s") + _numbers(table, "TSTOP", "s"))
        return TimeReference.from_cards(table.meta, "observation table").at(middle).mjd, "mjd"
    needed = {"zenith": "ZEN_PNT or ALT_PNT", "offset": "RA_PNT and DEC_PNT", "time": "TSTART and TSTOP"}
    instead = f", and none from which it follows, {needed[column]}" if column in needed else ""
    raise ConfigError(
        f"the observation table has no column {column!r}{instead}",
        where="flow.group_by",
        hint=f"Name another: it has {', '.join(table.colnames)}; {', '.join(QUANTITIES)} follow from them",
    )


def _numbers(table: Table, name: str, unit: str) -> NDArray[np.float64]:
    """A column in a unit, in which it is taken to be when it has none; NaN where nothing is known."""
    factor = 1.0 if table[name].unit is None else u.Unit(table[name].unit).to(unit)
    return np.ma.filled(np.ma.asarray(table[name], dtype=np.float64), np.nan) * factor


def _label(value: object, bins: Bins | None, where: str) -> str | None:
    """The value, or its bin; None outside the bins."""
    if bins is None:
        return str(value).strip()
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number says so
    except ValueError as error:
        raise ConfigError(f"{value!r} is not a number", where=where, hint="Group without bins") from error
    return bins.label(number)


def _shown(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float | np.floating) else str(value).strip()


def _as_file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).lower()
