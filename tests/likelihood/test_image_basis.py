"""Point spread functions of neighbouring energies are nearly the same: images of a few functions stand for all."""

from __future__ import annotations

import numpy as np
import pytest

from gammaflow.likelihood import ImageOptions, SourceImage, source_image
from gammaflow.modeling import (
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    SpatialModel,
)

from .synthetic import make_dataset

ENERGIES = 40
#: A PSF that narrows with energy, well inside its radius axis.
DATASET = make_dataset(true_bins=ENERGIES, psf=np.geomspace(0.1, 0.03, ENERGIES))
PLACE = {"lon_0": "83.613 deg", "lat_0": "21.994 deg", "frame": "icrs"}
MODELS: dict[str, SpatialModel] = {
    "point": PointSpatialModel(**PLACE),
    "gauss": GaussianSpatialModel(sigma="0.15 deg", **PLACE),
    "disk": DiskSpatialModel(r_0="0.2 deg", **PLACE),
}
OPTIONS = {"flat": ImageOptions(warp=False), "warped": ImageOptions(warp=True)}


def built(model: str, options: str) -> SourceImage:
    source = SkyModel(PowerLawSpectralModel(), MODELS[model], name="source")
    image = source_image(DATASET, source, ("lon_0", "lat_0"), OPTIONS[options])
    assert image is not None
    return image


def images(image: SourceImage, number: int | None = None) -> np.ndarray:
    state = image.state(image.start, 1)
    found = state.images() if number is None else state.derivative_images(number)
    return np.concatenate([stretch.copy() for _, stretch in found])


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("model", MODELS)
def test_a_basis_gives_the_images_of_each_energy(
    model: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = built(model, options)
    transfers = image.state(image.start).transfers
    assert transfers.energies == image.energies.stop - image.energies.start
    assert transfers.basis < 0.6 * transfers.energies
    found = [images(image, number) for number in (None, 0, 1)]
    monkeypatch.setattr("gammaflow.likelihood.image.WORTHWHILE", 0.0)
    plain = built(model, options)
    assert plain.state(plain.start).transfers.mixing is None
    for number, mixed in zip((None, 0, 1), found, strict=True):
        expected = images(plain, number)
        assert np.abs(mixed - expected).max() < 3e-8 * np.abs(expected).max()


@pytest.mark.parametrize("model", MODELS)
def test_pixels_and_sums_are_those_of_the_images(model: str) -> None:
    image = built(model, "warped")
    state = image.state(image.start, 1)
    energies = state.energies
    rng = np.random.default_rng(1)
    maps = rng.random((energies, image.size, image.size))
    pixels = rng.integers(0, image.size**2, 200)
    stretches = ((slice(k, min(k + 4, energies)), maps[k : k + 4]) for k in range(0, energies, 4))
    adjoint = state.adjoint(stretches, energies)
    for number, values, sums in zip(
        (None, 0, 1), *state.at_pixels(pixels, adjoint, (None, 0, 1)), strict=True
    ):
        expected = images(image, number)
        size = np.abs(expected).max()
        np.testing.assert_allclose(
            state.transfers.mixed(values), expected.reshape(energies, -1)[:, pixels], atol=1e-13 * size
        )
        np.testing.assert_allclose(sums, (maps * expected).sum(axis=(1, 2)), rtol=1e-9, atol=1e-9 * size)


def test_few_energies_keep_their_own() -> None:
    source = SkyModel(PowerLawSpectralModel(), MODELS["point"], name="source")
    image = source_image(make_dataset(psf=np.geomspace(0.03, 0.1, 5)), source)
    assert image is not None
    assert image.state(image.start).transfers.mixing is None
