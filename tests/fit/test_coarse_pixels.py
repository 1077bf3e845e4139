"""Pixels far wider than the PSF: images must not ring, or predictions below zero drive the background away."""

from __future__ import annotations

import numpy as np
import pytest

from gammaflow.datasets import MapDataset
from gammaflow.fit import Fit
from gammaflow.likelihood import source_image, stat_sum
from gammaflow.modeling import Models
from tests.fit.observed import backgrounds, point
from tests.likelihood.synthetic import gaussian_image, make_dataset

#: Pixel and PSF in deg: within the reach of the alias orders, and beyond.
CASES = {"an eighth of a pixel": (0.2, 0.025), "a twentieth of a pixel": (0.4, 0.02)}
LON, LAT = 83.63, 21.97


def coarse(pixel: float, psf: float) -> MapDataset:
    """Poisson counts of a bright source in closed form on a faint background, twice as bright as it is said to be."""
    empty = make_dataset(binsz=pixel, npix=25, psf=psf, rad_max=0.3, background=0.02, exposure_slope=0.0)
    geometry = empty.geometry
    place = np.array([[float(p)] for p in geometry.image.sky_to_pix(LON, LAT)])
    plane = gaussian_image(25, place, np.ones(1), psf / pixel)
    fluxes = point().spectral_model.integral_values(geometry.energy_axis_true.edges)
    seen = fluxes * np.asarray(empty.exposure, dtype=float)[:, 0, 0]
    edisp = np.asarray(empty.edisp, dtype=float)[:, :, 0, 0]
    expected = np.einsum("ke,k,yx->eyx", edisp, seen, plane) + 2.0 * np.asarray(empty.background)
    counts = np.random.default_rng(4).poisson(expected)
    return empty.with_arrays(counts=counts.astype(np.int32))


@pytest.mark.parametrize("case", CASES)
def test_the_background_s_norm_is_the_one_that_fits_best(case: str) -> None:
    dataset = coarse(*CASES[case])
    model = point(lon=LON, lat=LAT)
    model.spatial_model.freeze()
    model.spectral_model.amplitude.value *= 1.5
    models = Models([model, *backgrounds("one")])
    result = Fit().run(dataset, models)
    assert result.success, result.message
    # what was simulated
    for name, truth in (
        ("source.spectral.amplitude", 3e-8),
        ("source.spectral.index", 2.0),
        ("one-bkg.spectral.norm", 2.0),
    ):
        assert abs(result.values[name] - truth) < 4 * result.errors[name], name
    # and the lowest sum over all bins, which knows of no condensed likelihood
    lowest = stat_sum(dataset, models)
    assert result.total_stat == pytest.approx(lowest, abs=1e-3)
    norm = models["one-bkg"].spectral_model.norm
    for factor in (0.5, 0.95, 1.05, 2.0, 7.0):
        best, norm.value = norm.value, norm.value * factor
        assert stat_sum(dataset, models) > lowest
        norm.value = best


@pytest.mark.parametrize("case", CASES)
def test_images_do_not_ring(case: str) -> None:
    pixel, psf = CASES[case]
    image = source_image(coarse(pixel, psf), point(lon=LON, lat=LAT))
    assert image is not None
    (plane, *_) = (stretch[0].copy() for _, stretch in image.state(np.zeros(0)).images())
    assert plane.min() > -2e-3 * plane.max()
    assert bool(image.warnings) == (psf / pixel < 0.1)
    place = image.lattice.position(LON, LAT).pixel
    truth = gaussian_image(image.size, place[:, None], np.ones(1), psf / pixel)
    assert np.abs(plane - truth).max() < (5e-2 if image.warnings else 2e-3)
