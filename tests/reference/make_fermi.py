"""Gammapy's numbers for the Fermi-LAT cube of the Crab: run with Gammapy 2.1 and ``$GAMMAPY_DATA``.

    python make_fermi.py

The spectrum's reference energy is moved to 50 GeV, where the data are: as it stands in the file (50 MeV) Gammapy's fit
of the cube alone runs into its limit of calls. The diffuse template enters twice: as it stands, and with its planes
replaced by their means over the cube's five wide bins (sums over 200 steps each), as Gammapy takes the value at the
centre of a bin for its mean.
"""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import gammapy
import numpy as np
from astropy import units as u
from gammapy.datasets import Datasets
from gammapy.maps import Map, MapAxis
from gammapy.modeling import Fit
from gammapy.modeling.models import (
    LogParabolaSpectralModel,
    PowerLawNormSpectralModel,
    SkyModel,
    TemplateSpatialModel,
)

HERE = Path(__file__).parent
FOLDER = Path(os.environ["GAMMAPY_DATA"]) / "fermi-3fhl-crab"
REFERENCE = 0.05  # TeV
STEPS = 200


def read():
    return Datasets.read(FOLDER / "Fermi-LAT-3FHL_datasets.yaml", FOLDER / "Fermi-LAT-3FHL_models.yaml")[0]


def moved(spectral):
    """The same log parabola with another reference energy."""
    e0, beta = spectral.reference.quantity, spectral.beta.value
    at = REFERENCE * e0.unit
    alpha = spectral.alpha.value + 2 * beta * np.log((at / e0).to_value(""))
    return LogParabolaSpectralModel(amplitude=spectral(at), alpha=alpha, beta=beta, reference=at)


def averaged(template, axis):
    """The template with its mean over each bin of an energy axis."""
    image = template.map.geom.to_image()
    geom = image.to_cube([MapAxis.from_nodes(axis.center, interp="log", name="energy_true")])
    out = Map.from_geom(geom, unit=template.map.unit)
    coord = image.get_coord()
    for k, (low, high) in enumerate(zip(axis.edges[:-1], axis.edges[1:], strict=True)):
        edges = np.geomspace(low.to_value("TeV"), high.to_value("TeV"), STEPS + 1)
        for a, b in pairwise(edges):
            energy = np.full(coord.shape, np.sqrt(a * b)) * u.TeV
            at = {"skycoord": coord.skycoord, "energy_true": energy}
            value = template.map.interp_by_coord(at, fill_value=0, values_scale="log")
            out.data[k] += np.nan_to_num(value) * (b - a) / (high - low).to_value("TeV")
    return TemplateSpatialModel(out, normalize=False)


def fitted(dataset):
    result = Fit().run([dataset])
    return {
        "stat": float(dataset.stat_sum()),
        "success": bool(result.success),
        "calls": int(result.nfev),
        "parameters": {
            f"{model.name}.{p.name}": [float(p.value), float(p.error)]
            for model in dataset.models
            for p in model.parameters
            if not p.frozen
        },
    }


def main():
    dataset = read()
    crab = dataset.models["Crab Nebula"]
    out = {"gammapy": gammapy.__version__, "stat_start": float(dataset.stat_sum())}
    out["npred_signal"] = dataset.npred_signal().data.sum(axis=(1, 2)).tolist()
    crab.spectral_model = moved(crab.spectral_model)
    out["spectrum"] = {p.name: float(p.value) for p in crab.spectral_model.parameters}
    out["fit"] = fitted(dataset)

    dataset = read()
    template = TemplateSpatialModel.read(FOLDER / "Fermi-LAT-3FHL_iem.fits", normalize=False)
    axis = dataset.exposure.geom.axes["energy_true"]
    models = {}
    for name, spatial in (("at_centers", template), ("averaged", averaged(template, axis))):
        models[name] = SkyModel(PowerLawNormSpectralModel(), spatial, name="diffuse")
        dataset.models = [models[name]]
        out[f"npred_diffuse_{name}"] = dataset.npred_signal().data[:, 6:-6, 6:-6].sum(axis=(1, 2)).tolist()

    dataset = read()
    crab = dataset.models["Crab Nebula"]
    crab.spectral_model = moved(crab.spectral_model)
    background = dataset.background_model
    background.spectral_model.norm.value = 0.4
    background.spectral_model.norm.frozen = True
    dataset.models = [crab, models["averaged"], background]
    out["fit_diffuse"] = fitted(dataset)
    (HERE / "fermi.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
