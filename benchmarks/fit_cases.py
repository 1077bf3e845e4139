"""The fits that are timed: models as Gammapy's model files write them, which both sides read.

This module imports nothing but the standard library, so that it runs in Gammapy's environment too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def parameter(name: str, value: float, unit: str = "", frozen: bool = False) -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "frozen": frozen}


def cutoff_power_law(index: float, amplitude: float, cutoff: float) -> dict[str, Any]:
    parameters = [
        parameter("index", index),
        parameter("amplitude", amplitude, "TeV-1 s-1 cm-2"),
        parameter("reference", 1.0, "TeV", frozen=True),
        parameter("lambda_", cutoff, "TeV-1"),
        parameter("alpha", 1.0, frozen=True),
    ]
    return {"type": "ExpCutoffPowerLawSpectralModel", "parameters": parameters}


def power_law(index: float, amplitude: float) -> dict[str, Any]:
    parameters = [
        parameter("index", index),
        parameter("amplitude", amplitude, "TeV-1 s-1 cm-2"),
        parameter("reference", 1.0, "TeV", frozen=True),
    ]
    return {"type": "PowerLawSpectralModel", "parameters": parameters}


def point(lon: float, lat: float, frame: str) -> dict[str, Any]:
    parameters = [parameter("lon_0", lon, "deg"), parameter("lat_0", lat, "deg")]
    return {"type": "PointSpatialModel", "frame": frame, "parameters": parameters}


def gaussian(lon: float, lat: float, sigma: float, frame: str, frozen: bool = False) -> dict[str, Any]:
    parameters = [
        parameter("lon_0", lon, "deg", frozen),
        parameter("lat_0", lat, "deg", frozen),
        parameter("sigma", sigma, "deg", frozen),
        parameter("e", 0.0, frozen=True),
        parameter("phi", 0.0, "deg", frozen=True),
    ]
    return {"type": "GaussianSpatialModel", "frame": frame, "parameters": parameters}


@dataclass(frozen=True)
class FitCase:
    """One fit.

    ``data`` is the key of a reduction in `cases`, or "simulated". ``stacked`` says whether its observations
    are stacked before the fit. Every dataset has a norm of its own, which starts at ``norm``.
    """

    name: str
    data: str
    spectral: dict[str, Any] = field(repr=False)
    spatial: dict[str, Any] = field(repr=False)
    stacked: bool = False
    norm: float = 1.0
    tilt: bool = False
    energy_min: float | None = None
    position_differs: bool = False
    gammapy_rounds: int = 3

    def models(self, datasets: list[str]) -> dict[str, Any]:
        """The models as they start, for datasets of these names."""
        source = {
            "name": "source",
            "type": "SkyModel",
            "spectral": self.spectral,
            "spatial": self.spatial,
        }
        return {"components": [source, *(self._background(name) for name in datasets)]}

    def _background(self, dataset: str) -> dict[str, Any]:
        parameters = [
            parameter("norm", self.norm),
            parameter("tilt", 0.0, frozen=not self.tilt),
            parameter("reference", 1.0, "TeV", frozen=True),
        ]
        spectral = {"type": "PowerLawNormSpectralModel", "parameters": parameters}
        return {"type": "FoVBackgroundModel", "datasets_names": [dataset], "spectral": spectral}


_GALACTIC_CENTRE = {
    "spectral": cutoff_power_law(2.3, 2.8e-12, 0.02),
    "spatial": point(-0.05, -0.05, "galactic"),
    "position_differs": True,  # Gammapy's image of a point source depends on where in its pixel it is
}

FITS = {
    "gc-stacked": FitCase(
        "galactic centre, stacked", "gc", stacked=True, norm=1.3, energy_min=0.3, **_GALACTIC_CENTRE
    ),
    "gc-joint": FitCase("galactic centre, 3 runs joint", "gc", **_GALACTIC_CENTRE),
    "msh": FitCase(
        "MSH 15-52, 20 runs joint, position and size free",
        "msh",
        spectral=power_law(2.2, 5e-12),
        spatial=gaussian(228.529, -59.157, 0.1, "icrs"),
        gammapy_rounds=0,  # it fails after a minute and a half
    ),
    "simulated": FitCase(
        "16 simulated joint, 10 x 100 x 100, position frozen",
        "simulated",
        spectral=cutoff_power_law(2.5, 2e-12, 0.05),
        spatial=gaussian(83.63, 22.01, 0.1, "icrs", frozen=True),
        gammapy_rounds=1,
    ),
}
