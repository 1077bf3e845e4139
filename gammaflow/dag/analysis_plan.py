"""From a configuration to a plan: which part of it matters to which result."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from gammaflow.config import AnalysisConfig, GroupByConfig
from gammaflow.dag.keys import digest
from gammaflow.dag.plan import Plan, make_plan
from gammaflow.dag.tree import Position
from gammaflow.data import ObservationFiles
from gammaflow.datasets.schema import SCHEMA_VERSION
from gammaflow.errors import ConfigError, MissingFileError


@dataclass(frozen=True, slots=True)
class Setup:
    """What every task needs to know of the configuration.

    Parameters
    ----------
    yaml : str
        The configuration, with absolute paths. Small enough to travel with each task, so that no task depends
        on another worker's memory; parsed once a process.
    digest : str
        Of its content.
    """

    yaml: str
    digest: str


def plan(
    config: AnalysisConfig, observations: Sequence[ObservationFiles], obs_table: Table | None = None
) -> Plan:
    """The plan of an analysis.

    Parameters
    ----------
    config : AnalysisConfig
        The configuration.
    observations : sequence of ObservationFiles
        The observations selected by ``config.observations``; those of ``config.flow.exclude`` are left out.
    obs_table : astropy Table, optional
        The observation table, for ``flow.group_by``.

    Raises
    ------
    ConfigError
        Nothing is left to reduce, or the observations cannot be grouped as asked.
    """
    excluded = set(config.flow.exclude)
    chosen = [files for files in observations if files.obs_id not in excluded]
    groups = None
    if config.flow.group_by is not None:
        groups = group_names(config.flow.group_by, obs_table, [files.obs_id for files in chosen])
    return make_plan(
        chosen,
        ingredients=reduction_ingredients(config),
        positions=positions(config, chosen),
        groups=groups,
        fan_in=config.flow.fan_in,
        stacked=config.datasets.stack,
        setup=setup(config),
        keep_observations=config.flow.write_observations,
    )


def setup(config: AnalysisConfig) -> Setup:
    """What is sent along with each task."""
    sent = config.model_copy(deep=True)
    if config.datasets.background.exclusion is not None:
        # Workers may run elsewhere, with other environment variables.
        sent.datasets.background.exclusion = str(config.path(config.datasets.background.exclusion).resolve())
    text = sent.to_yaml()
    return Setup(text, digest(text))


def reduction_ingredients(config: AnalysisConfig) -> dict[str, object]:
    """What a reduction depends on besides its files, by key path.

    All of ``datasets`` but ``stack``, so that a key added later counts until somebody says that it does not.
    """
    canonical = config.datasets.canonical()
    ingredients: dict[str, object] = {
        f"datasets.{name}": value for name, value in canonical.items() if name != "stack"
    }
    ingredients["observations.required_irf"] = config.observations.canonical()["required_irf"]
    ingredients["flow.invalid_response"] = config.flow.invalid_response
    ingredients["the dataset schema's version"] = SCHEMA_VERSION
    exclusion = config.datasets.background.exclusion
    if exclusion is not None:
        # The path is in the configuration, the content is what matters.
        background = dict(canonical["background"])
        background["exclusion"] = _file_identity(config.path(exclusion))
        ingredients["datasets.background"] = background
    return ingredients


def positions(config: AnalysisConfig, observations: Sequence[ObservationFiles]) -> dict[int, Position]:
    """Where each observation points, as fractions of the map; without a map, of the sky."""
    known = [files for files in observations if files.ra_pnt is not None and files.dec_pnt is not None]
    ra = np.radians([files.ra_pnt or 0.0 for files in known])
    dec = np.radians([files.dec_pnt or 0.0 for files in known])
    if config.datasets.type == "3d":
        geom = config.datasets.geom.to_geom().to_image()
        vectors = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        x, y = geom.vectors_to_pix(vectors)
        ny, nx = geom.shape_image
        u, v = (x + 0.5) / nx, (y + 0.5) / ny
    else:
        u, v = ra / (2.0 * math.pi), (np.sin(dec) + 1.0) / 2.0
    return {
        files.obs_id: Position(files.obs_id, float(u[index]), float(v[index]))
        for index, files in enumerate(known)
    }


def group_names(group_by: GroupByConfig, table: Table | None, obs_ids: Sequence[int]) -> dict[int, str]:
    """Name of the stacked dataset that each observation belongs to: one a value, or a bin, of a column.

    Parameters
    ----------
    group_by : GroupByConfig
        Column of the observation table, and edges of half-open bins if its values are numbers to be binned.
    table : astropy Table
        The observation table.
    obs_ids : sequence of int
        The observations to group.

    Raises
    ------
    ConfigError
        There is no such column, or an observation has no value in it or lies outside the bins.
    """
    column = group_by.column
    if table is None or column not in table.colnames:
        known = "there is no observation table" if table is None else f"it has {', '.join(table.colnames)}"
        raise ConfigError(
            f"the observation table has no column {column!r}",
            where="flow.group_by",
            hint=f"Name another: {known}",
        )
    values = dict(zip((int(number) for number in table["OBS_ID"]), table[column], strict=True))
    where = f"flow.group_by: {column}"
    names: dict[int, str] = {}
    members: dict[str, str] = {}
    homeless = []
    for obs_id in obs_ids:
        value = values.get(obs_id)
        label = None if value is None or np.ma.is_masked(value) else _label(value, group_by.bins, where)
        if label is None:
            homeless.append(str(obs_id))
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


def _label(value: object, bins: Sequence[float] | None, where: str) -> str | None:
    """The value, or its bin; None outside the bins."""
    if bins is None:
        return str(value).strip()
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number says so
    except ValueError as error:
        raise ConfigError(f"{value!r} is not a number", where=where, hint="Group without bins") from error
    index = int(np.searchsorted(bins, number, side="right")) - 1
    return f"{bins[index]:g}-{bins[index + 1]:g}" if 0 <= index < len(bins) - 1 else None


def _as_file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text).lower()


def _file_identity(path: Path) -> list[object]:
    try:
        status = path.stat()
    except OSError as error:
        raise MissingFileError(
            "the exclusion mask is not there",
            where=str(path),
            hint="Correct datasets.background.exclusion",
        ) from error
    return [path.name, status.st_size, status.st_mtime_ns]
