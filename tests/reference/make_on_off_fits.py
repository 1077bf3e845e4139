"""Gammapy 2.1's fit of a map with a ring background: writes ``on_off_fits.json`` beside this script.

Run it in an environment with Gammapy; GAMMAPY_DATA names the folder that holds hess-dl3-dr1. The maps are those of six
runs on PKS 2155-304, reduced as in the tests of the background makers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import astropy.units as u
from astropy.coordinates import SkyCoord
from gammapy.data import DataStore
from gammapy.datasets import Datasets, MapDataset, MapDatasetOnOff
from gammapy.makers import MapDatasetMaker, RingBackgroundMaker, SafeMaskMaker
from gammapy.maps import MapAxis, WcsGeom
from gammapy.modeling import Fit
from gammapy.modeling.models import GaussianSpatialModel, PowerLawSpectralModel, SkyModel
from regions import CircleSkyRegion

RUNS = (33787, 33788, 33789, 33790, 33791, 33792)
TARGET = SkyCoord(329.7169, -30.2256, unit="deg")


def reduced():
    energy = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=1)
    true = MapAxis.from_energy_bounds("0.3 TeV", "40 TeV", nbin=12, name="energy_true")
    geom = WcsGeom.create(skydir=TARGET, frame="icrs", width=(4, 4), binsz=0.02, axes=[energy])
    empty = MapDataset.create(geom, energy_axis_true=true, name="stacked", binsz_irf=0.2)
    exclusion = ~geom.to_image().region_mask([CircleSkyRegion(TARGET, 0.3 * u.deg)])
    makers = [
        MapDatasetMaker(),
        SafeMaskMaker(methods=["aeff-default", "offset-max"], offset_max=2.0 * u.deg),
        RingBackgroundMaker(r_in="0.5 deg", width="0.3 deg", exclusion_mask=exclusion),
    ]
    store = DataStore.from_dir(Path(os.environ["GAMMAPY_DATA"]) / "hess-dl3-dr1")
    stacked = MapDatasetOnOff.create(geom=geom, energy_axis_true=true, name="stacked", binsz_irf=0.2)
    for observation in store.get_observations(list(RUNS)):
        pointing = observation.get_pointing_icrs(observation.tmid)
        dataset = empty.cutout(pointing, width=4.0 * u.deg, name=f"obs-{observation.obs_id}")
        for maker in makers:
            dataset = maker.run(dataset, observation)
        stacked.stack(dataset)
    return stacked


def source():
    spectrum = PowerLawSpectralModel(index=3.4, amplitude="3e-12 cm-2 s-1 TeV-1")
    spectrum.index.frozen = True
    place = GaussianSpatialModel(lon_0=TARGET.ra, lat_0=TARGET.dec, sigma="0.05 deg", frame="icrs")
    for parameter in place.parameters:  # free, its position runs away
        parameter.frozen = True
    return SkyModel(spectrum, place, name="pks")


def fitted(dataset):
    datasets = Datasets([dataset])
    without = float(dataset.stat_sum())
    datasets.models = [source()]
    start = float(dataset.stat_sum())
    result = Fit().run(datasets)
    return {
        "stat_without_source": without,
        "stat_start": start,
        "total_stat": float(result.total_stat),
        "success": bool(result.success),
        "npred_signal": float(dataset.npred_signal().data[dataset.mask.data].sum()),
        "parameters": {
            p.name: {"value": float(p.value), "error": float(p.error)}
            for p in datasets.parameters.free_parameters
        },
    }


if __name__ == "__main__":
    content = {"runs": RUNS, "stacked": fitted(reduced())}
    Path(__file__).with_name("on_off_fits.json").write_text(json.dumps(content, indent=1) + "\n")
