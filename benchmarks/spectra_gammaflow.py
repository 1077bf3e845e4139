"""gammaflow's side of the benchmark of spectra: datasets are made once, then fitted as often as asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import spectra_cases as cases
from peer import serve
from timed_fit import timed_fit

from gammaflow.datasets import FluxPointsDataset, SpectrumDatasetGeometry, SpectrumDatasetOnOff, stack
from gammaflow.fit import Fit
from gammaflow.io import read_datasets
from gammaflow.maps import MapAxis, RegionGeom
from gammaflow.modeling import Models

case = sys.argv[1]


def simulated(path: str) -> list[Any]:
    """The datasets whose arrays the driver has written."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    energy = MapAxis(cases.edges(cases.ENERGY), "energy")
    true = MapAxis(cases.edges(cases.ENERGY_TRUE), "energy_true")
    region = RegionGeom.create("icrs;circle({},{},{})".format(*cases.REGION), [energy])
    geometry = SpectrumDatasetGeometry.create(region, true)
    made = []
    for i in range(len(arrays["counts"])):
        own = {name: stored[i] for name, stored in arrays.items()}
        made.append(
            SpectrumDatasetOnOff.from_arrays(geometry, f"obs-{i}", edisp_exposure=own["exposure"], **own)
        )
    return made


def crab() -> list[Any]:
    """The three instruments."""
    data = Path(os.environ["GAMMAPY_DATA"])
    fermi = read_datasets(data / "fermi-3fhl-crab" / "Fermi-LAT-3FHL_datasets.yaml")[0]
    spectra = data / "joint-crab" / "spectra" / "hess"
    hess = [SpectrumDatasetOnOff.read(spectra / f"pha_obs{i}.fits") for i in (23523, 23526)]
    hawc = FluxPointsDataset.read(data / "hawc" / "crab_flux" / "HAWC19_flux_points.fits")
    return [fermi, stack(hess, "HESS"), hawc]


datasets: list[Any] = []


def answer(prepare: bool = False, path: str | None = None) -> dict[str, Any]:
    if prepare:
        datasets.extend(simulated(path) if path else crab())
        counted = [d for d in datasets if not isinstance(d, FluxPointsDataset)]
        return {"counts": float(sum(d.array("counts").sum() for d in counted))}
    models = Models.from_dict(cases.models(case))
    result, told = timed_fit(lambda: Fit().run(datasets, models), models)
    return {
        **told,
        "set_up": result.timings["condense"],
        "message": result.message,
        "trips": result.trips,
    }


serve(answer)
