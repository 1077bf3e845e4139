"""Gammapy's side of the benchmark of spectra: datasets are made once, then fitted as often as asked."""

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
import numpy as np  # noqa: E402
import spectra_cases as cases  # noqa: E402
from astropy.coordinates import SkyCoord  # noqa: E402
from gammapy.datasets import Datasets, FluxPointsDataset, SpectrumDatasetOnOff  # noqa: E402
from gammapy.estimators import FluxPoints  # noqa: E402
from gammapy.maps import MapAxis, RegionGeom  # noqa: E402
from gammapy.modeling import Fit  # noqa: E402
from gammapy.modeling.models import Models  # noqa: E402
from peer import serve  # noqa: E402
from regions import CircleSkyRegion  # noqa: E402
from timed_fit import timed_fit  # noqa: E402

case = sys.argv[1]


def simulated(path: str) -> Datasets:
    """The datasets whose arrays the driver has written."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    energy = MapAxis.from_energy_edges(cases.edges(cases.ENERGY), unit="TeV", name="energy")
    true = MapAxis.from_energy_edges(cases.edges(cases.ENERGY_TRUE), unit="TeV", name="energy_true")
    lon, lat, radius = cases.REGION
    region = CircleSkyRegion(SkyCoord(lon, lat, unit="deg"), radius * u.deg)
    geom = RegionGeom.create(region, axes=[energy])
    made = []
    for i in range(len(arrays["counts"])):
        dataset = SpectrumDatasetOnOff.create(geom, energy_axis_true=true, name=f"obs-{i}")
        maps = {
            "counts": dataset.counts,
            "counts_off": dataset.counts_off,
            "acceptance": dataset.acceptance,
            "acceptance_off": dataset.acceptance_off,
            "mask_safe": dataset.mask_safe,
            "exposure": dataset.exposure,
            "edisp": dataset.edisp.edisp_map,
        }
        for name, into in maps.items():
            into.data = arrays[name][i].reshape(into.data.shape).astype(into.data.dtype)
        dataset.edisp.exposure_map.data[...] = arrays["exposure"][i].reshape(
            dataset.edisp.exposure_map.data.shape
        )
        made.append(dataset)
    return Datasets(made)


def crab() -> Datasets:
    """The three instruments."""
    data = Path(os.environ["GAMMAPY_DATA"])
    fermi = Datasets.read(filename=data / "fermi-3fhl-crab" / "Fermi-LAT-3FHL_datasets.yaml")[0]
    spectra = data / "joint-crab" / "spectra" / "hess"
    hess = Datasets([SpectrumDatasetOnOff.read(spectra / f"pha_obs{i}.fits") for i in (23523, 23526)])
    points = FluxPoints.read(data / "hawc" / "crab_flux" / "HAWC19_flux_points.fits", reference_model=None)
    return Datasets([fermi, hess.stack_reduce(name="HESS"), FluxPointsDataset(data=points, name="HAWC")])


datasets = Datasets()


def answer(prepare: bool = False, path: str | None = None) -> dict[str, Any]:
    if prepare:
        datasets.extend(simulated(path) if path else crab())
        return {
            "counts": float(
                sum(d.counts.data.sum() for d in datasets if not isinstance(d, FluxPointsDataset))
            )
        }
    models = Models.from_dict(cases.models(case))
    datasets.models = models
    result, told = timed_fit(lambda: Fit().run(datasets), models)
    return {**told, "calls": int(result.nfev)}


serve(answer)
