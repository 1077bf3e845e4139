"""The three CTA runs on the Galactic centre, reduced here on pixels of any size, and the source in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord

from gammaflow.data import DataStore
from gammaflow.datasets import MapDataset, stack
from gammaflow.makers import MapDatasetMaker, SafeMaskMaker
from gammaflow.maps import MapAxis, WcsGeom
from gammaflow.modeling import (
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    Models,
    PointSpatialModel,
    SkyModel,
)

GC_RUNS = (110380, 111140, 111159)


def reduce(store: Path, ids: Any, empty: MapDataset, offset: float, makers: list[Any]) -> list[MapDataset]:
    observations = DataStore.from_dir(store)
    datasets = []
    for obs_id in ids:
        observation = observations.obs(obs_id)
        dataset = empty.cutout(observation.pointing.vector, 2 * offset, name=f"obs-{obs_id}")
        for maker in makers:
            dataset = maker.run(dataset, observation)
        datasets.append(dataset)
    return datasets


def centre_runs(
    data: Path, binsz: float, width: tuple[float, float], center: tuple[float, float] = (0.0, 0.0)
) -> list[MapDataset]:
    """The runs on a map of ``width`` deg around a place."""
    energy = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", nbin=10)
    true = MapAxis.from_energy_bounds("0.08 TeV", "12 TeV", nbin=14, name="energy_true")
    place = SkyCoord(*center, unit="deg", frame="galactic")
    geom = WcsGeom.create(place, binsz, width, frame="galactic", axes=[energy])
    empty = MapDataset.create(geom, energy_axis_true=true, binsz_irf=0.2)
    makers = [MapDatasetMaker(), SafeMaskMaker(methods=["aeff-default", "offset-max"], offset_max="3 deg")]
    return reduce(data / "cta-1dc/index/gps", GC_RUNS, empty, 3.5, makers)


def stacked_above(runs: list[MapDataset], energy: str = "0.3 TeV") -> MapDataset:
    """All of them together, for a fit above an energy."""
    stacked = stack(runs, "stacked", runs[0].geometry.parent)
    above = stacked.geometry.energy_axis.energy_mask(energy)
    mask = np.broadcast_to(above[:, None, None], stacked.geometry.shapes["counts"])
    return stacked.with_arrays(mask_fit=mask)


def centre_stacked(
    data: Path, binsz: float, width: tuple[float, float], center: tuple[float, float] = (0.0, 0.0)
) -> MapDataset:
    """The runs on a map of ``width`` deg around a place, stacked."""
    return stacked_above(centre_runs(data, binsz, width, center))


def gc_models(names: list[str], start: tuple[float, ...] = (2.3, 2.8e-12, 0.02, -0.05, -0.05)) -> Models:
    index, amplitude, lambda_, lon, lat = start
    spectral = ExpCutoffPowerLawSpectralModel(
        index=index, amplitude=f"{amplitude} cm-2 s-1 TeV-1", reference="1 TeV", lambda_=f"{lambda_} TeV-1"
    )
    spatial = PointSpatialModel(lon_0=f"{lon} deg", lat_0=f"{lat} deg", frame="galactic")
    return Models(
        [SkyModel(spectral, spatial, name="gc"), *(FoVBackgroundModel(dataset_name=n) for n in names)]
    )
