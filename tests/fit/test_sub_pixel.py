"""Where in its pixel a source lies leaves no trace in a fit but the information that binning loses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from gammaflow.datasets import MapDataset
from gammaflow.fit import Fit, FitResult
from gammaflow.likelihood import source_image
from gammaflow.modeling import Models
from tests.fit.galactic_centre import centre_stacked, gc_models
from tests.likelihood.synthetic import radial_image

POSITION = ("lon_0", "lat_0")
NAMES = tuple(f"gc.spatial.{name}" for name in POSITION)
PIXEL = 0.02
#: Counts are whole numbers: with so many times the exposure, rounding them does not matter.
TIMES = 10_000
OFFSETS = {
    "centre": (0.0, 0.0),
    "inside": (0.25, 0.1),
    "corner": (0.5, 0.5),
    "left": (-0.4, 0.3),
    "below": (0.1, -0.5),
}


def position(result: FitResult) -> tuple[np.ndarray, np.ndarray]:
    return np.array([result.values[name] for name in NAMES]), np.array(
        [result.errors[name] for name in NAMES]
    )


@pytest.fixture(scope="module")
def centre(gammapy_data: Path) -> MapDataset:
    return centre_stacked(gammapy_data, PIXEL, (2.4, 2.4))


def asimov(dataset: MapDataset, models: Models) -> MapDataset:
    """The counts that the models predict, by Gauss-Legendre in each pixel and nothing of Fourier's."""
    source = models["gc"]
    image = source_image(dataset, source)
    assert image is not None
    spread, pixel = image.responses.spread, image.lattice.pixel_size
    place = image.lattice.position(*source.spatial_model.position_lonlat).pixel
    energies = range(image.energies.start, image.energies.stop)
    fluxes = source.spectral_model.integral_values(np.asarray(dataset.geometry.energy_axis_true.edges))
    expected = 1.3 * np.asarray(dataset.background, dtype=float)
    for k, energy in enumerate(energies):
        table = CubicSpline(spread.r, spread.density[k])
        last = float(spread.r[-1])
        plane = radial_image(image.size, place, pixel, lambda r: np.where(r < last, table(r), 0.0))  # noqa: B023  # used at once
        seen = image.exposure[k].astype(float) * plane[image.in_window]
        expected[(slice(None), *image.in_map)] += image.edisp[k][:, None, None] * (fluxes[energy] * seen)
    return dataset.with_arrays(
        counts=np.rint(TIMES * expected).astype(np.int32),
        background=TIMES * np.asarray(dataset.background, dtype=float),
        exposure=TIMES * np.asarray(dataset.exposure, dtype=float),
    )


@pytest.mark.parametrize("offset", OFFSETS)
def test_the_expected_counts_give_the_true_position(centre: MapDataset, offset: str) -> None:
    """To 1e-3 of the error that the real exposure leaves."""
    geom = centre.geometry.image
    x, y = (round(float(p)) for p in geom.sky_to_pix(-0.05, -0.05))
    dx, dy = OFFSETS[offset]
    lon, lat = (float(v) for v in geom.pix_to_sky(x + dx, y + dy))
    truth = np.array([(lon + 180) % 360 - 180, lat])
    models = gc_models(["stacked"], (2.3, 2.8e-12, 0.05, *truth))
    counted = asimov(centre, models)
    models["stacked-bkg"].spectral_model.norm.value = 1.0
    models["gc"].spatial_model.lon_0.value += 0.004
    models["gc"].spatial_model.lat_0.value -= 0.003
    result = Fit().run(counted, models)
    assert result.success
    found, errors = position(result)
    errors *= np.sqrt(TIMES)
    assert (np.abs(found - truth) < 1e-3 * errors).all()
    for name, true in (("amplitude", 2.8e-12), ("index", 2.3), ("lambda_", 0.05)):
        full = f"gc.spectral.{name}"
        # the share of the PSF outside the window is missing in the flux
        assert abs(result.values[full] - true) < 1e-2 * result.errors[full] * np.sqrt(TIMES), name


def test_sixteen_ways_to_lay_the_pixels(gammapy_data: Path) -> None:
    """The same events on 16 lattices of 0.02 deg, a quarter of a pixel apart: positions scatter around that of pixels
    of 0.005 deg no more than 1.3 times what an event's unknown place in its pixel lets them.
    """
    fine, errors = position(
        Fit().run(centre_stacked(gammapy_data, PIXEL / 4, (2.4, 2.4)), gc_models(["stacked"]))
    )
    phases = [PIXEL * step / 4 for step in range(4)]
    found = []
    for lon in phases:
        for lat in phases:
            stacked = centre_stacked(gammapy_data, PIXEL, (2.4, 2.4), (lon, lat))
            result = Fit().run(stacked, gc_models(["stacked"]))
            assert result.success
            found.append(position(result)[0])
    scatter = np.std(found, axis=0)
    offset = np.mean(found, axis=0) - fine
    # PSF of 0.037 deg, error of 0.00255 deg: 210 events
    expected = np.sqrt(PIXEL**2 / 12 / 210)
    assert (scatter < 1.3 * expected).all()
    assert (np.abs(offset) < 0.1 * errors).all()
