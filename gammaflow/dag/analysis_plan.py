"""From a configuration to a plan: which part of it matters to which result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from gammaflow.config import AnalysisConfig
from gammaflow.dag.groups import center_of, group_names
from gammaflow.dag.keys import digest
from gammaflow.dag.plan import Plan, make_plan
from gammaflow.dag.tree import Position
from gammaflow.data import ObservationFiles
from gammaflow.datasets.schema import SCHEMA_VERSION
from gammaflow.errors import MissingFileError


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
        ids = [files.obs_id for files in chosen]
        groups = group_names(config.flow.group_by, obs_table, ids, lambda: center_of(config))
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
