"""The fits of spectra that are timed: simulated arrays, and models as Gammapy's model files write them.

This module imports nothing but numpy, so that it runs in Gammapy's environment too.
"""

from __future__ import annotations

from math import erf, sqrt
from typing import Any

import numpy as np
from fit_cases import parameter, power_law

CRAB = "crab"
TITLES = {CRAB: "Crab nebula: Fermi-LAT map, H.E.S.S. spectrum, HAWC points"}
ENERGY = (0.1, 40.0, 27)
ENERGY_TRUE = (0.05, 100.0, 67)
REGION = (83.63, 22.01, 0.11)
INDEX, AMPLITUDE = 2.6, 4e-11
_ERF = np.vectorize(erf)


def edges(axis: tuple[float, float, int]) -> np.ndarray:
    """Equal steps in the logarithm, TeV."""
    return np.geomspace(axis[0], axis[1], axis[2] + 1)


def simulated(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Arrays of some half hours on the Crab nebula, first axis the run.

    The energy dispersion is log-normal with a width of its own for each run, the background is counted in 2 to 19
    regions; counts are drawn from a power law.
    """
    rng = np.random.default_rng(seed)
    true, reco = edges(ENERGY_TRUE), edges(ENERGY)
    middle, center = np.sqrt(true[1:] * true[:-1]), np.sqrt(reco[1:] * reco[:-1])
    spectrum = AMPLITUDE * 1e4 * (true[:-1] ** (1 - INDEX) - true[1:] ** (1 - INDEX)) / (INDEX - 1)
    width = 0.15 + 0.1 * rng.random(count)
    scale = np.log(reco / middle[:, None])
    edisp = np.array([np.diff(0.5 * (1 + _ERF(scale / (w * sqrt(2)))), axis=1) for w in width])
    exposure = 8e8 * (1 + 0.3 * rng.random((count, 1))) * middle**0.4 / (1 + (0.4 / middle) ** 4)
    background = 20 * (center / 0.5) ** -2.5
    regions = rng.integers(2, 20, count)
    signal = np.einsum("k,ik,ike->ie", spectrum, exposure, edisp)
    return {
        "counts": rng.poisson(signal + background),
        "counts_off": rng.poisson(background * regions[:, None]),
        "acceptance": np.ones((count, len(center))),
        "acceptance_off": np.repeat(regions[:, None], len(center), axis=1).astype(float),
        "mask_safe": np.repeat((center > 0.4)[None], count, axis=0),
        "exposure": exposure,
        "edisp": edisp,
    }


def models(case: str) -> dict[str, Any]:
    """The models as they start."""
    if case != CRAB:
        return {"components": [{"name": "source", "type": "SkyModel", "spectral": power_law(2.0, 2e-11)}]}
    spectral = {
        "type": "LogParabolaSpectralModel",
        "parameters": [
            parameter("amplitude", 4e-3, "cm-2 s-1 TeV-1"),
            parameter("reference", 5.054833602905273e-05, "TeV", frozen=True),
            parameter("alpha", 1.25),
            parameter("beta", 0.06),
        ],
    }
    place = [
        parameter("lon_0", 83.63310241699219, "deg", frozen=True),
        parameter("lat_0", 22.019899368286133, "deg", frozen=True),
    ]
    spatial = {"type": "PointSpatialModel", "frame": "icrs", "parameters": place}
    background = {
        "type": "FoVBackgroundModel",
        "datasets_names": ["Fermi-LAT"],
        "spectral": {
            "type": "PowerLawNormSpectralModel",
            "parameters": [
                parameter("norm", 1.3),
                parameter("tilt", 0.0, frozen=True),
                parameter("reference", 1.0, "TeV", frozen=True),
            ],
        },
    }
    source = {"name": "Crab Nebula", "type": "SkyModel", "spectral": spectral, "spatial": spatial}
    return {"components": [source, background]}
