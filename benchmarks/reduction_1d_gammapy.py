"""Gammapy's side of the reduction to spectra: reduce one observation, write nothing."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

import astropy.units as u  # noqa: E402 - the path must be set first
import gammapy  # noqa: E402
from astropy.coordinates import SkyCoord  # noqa: E402
from gammapy.data import DataStore  # noqa: E402
from gammapy.datasets import SpectrumDataset  # noqa: E402
from gammapy.makers import ReflectedRegionsBackgroundMaker, SafeMaskMaker, SpectrumDatasetMaker  # noqa: E402
from gammapy.maps import MapAxis, RegionGeom  # noqa: E402
from peer import serve  # noqa: E402
from reduction_1d_cases import PKS_2155 as case  # noqa: E402
from regions import CircleSkyRegion  # noqa: E402

store = DataStore.from_dir(Path(os.environ["GAMMAPY_DATA"]) / case.store)
energy = MapAxis.from_energy_bounds(*case.energy[:2], nbin=case.energy[2], unit="TeV")
energy_true = MapAxis.from_energy_bounds(
    *case.energy_true[:2], nbin=case.energy_true[2], unit="TeV", name="energy_true"
)
center = SkyCoord(*case.center, unit="deg")
geom = RegionGeom.create(CircleSkyRegion(center, case.radius * u.deg), axes=[energy])
empty = SpectrumDataset.create(geom, energy_axis_true=energy_true)
makers = [
    SpectrumDatasetMaker(selection=["counts", "exposure", "edisp"], containment_correction=True),
    ReflectedRegionsBackgroundMaker(),
    SafeMaskMaker(methods=["aeff-max"], aeff_percent=case.aeff_percent),
]


def answer(obs_id: int) -> dict[str, float | str]:
    start = time.perf_counter()
    observation = store.get_observations([obs_id])[0]
    dataset = empty.copy(name=str(obs_id))
    for maker in makers:
        dataset = maker.run(dataset, observation)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "counts": float(dataset.counts.data.sum()),
        "counts_off": float(dataset.counts_off.data.sum()),
        "background": float(dataset.background.data.sum()),
        "exposure": float(dataset.exposure.data.sum()),
        "version": gammapy.__version__,
    }


serve(answer)
