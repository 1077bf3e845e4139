"""Responses evaluated by Gammapy at random points: makes ``irf.json`` beside this file.

Run with Gammapy 2.1: ``GAMMAPY_DATA=... PYTHONPATH=. python tests/reference/make_irf.py``.
"""

import json
import logging
import os
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
from gammapy.irf import (
    PSF3D,
    Background2D,
    Background3D,
    EffectiveAreaTable2D,
    EnergyDependentMultiGaussPSF,
    EnergyDispersion2D,
    PSFKing,
)
from gammapy.maps import MapAxis

from tests.reference import synthetic

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)

HERE = Path(__file__).parent
DATA = Path(os.environ["GAMMAPY_DATA"])
CTA = "cta-1dc/caldb/data/cta/1dc/bcf/South_z20_50h/irf_file.fits"
HESS = "hess-dl3-dr1/data/hess_dl3_dr1_obs_id_020282.fits.gz"
PROD5 = "cta-caldb/Prod5-South-20deg-AverageAz-14MSTs37SSTs.180000s-v0.1.fits.gz"
N_POINTS = 40
RANGES = {
    "energy": (0.01, 150.0),
    "energy_true": (0.01, 150.0),
    "offset": (0.0, 6.5),
    "rad": (0.0, 0.4),
    "migra": (0.0, 3.2),
    "fov_lon": (-6.2, 6.2),
    "fov_lat": (-6.2, 6.2),
}
UNITS = {
    "energy": "TeV",
    "energy_true": "TeV",
    "offset": "deg",
    "rad": "deg",
    "fov_lon": "deg",
    "fov_lat": "deg",
}


def points(names, rng, scale):
    values = {}
    for name in names:
        lo, hi = RANGES[name]
        if name.startswith("energy"):
            values[name] = np.exp(rng.uniform(np.log(lo), np.log(hi), N_POINTS))
        else:
            factor = scale if name in ("offset", "fov_lon", "fov_lat") else 1.0
            values[name] = rng.uniform(lo, hi, N_POINTS) * factor
    return values


def case(irf, unit, scale, rng, **where):
    names = irf.required_arguments
    at = points(names, rng, scale)
    quantities = {name: u.Quantity(x, UNITS.get(name, "")) for name, x in at.items()}
    # As the map makers do, gaps in energy are filled first
    if irf.tag.startswith("bkg"):
        irf.interp_missing_data("energy")
    values = irf.evaluate(**quantities).to_value(unit)
    out = {
        **where,
        "class": irf.tag,
        "points": {k: v.tolist() for k, v in at.items()},
        "values": values.tolist(),
    }
    if irf.tag.startswith("psf"):
        inside = {k: quantities[k] for k in ("energy_true", "offset")}
        out["containment"] = (
            u.Quantity(irf.containment(rad=quantities["rad"], **inside)).to_value("").tolist()
        )
        out["radius_68"] = irf.containment_radius(0.68, **inside).to_value("deg").tolist()
    return out


def main():
    rng = np.random.default_rng(2)
    cases = []
    readers = (
        (EffectiveAreaTable2D, "m2", {CTA: "EFFECTIVE AREA", HESS: "AEFF", PROD5: "EFFECTIVE AREA"}),
        (EnergyDispersion2D, "", {CTA: "ENERGY DISPERSION", HESS: "EDISP", PROD5: "ENERGY DISPERSION"}),
        (
            EnergyDependentMultiGaussPSF,
            "sr-1",
            {CTA: "POINT SPREAD FUNCTION", PROD5: "POINT SPREAD FUNCTION"},
        ),
        (PSF3D, "sr-1", {HESS: "PSF"}),
        (Background3D, "s-1 MeV-1 sr-1", {CTA: "BACKGROUND", HESS: "BKG", PROD5: "BACKGROUND"}),
    )
    for cls, unit, files in readers:
        for name, hdu in files.items():
            irf = cls.read(DATA / name, hdu=hdu)
            cases.append(case(irf, unit, 0.45 if name == HESS else 1.0, rng, file=name, hdu=hdu))
    energy_true = MapAxis.from_energy_edges(synthetic.ENERGY_TRUE_EDGES * u.TeV, name="energy_true")
    nodes = MapAxis.from_nodes(synthetic.OFFSET_NODES * u.deg, name="offset")
    tables = synthetic.king_tables()
    data = np.empty(tables["gamma"].shape, dtype=[("gamma", np.float32), ("sigma", np.float32)])
    for name, table in tables.items():
        data[name] = table
    king = PSFKing([energy_true, nodes], data=data, unit={"gamma": u.one, "sigma": u.deg})
    cases.append(case(king, "sr-1", 0.45, rng, synthetic="king"))
    energy = MapAxis.from_energy_edges(synthetic.ENERGY_EDGES * u.TeV, name="energy")
    offset = MapAxis.from_edges(synthetic.OFFSET_EDGES * u.deg, name="offset", interp="lin")
    bkg = Background2D([energy, offset], data=synthetic.background_2d_table(), unit="s-1 MeV-1 sr-1")
    cases.append(case(bkg, "s-1 MeV-1 sr-1", 0.5, rng, synthetic="background_2d"))
    (HERE / "irf.json").write_text(json.dumps({"gammapy": "2.1", "cases": cases}, indent=None))


if __name__ == "__main__":
    main()
