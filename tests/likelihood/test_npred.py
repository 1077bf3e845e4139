"""Predicted counts as full maps."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from gammaflow.errors import DataError, ModelError, UnsupportedError
from gammaflow.likelihood import (
    Cash,
    ImageOptions,
    mask_of,
    npred,
    npred_background,
    npred_signal,
    npred_source,
    residuals,
    source_image,
    stat_array,
    stat_sum,
)
from gammaflow.likelihood.npred import add_counts, fluxes_of
from gammaflow.likelihood.statistic import TRUNCATION
from gammaflow.maps import WcsGeom
from gammaflow.modeling import (
    ConstantSpatialModel,
    ExpDecayTemporalModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    LinearTemporalModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateMap,
    TemplateSpatialModel,
)

from .synthetic import gaussian_image, make_dataset

PSF = 0.05


def point(lon: float = 83.612, lat: float = 21.993, name: str = "point", **kwargs: object) -> SkyModel:
    spatial = PointSpatialModel(lon_0=lon * u.deg, lat_0=lat * u.deg, frame="icrs")
    return SkyModel(
        PowerLawSpectralModel(index=2.2, amplitude="4e-12 cm-2 s-1 TeV-1"), spatial, name=name, **kwargs
    )


def test_counts_are_edisp_times_exposure_times_the_image_times_flux() -> None:
    """The formula, written out with an image in closed form."""
    dataset, source = make_dataset(psf=PSF), point()
    geom = dataset.geometry
    x, y = (float(p) for p in geom.image.sky_to_pix(83.612, 21.993))
    size = geom.image.npix[0]
    image = gaussian_image(size, np.array([[x], [y]]), np.ones(1), PSF / 0.02)
    exposure = np.asarray(dataset.exposure, dtype=float)
    edisp = np.asarray(dataset.edisp, dtype=float)[:, :, 0, 0]
    fluxes = source.spectral_model.integral_values(geom.energy_axis_true.edges)
    expected = np.einsum("ke,k,kyx,yx->eyx", edisp, fluxes, exposure, image)
    found = npred_source(dataset, source)
    np.testing.assert_allclose(found, expected, atol=2e-4 * expected.max())
    np.testing.assert_allclose(found.sum(axis=(1, 2)), expected.sum(axis=(1, 2)), rtol=2e-4)


def test_sources_add_up_and_go_to_their_own_datasets() -> None:
    dataset = make_dataset("one")
    mine, other = (
        point(name="mine", datasets_names=["one"]),
        point(83.7, name="other", datasets_names=["two"]),
    )
    everyone = point(83.5, name="everyone")
    models = Models([mine, other, everyone])
    expected = npred_source(dataset, mine) + npred_source(dataset, everyone)
    np.testing.assert_allclose(npred_signal(dataset, models), expected, rtol=1e-12)
    assert expected.max() > 0


def test_the_background_takes_the_model_that_names_it_else_its_own() -> None:
    dataset = make_dataset("one")
    plain = np.asarray(dataset.background, dtype=float)
    np.testing.assert_array_equal(npred_background(dataset), plain)
    own = FoVBackgroundModel(dataset_name="one")
    own.spectral_model.norm.value = 2.0
    dataset.models = own
    np.testing.assert_allclose(npred_background(dataset), 2 * plain)
    other = FoVBackgroundModel(dataset_name="one", name="other")
    other.spectral_model.norm.value = 3.0
    foreign = FoVBackgroundModel(dataset_name="two")
    np.testing.assert_allclose(npred_background(dataset, [foreign, other]), 3 * plain)
    np.testing.assert_allclose(npred_background(dataset, [foreign]), 2 * plain)
    with pytest.raises(ModelError, match="2 background models"):
        npred_background(dataset, [own, other])


def test_the_prediction_is_not_below_zero() -> None:
    dataset, source = make_dataset(), point()
    source.spectral_model.amplitude.value = -1e-9
    assert npred_signal(dataset, [source]).min() < 0
    assert npred(dataset, [source]).min() == 0.0


def test_a_source_elsewhere_predicts_nothing() -> None:
    dataset = make_dataset()
    for lon in (90.0, 263.6):
        assert source_image(dataset, point(lon)) is None
        assert not npred_source(dataset, point(lon)).any()
    assert source_image(make_dataset(proj="TAN"), point(263.6, -22.0)) is None


def test_a_source_off_the_map_shines_into_it() -> None:
    dataset = make_dataset(psf=0.1)
    image = dataset.geometry.image
    lon, lat = image.pix_to_sky(-3.0, 40.0)
    found = npred_source(dataset, point(float(lon), float(lat)))
    assert found.any()
    whole = npred_source(make_dataset(psf=0.1, npix=161, exposure_slope=0.0), point(float(lon), float(lat)))
    assert 0.1 < found.sum() / whole.sum() < 0.5


def test_responses_can_be_left_out() -> None:
    dataset = make_dataset(psf=0.1)
    plain = npred_source(dataset, point())
    sharp = npred_source(dataset, point(apply_irf={"psf": False}))
    assert sharp.max() > 10 * plain.max()
    np.testing.assert_allclose(sharp.sum(axis=(1, 2)), plain.sum(axis=(1, 2)), rtol=2e-3)
    exact = npred_source(dataset, point(apply_irf={"edisp": False}))
    assert not np.allclose(exact.sum(axis=(1, 2)), plain.sum(axis=(1, 2)), rtol=1e-2)


def test_a_dataset_without_psf_keeps_totals() -> None:
    dataset = make_dataset()
    without = dataset.with_arrays(psf=None, psf_exposure=None)
    a, b = npred_source(dataset, point()), npred_source(without, point())
    np.testing.assert_allclose(a.sum(axis=(1, 2)), b.sum(axis=(1, 2)), rtol=1e-3)
    assert b.max() > a.max()
    assert b.min() > -1e-4 * b.max()


def test_a_temporal_model_multiplies_by_its_mean() -> None:
    from astropy.time import Time

    from gammaflow.data import GTI
    from gammaflow.datasets import MapDataset

    empty = make_dataset()
    gti = GTI.create(Time("2020-01-01"), Time("2020-01-02"), reference_time="2020-01-01")
    arrays = {
        name: empty.array(name)
        for name in ("counts", "background", "exposure", "psf", "psf_exposure", "edisp", "edisp_exposure")
    }
    dataset = MapDataset.from_arrays(empty.geometry, "one", gti=gti, **arrays)
    start = Time("2020-01-01", scale="utc")
    temporal = LinearTemporalModel(alpha=1.0, beta="0.5 d-1", t_ref=start.mjd * u.d)
    temporal.freeze()
    source = SkyModel(
        PowerLawSpectralModel(amplitude="4e-12 cm-2 s-1 TeV-1", index=2.2),
        point().spatial_model,
        temporal,
        name="point",
    )
    np.testing.assert_allclose(
        npred_source(dataset, source).sum(), 1.25 * npred_source(dataset, point()).sum(), rtol=1e-4
    )
    free = SkyModel(PowerLawSpectralModel(), point().spatial_model, ExpDecayTemporalModel(), name="free")
    with pytest.raises(UnsupportedError, match="free temporal"):
        npred_source(dataset, free)
    with pytest.raises(DataError, match="good time"):
        npred_source(empty, source)


def test_a_constant_and_a_template_over_the_whole_map() -> None:
    dataset = make_dataset(npix=(61, 45), psf=0.06)
    area = dataset.geometry.image.solid_angle()
    constant = SkyModel(PowerLawSpectralModel(), ConstantSpatialModel(), name="constant")
    exposure = np.asarray(dataset.exposure, dtype=float)
    edisp = np.asarray(dataset.edisp, dtype=float)[:, :, 0, 0]
    fluxes = constant.spectral_model.integral_values(dataset.geometry.energy_axis_true.edges)
    expected = np.einsum("ke,k,kyx,yx->eyx", edisp, fluxes, exposure, area)
    np.testing.assert_allclose(npred_source(dataset, constant), expected, rtol=2e-3)

    geom = WcsGeom.create((83.6, 22.0), 0.05, npix=(81, 81), frame="icrs", proj="CAR")
    _lon, lat = geom.pix_to_sky(*np.meshgrid(np.arange(81.0), np.arange(81.0)))
    smooth = 1.0 + 0.3 * np.sin(2 * np.pi * (lat - 22.0) / 1.5)
    template = TemplateSpatialModel(TemplateMap(geom, smooth), normalize=False)
    source = SkyModel(PowerLawSpectralModel(), template, name="template")
    along = dataset.geometry.image.pix_to_sky(*np.meshgrid(np.arange(61.0), np.arange(45.0)))[1]
    # the PSF lowers a wave of this length by exp(-2 pi^2 sigma^2 / length^2)
    damped = 1.0 + 0.3 * np.exp(-2 * (np.pi * 0.06 / 1.5) ** 2) * np.sin(2 * np.pi * (along - 22.0) / 1.5)
    np.testing.assert_allclose(npred_source(dataset, source), expected * damped, rtol=4e-3)


def test_a_template_that_depends_on_energy() -> None:
    dataset = make_dataset(npix=61, psf=0.06)
    geom = WcsGeom.create((83.6, 22.0), 0.04, npix=(61, 61), frame="icrs", proj="CAR")
    energy = dataset.geometry.energy_axis_true.center
    y, x = np.mgrid[:61, :61]
    cube = np.exp(-0.5 * ((x - 30) ** 2 + (y - 30) ** 2)[None] / np.linspace(3, 6, 5)[:, None, None] ** 2)
    template = TemplateSpatialModel(TemplateMap(geom, cube, energy=np.array(energy)))
    found = npred_source(dataset, SkyModel(PowerLawSpectralModel(), template, name="cube"))
    lat = dataset.geometry.image.pix_to_sky(*np.meshgrid(np.arange(61.0), np.arange(61.0)))[1]
    widths = [np.sqrt((plane * (lat - 22.0) ** 2).sum() / plane.sum()) for plane in found]
    assert np.all(np.diff(widths) > 0.005)
    image = source_image(dataset, SkyModel(PowerLawSpectralModel(), template, name="cube"))
    assert image is not None
    assert image.state(np.zeros(0)).placed[0].value.shape[0] == 5


def test_a_source_larger_than_the_map_is_sampled() -> None:
    dataset = make_dataset(npix=41, psf=0.05)
    wide = GaussianSpatialModel(lon_0="83.6 deg", lat_0="22 deg", sigma="2 deg", frame="icrs")
    source = SkyModel(PowerLawSpectralModel(), wide, name="wide")
    image = source_image(dataset, source)
    assert image is not None
    assert image.shape.sampled
    assert image.size < 120
    value = float(wide.values(83.6, 22.0))
    constant = SkyModel(PowerLawSpectralModel(), ConstantSpatialModel(value=f"{value} sr-1"), name="constant")
    center = (slice(None), 20, 20)
    np.testing.assert_allclose(
        npred_source(dataset, source)[center], npred_source(dataset, constant)[center], rtol=2e-3
    )


@pytest.mark.parametrize(("sigma", "alias"), [(0.012, 1), (0.006, 2), (0.004, 3), (0.002, 5)])
def test_a_narrow_psf_takes_more_alias_orders(sigma: float, alias: int) -> None:
    """Down to a tenth of a pixel: no ringing, and nothing to be said."""
    dataset = make_dataset(psf=sigma, rad_max=0.1, rad_bins=200, exposure_slope=0.0)
    image = source_image(dataset, point())
    assert image is not None
    assert image.warnings == ()
    assert image.lattice.alias == alias
    x, y = (float(p) for p in dataset.geometry.image.sky_to_pix(83.612, 21.993))
    truth = gaussian_image(81, np.array([[x], [y]]), np.ones(1), sigma / 0.02)
    found = npred_source(dataset, point())
    found /= found.sum(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found, np.broadcast_to(truth, found.shape), atol=1e-3 * truth.max())


def test_a_psf_too_narrow_for_the_pixels_is_said() -> None:
    image = source_image(make_dataset(psf=0.0015, rad_max=0.03, rad_bins=100), point())
    assert image is not None
    assert any("much narrower than a pixel" in text for text in image.warnings)


@pytest.mark.parametrize("psf", [0.01, 0.05])
def test_the_statistic_has_no_wiggles_along_a_scan_over_two_pixels(psf: float) -> None:
    """Asimov counts: the second differences of F have one sign, wherever in its pixel the source lies."""
    dataset = make_dataset(psf=psf, rad_max=8 * psf, npix=61, true_bins=3, reco_bins=2)
    image = source_image(dataset, point(), ("lon_0", "lat_0"))
    assert image is not None
    fluxes = 30 * fluxes_of(dataset, point())[image.energies]
    background = npred_background(dataset)

    def predicted(lon: float) -> np.ndarray:
        out = background.copy()
        add_counts(out, image, fluxes, np.array([lon, 21.993]))
        return out

    statistic = Cash(predicted(83.612))
    along = 83.612 + np.linspace(-0.02, 0.02, 81) / np.cos(np.radians(22))
    values = np.array([statistic.value(predicted(lon)).sum() for lon in along])
    assert np.all(np.diff(values, 2) > 0)
    assert along[values.argmin()] == pytest.approx(83.612, abs=1e-6)


@pytest.mark.parametrize(
    ("place", "shorter"), [((20.3, 19.1), True), ((3.2, 38.4), True), ((-15.4, 22.7), False)]
)
def test_a_psf_that_is_wider_than_the_map(place: tuple[float, float], shorter: bool) -> None:
    """The window holds the map and what must not wrap around onto it, not all of the PSF."""
    dataset = make_dataset(npix=41, psf=0.25, rad_max=1.5, rad_bins=150, exposure_slope=0.0)
    lon, lat = (float(v) for v in dataset.geometry.image.pix_to_sky(*place))
    image = source_image(dataset, point(lon, lat))
    assert image is not None
    assert (image.size < 2 * image.lattice.half_size) == shorter
    found = npred_source(dataset, point(lon, lat))
    truth = gaussian_image(41, np.array(place)[:, None], np.ones(1), 0.25 / 0.02)
    exposure = np.asarray(dataset.exposure, dtype=float)[:, 20, 20]
    edisp = np.asarray(dataset.edisp, dtype=float)[:, :, 0, 0]
    expected = ((exposure * fluxes_of(dataset, point())) @ edisp)[:, None, None] * truth
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-4 * expected.max())


# --- linear responses ---------------------------------------------------------------------------------------


def test_linear_responses_take_the_exposure_of_the_true_place() -> None:
    """An exposure that rises by 0.5 per deg, under a PSF of 0.15 deg: taken where events are found it moves the
    centre of the counts by sigma^2 times its slope.
    """
    dataset = make_dataset(psf=0.15, exposure_slope=0.0, npix=121)
    image = dataset.geometry.image
    x = np.arange(121.0)
    exposure = np.asarray(dataset.exposure, dtype=float) * (1 + 0.5 * (x - 60) * 0.02)
    dataset = dataset.with_arrays(exposure=exposure)
    lon, lat = (float(v) for v in image.pix_to_sky(58.3, 61.2))
    plain = npred_source(dataset, point(lon, lat), ImageOptions(irf_variation="none"))
    linear = npred_source(dataset, point(lon, lat), ImageOptions(irf_variation="linear"))
    shifts = [
        ((counts.sum(axis=(0, 1)) * x).sum() / counts.sum() - 58.3) * 0.02 for counts in (plain, linear)
    ]
    assert shifts[0] == pytest.approx(0.15**2 * 0.5, rel=0.05)
    assert abs(shifts[1]) < 0.03 * shifts[0]
    np.testing.assert_allclose(linear.sum(axis=(1, 2)), plain.sum(axis=(1, 2)), rtol=2e-3)


def test_linear_responses_follow_a_psf_that_changes() -> None:
    """A PSF that widens to the east, under a Gaussian source: sum of points with the PSF of their own place."""
    dataset = make_dataset(npix=121, exposure_slope=0.0, true_bins=1, reco_bins=1, rad_bins=160)
    shape = dataset.geometry.shapes["psf"]
    geom = dataset.geometry.geom_irf
    rad = dataset.geometry.rad_axis.center
    lon = geom.pix_to_sky(*np.meshgrid(np.arange(shape[3]), np.arange(shape[2])))[0]

    def sigma(at: np.ndarray) -> np.ndarray:
        return 0.06 * (1 + 0.3 * (at - 83.6) * np.cos(np.radians(22.0)))

    table = np.exp(-0.5 * (rad[:, None, None] / sigma(lon)) ** 2) / (2 * np.pi * sigma(lon) ** 2)
    dataset = dataset.with_arrays(psf=table[None])
    spatial = GaussianSpatialModel(lon_0="83.6 deg", lat_0="22 deg", sigma="0.2 deg", frame="icrs")
    source = SkyModel(PowerLawSpectralModel(), spatial, name="s")
    rng = np.linspace(-4, 4, 61) * 0.2
    east, north = np.meshgrid(rng, rng)
    weight = np.exp(-0.5 * (east**2 + north**2) / 0.2**2).ravel()
    weight /= weight.sum()
    x0, y0 = (float(p) for p in dataset.geometry.image.sky_to_pix(83.6, 22.0))
    truth = np.zeros((121, 121))
    for e in rng:
        column = np.isclose(east.ravel(), e)
        places = np.stack([x0 - east.ravel()[column] / 0.02, y0 + north.ravel()[column] / 0.02])
        width = 0.06 * (1 + 0.3 * e) / 0.02
        truth += gaussian_image(121, places, weight[column], width)
    errors = {}
    for variation in ("none", "linear"):
        plane = npred_source(dataset, source, ImageOptions(irf_variation=variation, warp=False))[0]
        errors[variation] = np.abs(plane / plane.sum() - truth).max() / truth.max()
    assert errors["linear"] < 0.2 * errors["none"]


# --- statistics -----------------------------------------------------------------------------------------------


def test_cash_by_gammapys_conventions() -> None:
    counts, predicted = np.array([0.0, 0.0, 3.0, 3.0, 5.0]), np.array([2.0, -1.0, 4.0, 0.0, -2.0])
    low = TRUNCATION
    expected = [
        4.0,
        2 * low,
        2 * (4 - 3 * np.log(4)),
        2 * (low - 3 * np.log(low)),
        2 * (low - 5 * np.log(low)),
    ]
    statistic = Cash(counts)
    np.testing.assert_allclose(statistic.value(predicted), expected, rtol=1e-15)
    np.testing.assert_allclose(statistic.score(predicted), [2.0, 0.0, 2 * (1 - 3 / 4), 0.0, 0.0])
    np.testing.assert_allclose(statistic.curvature(predicted), [0.0, 0.0, 2 * 3 / 16, 0.0, 0.0])


def test_sums_and_residuals_keep_to_the_mask() -> None:
    dataset = make_dataset(seed=3)
    shape = dataset.geometry.shapes["counts"]
    safe, fit = np.ones(shape, dtype=bool), np.ones(shape, dtype=bool)
    safe[:, :, :20] = False
    fit[0] = False
    dataset = dataset.with_arrays(mask_safe=safe, mask_fit=fit)
    np.testing.assert_array_equal(mask_of(dataset), safe & fit)
    models = [point()]
    assert stat_sum(dataset, models) == pytest.approx(
        stat_array(dataset, models)[safe & fit].sum(), rel=1e-14
    )
    counts, predicted = np.asarray(dataset.counts, dtype=float), npred(dataset, models)
    for method, expected in {
        "diff": counts - predicted,
        "diff/model": (counts - predicted) / predicted,
        "diff/sqrt(model)": (counts - predicted) / np.sqrt(predicted),
    }.items():
        found = residuals(dataset, models, method)
        assert np.isnan(found[~(safe & fit)]).all()
        np.testing.assert_allclose(found[safe & fit], expected[safe & fit])
    with pytest.raises(ModelError, match="Known are"):
        residuals(dataset, models, "ratio")


def test_what_is_missing_is_named() -> None:
    dataset = make_dataset("one")
    with pytest.raises(DataError, match="one, source point: the dataset has no exposure"):
        npred_source(dataset.with_arrays(exposure=None), point())
    with pytest.raises(ModelError, match="no spatial model"):
        npred_source(dataset, SkyModel(PowerLawSpectralModel(), name="bare"))
    with pytest.raises(ModelError, match="no counts"):
        stat_sum(dataset.with_arrays(counts=None))
