"""Gammapy's side of the fit benchmark: datasets are made once, then fitted as often as asked."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import astropy.units as u  # noqa: E402 - the path must be set first
import fit_simulation as simulation  # noqa: E402
import numpy as np  # noqa: E402
from astropy.coordinates import SkyCoord  # noqa: E402
from cases import CASES, ReductionCase  # noqa: E402
from fit_cases import FITS  # noqa: E402
from gammapy.data import DataStore  # noqa: E402
from gammapy.datasets import Datasets, MapDataset  # noqa: E402
from gammapy.makers import FoVBackgroundMaker, MapDatasetMaker, SafeMaskMaker  # noqa: E402
from gammapy.maps import MapAxis, WcsGeom  # noqa: E402
from gammapy.modeling import Fit  # noqa: E402
from gammapy.modeling.models import Models  # noqa: E402
from peer import serve  # noqa: E402
from regions import CircleSkyRegion  # noqa: E402
from timed_fit import timed_fit  # noqa: E402

case = FITS[sys.argv[1]]


def axes(energy: tuple[float, float, int], true: tuple[float, float, int]) -> tuple[MapAxis, MapAxis]:
    return tuple(
        MapAxis.from_energy_bounds(low, high, nbin=bins, unit="TeV", name=name)
        for name, (low, high, bins) in (("energy", energy), ("energy_true", true))
    )


def reduced(reduction: ReductionCase) -> Datasets:
    """The observations of a case of the reduction benchmark."""
    energy, energy_true = axes(reduction.energy, reduction.energy_true)
    center = SkyCoord(*reduction.center, unit="deg", frame=reduction.frame)
    geom = WcsGeom.create(
        skydir=center, frame=reduction.frame, width=reduction.width, binsz=0.02, axes=[energy]
    )
    empty = MapDataset.create(geom, energy_axis_true=energy_true, name="stacked", binsz_irf=0.2)
    makers = [
        MapDatasetMaker(),
        SafeMaskMaker(methods=["aeff-default", "offset-max"], offset_max=reduction.safe_offset * u.deg),
    ]
    if reduction.exclusion_radius is not None:
        region = CircleSkyRegion(center, reduction.exclusion_radius * u.deg)
        exclusion = ~geom.to_image().region_mask([region])
        makers.append(FoVBackgroundMaker(method="fit", exclusion_mask=exclusion))
    store = DataStore.from_dir(Path(os.environ["GAMMAPY_DATA"]) / reduction.store)
    made = []
    for observation in store.get_observations(list(reduction.obs_ids)):
        dataset = empty.cutout(
            observation.get_pointing_icrs(observation.tmid),
            width=2 * reduction.cutout_offset * u.deg,
            name=f"obs-{observation.obs_id}",
        )
        for maker in makers:
            dataset = maker.run(dataset, observation)
        made.append(dataset)
    if case.stacked:
        for dataset in made:
            empty.stack(dataset)
        made = [empty]
    return Datasets(made)


def simulated(path: str) -> Datasets:
    """The datasets whose arrays the driver has written."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    energy, energy_true = axes(simulation.ENERGY, simulation.ENERGY_TRUE)
    center = SkyCoord(*simulation.CENTER, unit="deg", frame="icrs")
    pixels = arrays["counts"].shape[-1]
    geom = WcsGeom.create(
        skydir=center, frame="icrs", npix=(pixels, pixels), binsz=simulation.PIXEL, axes=[energy]
    )
    made = []
    for i in range(len(arrays["counts"])):
        dataset = MapDataset.create(
            geom, energy_axis_true=energy_true, name=f"obs-{i}", binsz_irf=simulation.IRF_PIXEL
        )
        maps = {
            "counts": dataset.counts,
            "background": dataset.background,
            "exposure": dataset.exposure,
            "mask_safe": dataset.mask_safe,
            "psf": dataset.psf.psf_map,
            "edisp": dataset.edisp.edisp_map,
        }
        for name, into in maps.items():
            into.data = arrays[name][i].astype(into.data.dtype)
        dataset.psf.exposure_map.data = arrays["psf_exposure"][i][:, None]
        dataset.edisp.exposure_map.data = arrays["edisp_exposure"][i][:, None]
        made.append(dataset)
    return Datasets(made)


datasets = Datasets()


def answer(prepare: bool = False, path: str | None = None) -> dict[str, Any]:
    if prepare:
        datasets.extend(simulated(path) if path else reduced(CASES[case.data]))
        for dataset in datasets:
            if case.energy_min is not None:
                dataset.mask_fit = dataset.counts.geom.energy_mask(energy_min=case.energy_min * u.TeV)
        return {"counts": float(sum(d.counts.data.sum() for d in datasets))}
    models = Models.from_dict(case.models([d.name for d in datasets]))
    datasets.models = models
    result, told = timed_fit(lambda: Fit().run(datasets), models)
    return {**told, "calls": int(result.nfev)}


serve(answer)
