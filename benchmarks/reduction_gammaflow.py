"""gammaflow's side of the reduction benchmark: read, reduce and write one observation."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import numpy as np
from cases import CASES
from peer import serve

import gammaflow
from gammaflow.config import AnalysisConfig
from gammaflow.dag.process_memory import keep_freed_memory
from gammaflow.data import DataStore
from gammaflow.datasets import MapDatasetGeometry
from gammaflow.io.zarr import write_dataset
from gammaflow.makers import make_chain

case = CASES[sys.argv[1]]
scratch = Path(tempfile.mkdtemp(prefix="gammaflow-benchmark-"))
background: dict[str, object] = {}
if case.exclusion_radius is not None:
    lon, lat = case.center
    region = scratch / "exclusion.reg"
    region.write_text(f"{case.frame}\ncircle({lon},{lat},{case.exclusion_radius})\n")
    background = {"method": "fov_background", "exclusion": str(region), "parameters": {"method": "fit"}}
config = AnalysisConfig.model_validate(
    {
        "observations": {"datastore": f"$GAMMAPY_DATA/{case.store}"},
        "datasets": {
            "type": "3d",
            "geom": {
                "wcs": {
                    "skydir": {
                        "frame": case.frame,
                        "lon": f"{case.center[0]} deg",
                        "lat": f"{case.center[1]} deg",
                    },
                    "binsize": "0.02 deg",
                    "width": {"width": f"{case.width[0]} deg", "height": f"{case.width[1]} deg"},
                    "binsize_irf": "0.2 deg",
                },
                "selection": {"offset_max": f"{case.cutout_offset} deg"},
                "axes": {
                    name: {"min": f"{low} TeV", "max": f"{high} TeV", "nbins": bins}
                    for name, (low, high, bins) in (
                        ("energy", case.energy),
                        ("energy_true", case.energy_true),
                    )
                },
            },
            "safe_mask": {
                "methods": ["aeff-default", "offset-max"],
                "parameters": {"offset_max": f"{case.safe_offset} deg"},
            },
            **({"background": background} if background else {}),
        },
    }
)
store = DataStore.from_dir(Path(os.environ["GAMMAPY_DATA"]) / case.store)
files = {obs_id: store.locate(obs_id) for obs_id in case.obs_ids}
geometry = MapDatasetGeometry.create(config.datasets.geom.to_geom(), config.datasets.geom.energy_true_axis())
chain = make_chain(config.datasets)
keep_freed_memory()  # as every worker of a run does
number = count()


def answer(obs_id: int) -> dict[str, float | str]:
    start = time.perf_counter()
    observation = files[obs_id].open()
    for part in ("events", "gti", "aeff", "edisp", "psf", "bkg"):
        getattr(observation, part)  # each is read when it is first asked for
    read = time.perf_counter()
    dataset = chain.run(observation, geometry, name=str(obs_id))
    reduced = time.perf_counter()
    # Each under a name of its own, as in a run, and removed at the end: a file system that has just removed files
    # may take long to make new ones (ext4 keeps off the inodes of the last minute, one by one).
    write_dataset(dataset, scratch / f"{next(number)}.zarr")
    written = time.perf_counter()
    return {
        "seconds": written - start,
        "read": read - start,
        "reduce": reduced - read,
        "write": written - reduced,
        "counts": float(dataset.counts.sum()),
        "exposure": float(dataset.exposure.sum(dtype=np.float64)),
        "version": gammaflow.__version__,
    }


try:
    serve(answer)
finally:
    shutil.rmtree(scratch)
