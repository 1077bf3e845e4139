"""Write flux_points.json with Gammapy 2.1: run in an environment that has it."""

import json
import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table
from gammapy.datasets import FluxPointsDataset
from gammapy.estimators import FluxPoints
from gammapy.modeling.models import PowerLawSpectralModel, SkyModel

warnings.filterwarnings("ignore")

EDGES = np.geomspace(0.5, 40.0, 7)
ENERGY = np.sqrt(EDGES[1:] * EDGES[:-1])
REFERENCE = 3e-11 * ENERGY**-2.4
NORM = np.array([1.1, 0.9, 1.3, 0.7, 1.6, 0.4])
ERRN = np.array([0.1, 0.08, 0.2, 0.15, 0.5, 0.3])
ERRP = np.array([0.12, 0.09, 0.22, 0.2, 0.7, 0.6])
LIMIT = np.array([1.35, 1.1, 1.8, 1.2, 3.1, 1.7])
IS_UL = np.array([False, False, False, False, False, True])
SCAN = np.linspace(0.2, 5.0, 11)
#: Amplitudes in cm-2 s-1 TeV-1 at 1 TeV, and indices.
MODELS = [(3e-11, 2.4), (5e-11, 2.2), (1.2e-11, 2.7), (2e-10, 2.1), (1e-12, 2.5)]


def numbers(values):
    return [None if not np.isfinite(x) else float(x) for x in np.ravel(values)]


def scans():
    """Scans that are no parabolas: each side has its own width, and a cubic term."""
    away = SCAN[None, :] - NORM[:, None]
    width = np.where(away > 0, ERRP[:, None], ERRN[:, None])
    return 12.5 + np.arange(6)[:, None] + (away / width) ** 2 / (1 + 0.1 * np.abs(away))


def likelihood_table():
    table = Table(meta={"SED_TYPE": "likelihood", "n_sigma_ul": 2})
    table["e_ref"], table["e_min"], table["e_max"] = ENERGY * u.TeV, EDGES[:-1] * u.TeV, EDGES[1:] * u.TeV
    table["ref_dnde"] = REFERENCE * u.Unit("cm-2 s-1 TeV-1")
    for name, values in (("norm", NORM), ("norm_errn", ERRN), ("norm_errp", ERRP), ("norm_ul", LIMIT)):
        table[name] = values
    table["norm_err"] = 0.5 * (ERRN + ERRP)
    table["is_ul"] = IS_UL
    table["norm_scan"] = np.repeat(SCAN[None], 6, axis=0)
    table["stat"] = 12.5 + np.arange(6.0)
    table["stat_scan"] = scans()
    return table


def statistics():
    """Statistics of each point for each model, by type."""
    points = FluxPoints.from_table(likelihood_table())
    out = {}
    for kind in ("chi2", "distrib", "profile"):
        out[kind] = []
        for amplitude, index in MODELS:
            dataset = FluxPointsDataset(data=points, name="sed", stat_type=kind)
            spectrum = PowerLawSpectralModel(amplitude=amplitude * u.Unit("cm-2 s-1 TeV-1"), index=index)
            dataset.models = SkyModel(spectrum, name="src")
            out[kind].append({"array": numbers(dataset.stat_array()), "sum": float(dataset.stat_sum())})
    return out


def conversions():
    """Differential fluxes of tables of every type; the reference spectrum is a power law of index 2."""
    columns = {
        "dnde": ("cm-2 s-1 TeV-1", REFERENCE),
        "e2dnde": ("erg cm-2 s-1", 1e-11 * NORM),
        "flux": ("cm-2 s-1", 1e-11 * NORM),
        "eflux": ("erg cm-2 s-1", 1e-11 * NORM),
    }
    out = {}
    for kind, (unit, values) in columns.items():
        table = Table(meta={"SED_TYPE": kind})
        table["e_ref"], table["e_min"], table["e_max"] = ENERGY * u.TeV, EDGES[:-1] * u.TeV, EDGES[1:] * u.TeV
        table[kind], table[f"{kind}_err"] = values * u.Unit(unit), 0.1 * values * u.Unit(unit)
        points = FluxPoints.from_table(table)
        out[kind] = {
            "unit": unit,
            "values": numbers(values),
            "dnde": numbers(points.dnde.data),
            "dnde_err": numbers(points.dnde_err.data),
        }
    return out


if __name__ == "__main__":
    names = (
        "e_ref",
        "e_min",
        "e_max",
        "ref_dnde",
        "norm",
        "norm_err",
        "norm_errn",
        "norm_errp",
        "norm_ul",
        "stat",
    )
    content = likelihood_table()
    reference = {
        "models": MODELS,
        "table": {name: numbers(content[name]) for name in names},
        "is_ul": IS_UL.tolist(),
        "norm_scan": SCAN.tolist(),
        "stat_scan": scans().tolist(),
        "statistics": statistics(),
        "conversions": conversions(),
    }
    path = Path(__file__).with_name("flux_points.json")
    path.write_text(json.dumps(reference, indent=1) + "\n")
