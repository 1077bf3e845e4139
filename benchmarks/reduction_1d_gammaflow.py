"""gammaflow's side of the reduction to spectra: read, reduce and write one observation."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from itertools import count
from pathlib import Path

import numpy as np
from peer import serve
from reduction_1d_cases import PKS_2155 as case

import gammaflow
from gammaflow.config import AnalysisConfig
from gammaflow.dag.process_memory import keep_freed_memory
from gammaflow.dag.tasks import reference_geometry
from gammaflow.data import DataStore
from gammaflow.io.zarr import write_dataset
from gammaflow.makers import make_chain

SETTINGS = {
    "observations": {
        "datastore": f"$GAMMAPY_DATA/{case.store}",
        "obs_ids": list(case.obs_ids),
        "required_irf": ["aeff", "edisp", "psf"],
    },
    "datasets": {
        "type": "1d",
        "geom": {
            "axes": {
                name: {"min": f"{low} TeV", "max": f"{high} TeV", "nbins": bins}
                for name, (low, high, bins) in (("energy", case.energy), ("energy_true", case.energy_true))
            }
        },
        "map_selection": ["counts", "exposure", "edisp"],
        "background": {"method": "reflected"},
        "safe_mask": {"methods": ["aeff-max"], "parameters": {"aeff_percent": case.aeff_percent}},
        "on_region": {
            "frame": "icrs",
            "lon": f"{case.center[0]} deg",
            "lat": f"{case.center[1]} deg",
            "radius": f"{case.radius} deg",
        },
        "containment_correction": True,
    },
}
"""The same, as the configuration of a run."""


def main() -> None:
    config = AnalysisConfig.model_validate(SETTINGS)
    store = DataStore.from_dir(Path(os.environ["GAMMAPY_DATA"]) / case.store)
    files = {obs_id: store.locate(obs_id) for obs_id in case.obs_ids}
    geometry = reference_geometry(config)
    chain = make_chain(config.datasets, geom=geometry.geom)
    keep_freed_memory()  # as every worker of a run does
    scratch, number = Path(tempfile.mkdtemp(prefix="gammaflow-benchmark-")), count()

    def answer(obs_id: int) -> dict[str, float | str]:
        start = time.perf_counter()
        dataset = chain.run(files[obs_id].open(), geometry, name=str(obs_id))
        reduced = time.perf_counter()
        # each under a name of its own, see reduction_gammaflow.py
        write_dataset(dataset, scratch / f"{next(number)}.zarr")
        written = time.perf_counter()
        return {
            "seconds": written - start,
            "reduce": reduced - start,
            "write": written - reduced,
            "counts": float(dataset.counts.sum()),
            "counts_off": float(dataset.counts_off.sum()),
            "background": float(dataset.background.sum()),
            "exposure": float(dataset.exposure.sum(dtype=np.float64)),
            "version": gammaflow.__version__,
        }

    try:
        serve(answer)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
