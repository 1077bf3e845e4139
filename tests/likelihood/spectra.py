"""Small spectra with responses in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm

from gammaflow.datasets import (
    FluxPointsDataset,
    MapDatasetOnOff,
    SpectrumDataset,
    SpectrumDatasetGeometry,
    SpectrumDatasetOnOff,
)
from gammaflow.maps import MapAxis, RegionGeom
from gammaflow.modeling import PowerLawSpectralModel, SkyModel, SpatialModel
from tests.likelihood.synthetic import make_dataset

REGION = "icrs;circle(83.63,22.01,0.11)"
AMPLITUDE = 4e-11


def power_law(
    name: str = "crab",
    index: float = 2.6,
    amplitude: float = AMPLITUDE,
    spatial: SpatialModel | None = None,
    **options: Any,
) -> SkyModel:
    spectrum = PowerLawSpectralModel(index=index, amplitude=f"{amplitude} cm-2 s-1 TeV-1")
    return SkyModel(spectrum, spatial, name=name, **options)


def geometry(bins: int = 12, true_bins: int = 20, region: str = REGION) -> SpectrumDatasetGeometry:
    energy = MapAxis.from_energy_bounds("0.3 TeV", "40 TeV", nbin=bins)
    true = MapAxis.from_energy_bounds("0.2 TeV", "60 TeV", nbin=true_bins, name="energy_true")
    return SpectrumDatasetGeometry.create(RegionGeom.create(region, [energy]), true)


def arrays(where: SpectrumDatasetGeometry, rng: np.random.Generator, level: float) -> dict[str, Any]:
    """Exposure, energy dispersion, and the background to expect, of some half hour."""
    true, reco = where.energy_axis_true.center, where.energy_axis
    width = 0.15 + 0.1 * rng.random()
    edisp = np.diff(norm.cdf(np.log(reco.edges / true[:, None]) / width), axis=1)
    exposure = 8e8 * (1 + 0.3 * rng.random()) * true**0.4 / (1 + (0.4 / true) ** 4)
    return {
        "exposure": exposure,
        "edisp": edisp,
        "edisp_exposure": exposure,
        "background": level * (reco.center / 0.5) ** -2.5,
    }


def on_off(
    name: str = "one",
    seed: int = 0,
    truth: SkyModel | None = None,
    level: float = 20.0,
    where: SpectrumDatasetGeometry | None = None,
    **replaced: Any,
) -> SpectrumDatasetOnOff:
    """Counts of a power law, with the background counted in 2 to 19 regions."""
    where, rng = where or geometry(), np.random.default_rng(seed)
    parts = arrays(where, rng, level)
    background = parts.pop("background")
    regions = int(rng.integers(2, 20))
    signal = (truth or power_law()).spectral_model.integral_values(np.asarray(where.energy_axis_true.edges))
    expected = (signal * parts["exposure"]) @ parts["edisp"] + background
    given = {
        "counts": rng.poisson(expected),
        "counts_off": rng.poisson(background * regions),
        "acceptance": np.ones(len(background)),
        "acceptance_off": np.full(len(background), float(regions)),
        "mask_safe": where.energy_axis.center > 0.4,
        "livetime": 1700.0,
        **parts,
    }
    return SpectrumDatasetOnOff.from_arrays(where, name, **{**given, **replaced})


def spectrum(
    name: str = "one", seed: int = 0, truth: SkyModel | None = None, level: float = 20.0, **replaced: Any
) -> SpectrumDataset:
    """The same with a modelled background."""
    where, rng = geometry(), np.random.default_rng(seed)
    parts = arrays(where, rng, level)
    signal = (truth or power_law()).spectral_model.integral_values(np.asarray(where.energy_axis_true.edges))
    expected = (signal * parts["exposure"]) @ parts["edisp"] + parts["background"]
    given = {"counts": rng.poisson(expected), "mask_safe": where.energy_axis.center > 0.4, **parts}
    return SpectrumDataset.from_arrays(where, name, livetime=1700.0, **{**given, **replaced})


def flux_points(
    name: str = "points", seed: int = 0, truth: SkyModel | None = None, **columns: Any
) -> FluxPointsDataset:
    """Eight points with errors of ten per cent, the last of them a limit."""
    rng, energy = np.random.default_rng(seed), np.geomspace(0.5, 100.0, 8)
    true = 1e-4 * (truth or power_law()).spectral_model.values(energy)
    given = {
        "dnde_err": 0.1 * true,
        "dnde_ul": 2.0 * true,
        "is_ul": np.arange(8) == 7,
        **columns,
    }
    return FluxPointsDataset.from_arrays(name, energy, true * (1 + 0.1 * rng.normal(size=8)), **given)


def on_off_map(name: str = "one", seed: int = 1, holes: bool = True, **options: Any) -> MapDatasetOnOff:
    """A map whose background was counted around each pixel; with ``holes`` it was not in some."""
    rng = np.random.default_rng(seed)
    made = make_dataset(name, seed=seed, npix=61, **options)
    shape = made.geometry.shapes["counts"]
    acceptance = np.asarray(made.array("background"), dtype=np.float64)
    off = acceptance * (3.0 + rng.random(shape))
    if holes:
        off[:, :, 28:30] = 0.0
    counts_off = rng.poisson(off)
    return MapDatasetOnOff.from_map_dataset(made, acceptance, off, counts_off)
