"""gammaflow's side of the fit benchmark: datasets are made once, then fitted as often as asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import fit_simulation as simulation
import numpy as np
from astropy.coordinates import SkyCoord
from cases import CASES, ReductionCase
from fit_cases import FITS
from peer import serve
from regions import CircleSkyRegion
from timed_fit import timed_fit

from gammaflow.data import DataStore
from gammaflow.datasets import MapDataset, MapDatasetGeometry, stack
from gammaflow.fit import Fit
from gammaflow.makers import ExclusionMask, FoVBackgroundMaker, MakerChain, MapDatasetMaker, SafeMaskMaker
from gammaflow.maps import MapAxis, WcsGeom
from gammaflow.modeling import Models

case = FITS[sys.argv[1]]


def reduced(reduction: ReductionCase) -> list[MapDataset]:
    """The observations of a case of the reduction benchmark."""
    energy = MapAxis.from_energy_bounds(*reduction.energy, unit="TeV")
    energy_true = MapAxis.from_energy_bounds(*reduction.energy_true, unit="TeV", name="energy_true")
    center = SkyCoord(*reduction.center, unit="deg", frame=reduction.frame)
    geom = WcsGeom.create(center, 0.02, reduction.width, frame=reduction.frame, axes=[energy])
    geometry = MapDatasetGeometry.create(geom, energy_true, binsz_irf=0.2)
    makers: list[Any] = [
        SafeMaskMaker(methods=["aeff-default", "offset-max"], offset_max=f"{reduction.safe_offset} deg")
    ]
    if reduction.exclusion_radius is not None:
        image = geom.to_image()
        region = CircleSkyRegion(center, SkyCoord(0, 0, unit="deg").ra.unit * reduction.exclusion_radius)
        outside = ~image.region_mask([region])
        makers.append(FoVBackgroundMaker(method="fit", exclusion_mask=ExclusionMask(image, outside)))
    chain = MakerChain(MapDatasetMaker(), tuple(makers), cutout_width=2 * reduction.cutout_offset)
    store = DataStore.from_dir(Path(os.environ["GAMMAPY_DATA"]) / reduction.store)
    return [chain.run(store.obs(obs_id), geometry) for obs_id in reduction.obs_ids]


def simulated(path: str) -> list[MapDataset]:
    """The datasets whose arrays the driver has written."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    pixels = arrays["counts"].shape[-1]
    energy = MapAxis.from_energy_bounds(*simulation.ENERGY, unit="TeV")
    energy_true = MapAxis.from_energy_bounds(*simulation.ENERGY_TRUE, unit="TeV", name="energy_true")
    geom = WcsGeom.create(simulation.CENTER, simulation.PIXEL, npix=pixels, axes=[energy])
    geometry = MapDatasetGeometry.create(geom, energy_true, binsz_irf=simulation.IRF_PIXEL)
    return [
        MapDataset.from_arrays(geometry, f"obs-{i}", **{name: stored[i] for name, stored in arrays.items()})
        for i in range(len(arrays["counts"]))
    ]


def prepared(path: str | None) -> list[MapDataset]:
    datasets = simulated(path) if path else reduced(CASES[case.data])
    if case.stacked:
        datasets = [stack(datasets, "stacked", datasets[0].geometry.parent)]
    if case.energy_min is not None:
        shape = datasets[0].geometry.shapes["counts"]
        chosen = datasets[0].geom.axis("energy").energy_mask(energy_min=case.energy_min)
        datasets = [d.with_arrays(mask_fit=np.broadcast_to(chosen[:, None, None], shape)) for d in datasets]
    return datasets


datasets: list[MapDataset] = []


def answer(prepare: bool = False, path: str | None = None) -> dict[str, Any]:
    if prepare:
        datasets[:] = prepared(path)
        return {"counts": float(sum(d.counts.sum() for d in datasets))}
    models = Models.from_dict(case.models([d.name for d in datasets]))
    result, told = timed_fit(lambda: Fit().run(datasets, models), models)
    return {
        **told,
        "set_up": result.timings["condense"],
        "message": result.message,
        "trips": result.trips,
    }


serve(answer)
