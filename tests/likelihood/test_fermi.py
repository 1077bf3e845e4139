"""The Fermi-LAT cube of the Crab: wide pixels under a PSF with a sharp core and tails over ten degrees.

Our counts are held against an integral of the PSF over each pixel. Gammapy's statistic is another, as its images are
(see `tests.fermi`); with its two steps in the place of the integral it comes out.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest

from gammaflow.datasets import MapDataset
from gammaflow.fit import Fit
from gammaflow.io.datasets_file import read_datasets
from gammaflow.likelihood import (
    Cash,
    ImageOptions,
    Request,
    condense,
    layout_of,
    mask_of,
    npred,
    npred_background,
    npred_signal,
    npred_source,
    source_image,
    stat_sum,
)
from gammaflow.maps import WcsGeom
from gammaflow.modeling import (
    LogParabolaSpectralModel,
    Models,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateMap,
    TemplateSpatialModel,
)

from ..fermi import as_gammapy, integrated, with_gammapys_images
from ..oracle import load_oracle
from .synthetic import make_dataset
from .test_condensed import full_sum, random_points

REFERENCE = json.loads((Path(__file__).parent.parent / "reference" / "fermi.json").read_text())


@pytest.fixture
def crab(gammapy_data: Path) -> tuple[MapDataset, Models]:
    folder = gammapy_data / "fermi-3fhl-crab"
    found = read_datasets(folder / "Fermi-LAT-3FHL_datasets.yaml", folder / "Fermi-LAT-3FHL_models.yaml")
    return found[0], found.models


def statistic(dataset: MapDataset, models: Models, signal: np.ndarray) -> float:
    predicted = signal + npred_background(dataset, models)
    return float(Cash(np.asarray(dataset.counts, dtype=float)).value(predicted)[mask_of(dataset)].sum())


def at_joint_minimum(models: Models) -> None:
    """Parameters of the reference's joint fit with H.E.S.S. and HAWC."""
    for name, entry in load_oracle("crab_joint")["joint_fit"]["parameters"].items():
        model, parameter = name.rsplit(".", 1)
        models[model].parameters[parameter].value = entry["value"]


def test_counts_are_the_psf_integrated_over_pixels(crab: tuple[MapDataset, Models]) -> None:
    dataset, models = crab
    truth, found = integrated(dataset, models), npred_signal(dataset, models)
    peak = truth.max(axis=(1, 2))
    assert np.all(np.abs(found - truth).max(axis=(1, 2)) <= 3e-4 * peak)
    assert np.all(
        found.min(axis=(1, 2)) >= -1e-5 * peak
    )  # no ringing along the row and the column of the source
    np.testing.assert_allclose(found.sum(axis=(1, 2)), truth.sum(axis=(1, 2)), rtol=1e-4)
    assert stat_sum(dataset, models) == pytest.approx(statistic(dataset, models, truth), abs=0.05)
    assert source_image(dataset, models["Crab Nebula"]).warnings == ()


def test_a_smaller_border_is_closer_still(crab: tuple[MapDataset, Models], monkeypatch) -> None:
    monkeypatch.setattr(importlib.import_module("gammaflow.likelihood.source_image"), "BORDER", 1e-5)
    dataset, models = crab
    truth, found = integrated(dataset, models, 40), npred_signal(dataset, models)
    assert np.all(np.abs(found - truth).max(axis=(1, 2)) <= 1e-5 * truth.max(axis=(1, 2)))


def test_gammapys_statistic_is_its_four_pixels_and_its_kernel(crab: tuple[MapDataset, Models]) -> None:
    """With its two steps the statistic is Gammapy's, at the start and at the minimum of the joint fit."""
    dataset, models = crab
    oracle = load_oracle("crab_joint")
    ours = []
    for expected, move in (
        (oracle["stat_start"][0], lambda m: None),
        (oracle["stat_end"][0], at_joint_minimum),
    ):
        move(models)
        assert statistic(dataset, models, as_gammapy(dataset, models)) == pytest.approx(expected, abs=0.1)
        ours.append(stat_sum(dataset, models) - expected)
        images = with_gammapys_images(dataset, models)
        assert stat_sum(images, models) == pytest.approx(expected, abs=0.1)
    # so the difference is of the images, and no test statistic sees it
    np.testing.assert_allclose(ours, -12.56, atol=0.1)
    assert ours[1] == pytest.approx(ours[0], abs=0.1)


def moved(models: Models) -> Models:
    """With the spectrum's reference energy where the data are."""
    given = REFERENCE["spectrum"]
    models["Crab Nebula"].spectral_model = LogParabolaSpectralModel(
        amplitude=given["amplitude"] * u.Unit("TeV-1 s-1 cm-2"),
        reference=given["reference"] * u.TeV,
        alpha=given["alpha"],
        beta=given["beta"],
    )
    return models


def assert_like(models: Models, expected: dict, shift: float, error: float) -> None:
    for name, (value, sigma) in expected.items():
        model, parameter = name.rsplit(".", 1)
        found = models[model].parameters[parameter]
        assert abs(found.value - value) <= shift * sigma, name
        assert found.error == pytest.approx(sigma, rel=error), name


@pytest.mark.parametrize("backend", ["newton", "minuit"])
def test_the_cube_alone(crab: tuple[MapDataset, Models], backend: str) -> None:
    """The fit is Gammapy's within what its images are off; its statistic by the same 12.56 as elsewhere."""
    dataset, models = crab
    dataset.models = moved(models)
    result = Fit(backend=backend).run([dataset])
    assert result.success
    assert_like(models, REFERENCE["fit"]["parameters"], 0.3, 0.03)
    assert result.total_stat - REFERENCE["fit"]["stat"] == pytest.approx(-12.56, abs=0.1)


def test_with_gammapys_images_the_fit_is_gammapys(crab: tuple[MapDataset, Models]) -> None:
    dataset, models = crab
    dataset = with_gammapys_images(dataset, models)
    dataset.models = moved(models)
    result = Fit().run([dataset])
    assert_like(models, REFERENCE["fit"]["parameters"], 0.02, 0.01)
    assert result.total_stat == pytest.approx(REFERENCE["fit"]["stat"], abs=0.1)


# --- the diffuse template -------------------------------------------------------------------------------------


def diffuse(gammapy_data: Path) -> SkyModel:
    file = gammapy_data / "fermi-3fhl-crab" / "Fermi-LAT-3FHL_iem.fits"
    return SkyModel(
        PowerLawNormSpectralModel(), TemplateSpatialModel.read(file, normalize=False), name="diffuse"
    )


def test_a_diffuse_cube_is_integrated_over_energy_bins(
    crab: tuple[MapDataset, Models], gammapy_data: Path
) -> None:
    """A factor of 2.9 wide, and a spectrum of index 2.5: the value at the centre is no mean."""
    dataset, model = crab[0], diffuse(gammapy_data)
    found = npred_source(dataset, model)[:, 6:-6, 6:-6].sum(axis=(1, 2))
    np.testing.assert_allclose(found, REFERENCE["npred_diffuse_averaged"], rtol=2e-3, atol=1e-9)
    ratio = found[:4] / REFERENCE["npred_diffuse_at_centers"][:4]
    np.testing.assert_allclose(ratio, [1.102, 1.093, 1.051, 0.957], atol=3e-3)


def test_a_diffuse_map_against_many_samples(crab: tuple[MapDataset, Models], gammapy_data: Path) -> None:
    dataset, model = crab[0], diffuse(gammapy_data)
    found, fine = (npred_source(dataset, model, ImageOptions(oversampling=f)) for f in (None, 16))
    inside = (slice(0, 4), slice(6, -6), slice(6, -6))
    np.testing.assert_allclose(found[inside], fine[inside], rtol=1e-3)


def test_the_crab_and_its_diffuse_emission(crab: tuple[MapDataset, Models], gammapy_data: Path) -> None:
    """The template's norm is free, and fits as Gammapy's does with a template that is averaged over the bins."""
    dataset, models = crab
    moved(models)
    background = next(m for m in models if m.name != "Crab Nebula")
    background.spectral_model.norm.value, background.spectral_model.norm.frozen = 0.4, True
    models = Models([models["Crab Nebula"], diffuse(gammapy_data), background])
    dataset.models = models
    result = Fit().run([dataset])
    assert result.success
    assert_like(models, REFERENCE["fit_diffuse"]["parameters"], 0.3, 0.03)
    assert result.total_stat - REFERENCE["fit_diffuse"]["stat"] == pytest.approx(-12.4, abs=0.2)


def test_condensed_with_a_diffuse_map_is_the_full_sum(
    crab: tuple[MapDataset, Models], gammapy_data: Path
) -> None:
    """The whole map, a source in it with a free position, another that overlaps, at points far off."""
    dataset, models = crab
    models["Crab Nebula"].spatial_model.lon_0.frozen = models["Crab Nebula"].spatial_model.lat_0.frozen = (
        False
    )
    other = SkyModel(
        PowerLawSpectralModel(index=2.5, amplitude="1e-13 cm-2 s-1 TeV-1"),
        PointSpatialModel(lon_0="83.9 deg", lat_0="22.3 deg", frame="icrs"),
        name="other",
    )
    other.spatial_model.lon_0.frozen = other.spatial_model.lat_0.frozen = True
    models = Models([*models, diffuse(gammapy_data), other])
    layout = layout_of(models, {dataset.name: dataset.geometry.energy_axis_true.edges})
    condensed = condense(dataset, models, layout)
    points = random_points(layout, models, 20)
    points[7, : layout.n_flux] *= -1e-4
    found = condensed.evaluate(Request(points, 0)).stat
    expected = [full_sum(dataset, condensed, models, point) for point in points]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_template_over_many_true_energies_counts_each_once() -> None:
    """Fifteen planes of different shape and a norm of one: exposure x brightness x solid angle x bin width."""
    dataset = make_dataset(npix=41, psf=0.04, true_bins=15, exposure_slope=0.0)
    geom = WcsGeom.create((83.6, 22.0), 0.05, npix=(61, 61), frame="icrs", proj="CAR")
    edges = dataset.geometry.energy_axis_true.edges
    energy = np.geomspace(0.1, 100, 31)
    y, x = (np.mgrid[:61, :61] - 30) / 61
    cube = 1e-9 * energy[:, None, None] ** (-2.5 + 0.2 * y) * (1 + 0.2 * x)
    template = TemplateSpatialModel(
        TemplateMap(geom, cube, u.Unit("TeV-1 s-1 cm-2 sr-1"), energy), normalize=False
    )
    found = npred(dataset, [SkyModel(PowerLawNormSpectralModel(norm=2.0), template, name="diffuse")])
    found = found - npred_background(dataset)
    low, high = edges[:-1], edges[1:]
    flux = 1e-5 * (low**-1.5 - high**-1.5) / 1.5
    exposure = np.asarray(dataset.exposure, dtype=float)[:, 20, 20]
    edisp = np.asarray(dataset.edisp, dtype=float)[:, :, 0, 0]
    area = dataset.geometry.image.solid_angle()[20, 20]
    np.testing.assert_allclose(found[:, 20, 20], 2.0 * area * (exposure * flux) @ edisp, rtol=1e-3)
