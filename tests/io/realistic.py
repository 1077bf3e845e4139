"""Datasets with responses and counts as an instrument has them, so that models can be folded with them."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from gammaflow.data import GTI
from gammaflow.datasets import CountsDataset, MapDatasetGeometry, SpectrumDatasetGeometry
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom
from tests.datasets.small import REFERENCE

CENTER = (83.63, 22.01)
ENERGY = MapAxis.from_energy_bounds("0.5 TeV", "50 TeV", nbin=6)
ENERGY_TRUE = MapAxis.from_energy_bounds("0.3 TeV", "80 TeV", nbin=12, name="energy_true")
RAD = MapAxis.from_bounds(0.0, 0.66, 132, "rad", "deg", "lin")
MIGRA = MapAxis.from_bounds(0.2, 5.0, 96, "migra", "", "lin")
RESOLUTION = 0.12


def realistic(kind: type[CountsDataset], migra: bool):
    """Background, PSF of 0.1 deg and an energy resolution of 12 %, the same everywhere; no source in the counts."""
    axis = MIGRA if migra else None
    if kind.tag.startswith("Map"):
        geom = WcsGeom.create(
            skydir=CENTER, frame="icrs", proj="TAN", width=(3.05, 2.45), binsz=0.05, axes=[ENERGY]
        )
        geometry = MapDatasetGeometry.create(geom, ENERGY_TRUE, RAD, axis, 0.5)
    else:
        region = RegionGeom.create(f"icrs;circle({CENTER[0]},{CENTER[1]},0.3)", [ENERGY])
        geometry = SpectrumDatasetGeometry.create(region, ENERGY_TRUE, axis)
    shapes, rng = geometry.shapes, np.random.default_rng(1)

    def spread(values, name):
        return np.broadcast_to(
            values.reshape(*values.shape, *(1,) * (len(shapes[name]) - values.ndim)), shapes[name]
        )

    pixels = int(np.prod(shapes["counts"][1:]))
    background = spread(12000 / pixels * ENERGY.center**-1.5, "counts")
    if migra:
        density = np.exp(-0.5 * ((MIGRA.center - 1) / RESOLUTION) ** 2)
        edisp = np.tile(density / (density * np.diff(MIGRA.edges)).sum(), (ENERGY_TRUE.nbin, 1))
    else:
        edges = ENERGY.edges[None] / ENERGY_TRUE.center[:, None]
        edisp = np.diff(norm.cdf((edges - 1) / RESOLUTION), axis=1)
    exposure = 1e9 * ENERGY_TRUE.center**0.4
    arrays = {
        "counts": rng.poisson(background),
        "background": background,
        "mask_safe": np.ones(shapes["mask_safe"], dtype=bool),
        "exposure": spread(exposure, "exposure"),
        "edisp": spread(edisp, "edisp"),
        "edisp_exposure": spread(exposure, "edisp_exposure"),
        "counts_off": rng.poisson(5 * background),
        "acceptance": np.ones(shapes["counts"]),
        "acceptance_off": np.full(shapes["counts"], 5.0),
    }
    if "psf" in shapes:
        radius = np.radians(RAD.center)
        profile = np.exp(-0.5 * (RAD.center / 0.1) ** 2)
        profile /= (2 * np.pi * radius * np.radians(np.diff(RAD.edges)) * profile).sum()
        profiles = np.tile(profile, (ENERGY_TRUE.nbin, 1))
        arrays |= {"psf": spread(profiles, "psf"), "psf_exposure": spread(exposure, "psf_exposure")}
    arrays = {name: values for name, values in arrays.items() if name in kind.arrays}
    gti = GTI([1e8], [1e8 + 1e4], REFERENCE)
    return kind.from_arrays(geometry, "one", livetime=1e4, gti=gti, **arrays)
