"""Analytic responses of an array like the southern one of CTA, put into tables.

The numbers are round ones of the right size, smooth in energy and offset. Events are drawn through
the *tables*, interpolated as the reduction interpolates them, so that what is simulated and what a
reduction expects agree to far better than the statistical error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from gammaflow.irf import Background3D, EffectiveAreaTable2D, EnergyDependentMultiGaussPSF, EnergyDispersion2D
from gammaflow.irf.axis import IrfAxis

Floats = NDArray[np.float64]

ENERGY_RANGE = (0.02, 200.0)  # TeV, of all responses
SAFE_ENERGY = (0.1, 150.0)  # TeV, LO_THRES and HI_THRES
BACKGROUND_HZ = 8.0  # all background events of the field of view
FOV_HALF_WIDTH = 6.0  # deg, of the background


@dataclass(frozen=True)
class Responses:
    """The four responses of the array; tables are float32, as a file holds them."""

    aeff: EffectiveAreaTable2D
    edisp: EnergyDispersion2D
    psf: EnergyDependentMultiGaussPSF
    bkg: Background3D


def cta_like_responses() -> Responses:
    """Responses over 0.02 to 200 TeV and offsets of 0 to 5 deg."""
    energy = IrfAxis.from_edges(np.geomspace(*ENERGY_RANGE, 41), "energy_true", "log")
    offset = IrfAxis.from_nodes(np.arange(6.0), "offset", "lin")
    e, theta = energy.nodes[:, np.newaxis], offset.nodes
    cards = {"TELESCOP": "CTA", "INSTRUME": "SIMULATED", "ORIGIN": "gammaflow"}

    aeff_cards = {**cards, "LO_THRES": SAFE_ENERGY[0], "HI_THRES": SAFE_ENERGY[1]}
    aeff = EffectiveAreaTable2D(
        (energy, offset), effective_area(e, theta).astype(np.float32), meta=aeff_cards
    )

    migra = IrfAxis.from_edges(np.linspace(0.0, 3.0, 151), "migra", "lin")
    edges = migra.edges[:, np.newaxis]
    with np.errstate(divide="ignore"):
        pull = (np.log(edges) - migration_bias(e[..., np.newaxis])) / migration_width(e, theta)[
            :, np.newaxis, :
        ]
    density = np.diff(ndtr(pull), axis=1) / np.diff(migra.edges)[:, np.newaxis]
    density /= (density * np.diff(migra.edges)[:, np.newaxis]).sum(axis=1, keepdims=True)
    edisp = EnergyDispersion2D((energy, migra, offset), density.astype(np.float32), meta=cards)

    sigma = psf_width(e, theta)
    tables = {
        "sigma_1": sigma,
        "sigma_2": 2.5 * sigma,
        "sigma_3": np.ones_like(sigma),
        "ampl_2": np.full_like(sigma, 0.03),
        "ampl_3": np.zeros_like(sigma),
    }
    tables["scale"] = 1 / (2 * np.pi * np.radians(sigma) ** 2 * (1 + 0.03 * 2.5**2))
    psf = EnergyDependentMultiGaussPSF(
        (energy, offset), {name: table.astype(np.float32) for name, table in tables.items()}, meta=cards
    )

    reco = IrfAxis.from_edges(np.geomspace(*ENERGY_RANGE, 33), "energy", "log")
    lon, lat = (
        IrfAxis.from_edges(np.linspace(-FOV_HALF_WIDTH, FOV_HALF_WIDTH, 25), name, "lin")
        for name in ("fov_lon", "fov_lat")
    )
    rate = background_rate(reco.nodes[:, np.newaxis, np.newaxis], lon.nodes[:, np.newaxis], lat.nodes)
    bkg = Background3D((reco, lon, lat), rate.astype(np.float32), meta=cards, fov_alignment="RADEC")
    return Responses(aeff, edisp, psf, bkg)


def effective_area(energy: Floats, offset: Floats) -> Floats:
    """Effective area in m2: 1e5 at 0.1 TeV, 1e6 at 1 TeV, 4e6 at the highest energies, on axis."""
    on_axis = 4e6 / (1 + 3.0 / energy) / (1 + (0.06 / energy) ** 2.5)
    return on_axis / (1 + (offset / _field_of_view(energy)) ** 4)


def migration_bias(energy: Floats) -> Floats:
    """Median of ln(E / E_true): events just above the trigger threshold are overestimated."""
    return 0.15 / (1 + (energy / 0.04) ** 1.5)


def migration_width(energy: Floats, offset: Floats) -> Floats:
    """Width of ln(E / E_true), a Gaussian: 19 % at 0.1 TeV, 9 % at 1 TeV, 6 % at 100 TeV, on axis."""
    return np.sqrt(0.06**2 + (0.07 * energy**-0.4) ** 2) * (1 + 0.01 * offset**2)


def psf_width(energy: Floats, offset: Floats) -> Floats:
    """Width in deg of the core of the PSF: 0.07 at 0.1 TeV, 0.03 at 1 TeV, 0.02 at 100 TeV, on axis."""
    return np.sqrt(0.018**2 + (0.025 * energy**-0.45) ** 2) * (1 + (offset / 5.0) ** 2)


def background_rate(energy: Floats, lon: Floats, lat: Floats) -> Floats:
    """Background rate in s-1 MeV-1 sr-1, with a gradient over the field of view in both directions."""
    shape = _background_shape(energy, lon, lat)
    fine_energy = np.geomspace(*ENERGY_RANGE, 401)[:, np.newaxis, np.newaxis]
    grid = np.linspace(-FOV_HALF_WIDTH, FOV_HALF_WIDTH, 61)
    per_energy = _background_shape(fine_energy, grid[:, np.newaxis], grid) * np.cos(np.radians(grid))
    steradian = np.trapezoid(np.trapezoid(per_energy, np.radians(grid)), np.radians(grid))
    total = np.trapezoid(steradian * fine_energy[:, 0, 0], np.log(fine_energy[:, 0, 0]))
    return BACKGROUND_HZ / total * shape * 1e-6


def _background_shape(energy: Floats, lon: Floats, lat: Floats) -> Floats:
    spectrum = energy**-2.7 / (1 + (0.045 / energy) ** 3)
    width = 2.2 + 0.4 * np.log10(energy)
    return spectrum * np.exp(-0.5 * (lon**2 + lat**2) / width**2 + 0.03 * lon - 0.05 * lat)


def _field_of_view(energy: Floats) -> Floats:
    """Offset in deg at which half of the effective area is left."""
    return 3.3 + 0.7 * np.log10(energy)
