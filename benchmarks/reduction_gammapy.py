"""Gammapy's side of the reduction benchmark: reduce one observation, write nothing."""

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
from cases import CASES  # noqa: E402
from gammapy.data import DataStore  # noqa: E402
from gammapy.datasets import MapDataset  # noqa: E402
from gammapy.makers import FoVBackgroundMaker, MapDatasetMaker, SafeMaskMaker  # noqa: E402
from gammapy.maps import MapAxis, WcsGeom  # noqa: E402
from peer import serve  # noqa: E402
from regions import CircleSkyRegion  # noqa: E402

case = CASES[sys.argv[1]]
store = DataStore.from_dir(Path(os.environ["GAMMAPY_DATA"]) / case.store)
energy = MapAxis.from_energy_bounds(*case.energy[:2], nbin=case.energy[2], unit="TeV")
energy_true = MapAxis.from_energy_bounds(
    *case.energy_true[:2], nbin=case.energy_true[2], unit="TeV", name="energy_true"
)
center = SkyCoord(*case.center, unit="deg", frame=case.frame)
geom = WcsGeom.create(skydir=center, frame=case.frame, width=case.width, binsz=0.02, axes=[energy])
empty = MapDataset.create(geom, energy_axis_true=energy_true, name="stacked", binsz_irf=0.2)
makers = [
    MapDatasetMaker(),
    SafeMaskMaker(methods=["aeff-default", "offset-max"], offset_max=case.safe_offset * u.deg),
]
if case.exclusion_radius is not None:
    exclusion = ~geom.to_image().region_mask([CircleSkyRegion(center, case.exclusion_radius * u.deg)])
    makers.append(FoVBackgroundMaker(method="fit", exclusion_mask=exclusion))


def answer(obs_id: int) -> dict[str, float | str]:
    start = time.perf_counter()
    observation = store.get_observations([obs_id])[0]
    dataset = empty.cutout(
        observation.get_pointing_icrs(observation.tmid),
        width=2 * case.cutout_offset * u.deg,
        name=str(obs_id),
    )
    for maker in makers:
        dataset = maker.run(dataset, observation)
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "counts": float(dataset.counts.data.sum()),
        "exposure": float(dataset.exposure.data.sum()),
        "version": gammapy.__version__,
    }


serve(answer)
