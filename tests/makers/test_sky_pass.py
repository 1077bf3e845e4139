"""Exposure and background on the sky, against their responses evaluated one pixel at a time."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy.integrate import quad

from gammaflow.irf import Background2D, Background3D, EffectiveAreaTable2D, IrfAxis
from gammaflow.makers import sky_pass as module
from gammaflow.makers.background_rate import BackgroundProjector
from gammaflow.makers.exposure import ExposureProjector
from gammaflow.makers.field_of_view import SkyToField
from gammaflow.makers.sky_pass import sky_pass
from gammaflow.maps import MapAxis, WcsGeom, lonlat_to_vectors
from tests.makers import small

AXIS = MapAxis.from_energy_bounds("0.5 TeV", "50 TeV", nbin=6)
TRUE = MapAxis.from_energy_bounds("0.03 TeV", "300 TeV", nbin=9, name="energy_true")


def power_law_bins(values, edges):
    """Integral over each bin of what is a power law between its edges; values (n_edge, m)."""
    ratio = np.log(edges[1:] / edges[:-1])[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        index = -np.log(values[1:] / values[:-1]) / ratio
        integral = values[:-1] * edges[:-1, None] * np.expm1((1 - index) * ratio) / (1 - index)
    return np.where((values[1:] > 0) & (values[:-1] > 0), integral, 0.0)


def sky_coordinates(geom):
    lon, lat = geom.pix_to_sky(*np.meshgrid(np.arange(geom.npix[0]), np.arange(geom.npix[1])))
    return SkyCoord(lon, lat, unit="deg", frame=geom.frame)


@pytest.mark.parametrize("proj", ["CAR", "TAN"])
def test_exposure_and_background_are_their_responses_at_each_pixel(proj):
    geom = small.geometry(binsz=0.25, width=(7, 9), proj=proj).image
    pointing = SkyCoord(small.RA + 0.7, small.DEC - 0.4, unit="deg")
    sky = sky_coordinates(geom)
    aeff, bkg = small.aeff(), small.bkg()
    maps = sky_pass(
        geom,
        lonlat_to_vectors(pointing.ra.deg, pointing.dec.deg),
        ExposureProjector.from_irf(aeff, TRUE, 1800.0),
        BackgroundProjector.from_irf(bkg, AXIS),
        SkyToField.fixed(pointing.ra.deg, pointing.dec.deg),
        2000.0,
    )
    offset = pointing.separation(sky).deg
    np.testing.assert_allclose(maps.offset, offset, atol=1e-11)
    exposure = aeff.evaluate(energy_true=TRUE.center[:, None, None], offset=offset) * 1800.0
    np.testing.assert_allclose(maps.exposure, exposure, rtol=1e-6)
    assert (exposure == 0).any()
    lon, lat = (
        -x.wrap_at("180d").deg if k == 0 else x.deg for k, x in enumerate(pointing.spherical_offsets_to(sky))
    )
    np.testing.assert_array_less(-5, lon)
    rate = bkg.evaluate(energy=AXIS.edges[:, None], fov_lon=lon.ravel(), fov_lat=lat.ravel())
    counts = power_law_bins(rate, AXIS.edges) * 1e6 * 2000.0 * geom.solid_angle().ravel()
    np.testing.assert_allclose(maps.background.reshape(6, -1), counts, rtol=2e-6)
    np.testing.assert_array_equal(maps.positive, maps.background > 0)
    assert (counts == 0).any()


def test_the_reversed_alignment_mirrors_the_longitude():
    fixed, mirrored = (SkyToField.fixed(small.RA, small.DEC, reverse) for reverse in (False, True))
    n = lonlat_to_vectors([small.RA + 1, small.RA], [small.DEC, small.DEC + 1])
    (lon, lat), (lon_r, lat_r) = fixed.lonlat(n, 0), mirrored.lonlat(n, 0)
    np.testing.assert_allclose(lon_r, -lon, atol=1e-12)
    np.testing.assert_array_equal(lat_r, lat)
    assert lon[0] < 0 < lat[1]


def test_the_result_does_not_depend_on_the_chunks(monkeypatch):
    geom = small.geometry().image
    arguments = (
        geom,
        lonlat_to_vectors(small.RA, small.DEC),
        ExposureProjector.from_irf(small.aeff(), TRUE, 1.0),
        BackgroundProjector.from_irf(small.bkg(), AXIS),
        SkyToField.fixed(small.RA, small.DEC),
        1.0,
    )
    whole = sky_pass(*arguments)
    monkeypatch.setattr(module, "CHUNK_PIXELS", 130)
    parts = sky_pass(*arguments)
    for name in ("offset", "exposure", "background", "positive"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-6)


@pytest.mark.parametrize("index", [2.7, 1.0, 1.0 + 1e-9, 0.3])
@pytest.mark.parametrize("oversampling", [1, 4])
def test_a_power_law_is_integrated_exactly(index, oversampling):
    energy = IrfAxis.from_edges(np.geomspace(0.01, 1000, 11), "energy", "log")
    offset = IrfAxis.from_edges([0.0, 2.0, 4.0], "offset", "lin")
    rate = np.repeat(1e-6 * energy.nodes[:, None] ** -index, 2, axis=1)
    projector = BackgroundProjector.from_irf(
        Background2D([energy, offset], rate), AXIS, oversampling=oversampling
    )
    counts = projector(np.array([1.5]), factor=np.ones(1))[:, 0]
    expected = [
        quad(lambda e: 1e-6 * e**-index, a, b)[0] * 1e6
        for a, b in zip(AXIS.edges, AXIS.edges[1:], strict=False)
    ]
    np.testing.assert_allclose(counts, expected, rtol=1e-7)


def test_bins_with_an_edge_outside_of_the_response_are_zero():
    axis = MapAxis.from_energy_bounds("0.01 TeV", "500 TeV", nbin=10)
    projector = BackgroundProjector.from_irf(small.bkg(), axis)
    counts = projector(np.zeros(1), np.zeros(1), factor=np.ones(1))[:, 0]
    inside = (axis.edges[:-1] >= small.RECO.edges[0]) & (axis.edges[1:] <= small.RECO.edges[-1])
    assert 0 < inside.sum() < 10
    np.testing.assert_array_equal(counts > 0, inside)


def test_values_too_small_for_float32_are_safe_all_the_same():
    """A zero node counts as the smallest float32: next to it values are positive, and vanish when stored."""
    bkg = small.bkg()
    bkg.data[:6] = 0.0
    geom = small.geometry().image
    maps = sky_pass(
        geom,
        lonlat_to_vectors(small.RA, small.DEC),
        background=BackgroundProjector.from_irf(bkg, AXIS),
        field=SkyToField.fixed(small.RA, small.DEC),
        ontime=1e-9,
    )
    assert (maps.background[0] == 0).all()
    assert maps.positive.all()


def test_zeros_of_float64_tables_are_not_safe():
    bkg = small.bkg()
    zero = Background3D(bkg.axes, np.zeros(bkg.shape))
    projector = BackgroundProjector.from_irf(zero, AXIS)
    assert not projector(np.zeros(3), np.zeros(3), factor=np.ones(3)).any()


def test_nan_in_a_background_clears_the_cells_that_touch_it_and_nothing_else():
    bkg = small.bkg()
    good = BackgroundProjector.from_irf(small.bkg(), AXIS)
    bkg.data[:, 8, 8] = np.nan
    lon, lat = (g.ravel() for g in np.meshgrid(np.linspace(-3.9, 3.9, 40), np.linspace(-3.9, 3.9, 40)))
    factor = np.ones(lon.size)
    counts = BackgroundProjector.from_irf(bkg, AXIS)(lon, lat, factor=factor)
    node_lon, node_lat = bkg.axis("fov_lon").nodes[8], bkg.axis("fov_lat").nodes[8]
    touched = (abs(lon - node_lon) < 0.5) & (abs(lat - node_lat) < 0.5)
    assert touched.any()
    np.testing.assert_array_equal(counts == 0, np.broadcast_to(touched, counts.shape))
    np.testing.assert_array_equal(counts[:, ~touched], good(lon, lat, factor=factor)[:, ~touched])


def test_nan_in_an_effective_area_clears_the_cells_that_touch_it_and_nothing_else():
    aeff = small.aeff()
    aeff.data[12, 2] = np.nan
    theta = np.linspace(0, 3.99, 200)
    exposure = ExposureProjector.from_irf(aeff, TRUE, 1.0)(theta)
    good = ExposureProjector.from_irf(small.aeff(), TRUE, 1.0)(theta)
    lower, _ = small.TRUE.cell(TRUE.center)
    rows = np.isin(lower, (11, 12)) & small.TRUE.contains(TRUE.center)
    columns = np.isin(small.OFFSET.cell(theta)[0], (1, 2))
    touched = rows[:, None] & columns
    assert touched.any()
    np.testing.assert_array_equal(exposure[touched], 0.0)
    np.testing.assert_allclose(exposure[~touched], good[~touched], rtol=1e-12)


def test_extrapolation_below_zero_is_clipped():
    energy = IrfAxis.from_edges([0.1, 100.0], "energy_true", "log")
    offset = IrfAxis.from_nodes([0.0, 1.0, 2.0], "offset", "lin")
    aeff = EffectiveAreaTable2D([energy, offset], np.array([[10.0, 4.0, 0.5]]))
    axis = MapAxis.from_energy_bounds("1 TeV", "2 TeV", nbin=1, name="energy_true")
    theta = np.array([-0.5, 0.0, 0.5, 2.0, 2.1, 2.4, 2.5, 2.6, np.nan])
    np.testing.assert_allclose(
        ExposureProjector.from_irf(aeff, axis, 2.0)(theta)[0], [26, 20, 14, 1, 0.3, 0, 0, 0, 0], atol=1e-12
    )


def test_pixels_off_the_sky_get_nothing():
    geom = WcsGeom.create((0, 0), binsz=10, width=(360, 180), proj="AIT")
    maps = sky_pass(
        geom,
        lonlat_to_vectors(5.0, 5.0),
        ExposureProjector.from_irf(small.aeff(), TRUE, 1.0),
        BackgroundProjector.from_irf(small.bkg(), AXIS),
        SkyToField.fixed(5.0, 5.0),
        1.0,
    )
    off = ~np.isfinite(maps.offset)
    assert off.any()
    assert np.isfinite(maps.exposure).all()
    assert np.isfinite(maps.background).all()
    assert not maps.exposure[:, off].any()
    assert not maps.positive[:, off].any()
    assert maps.positive.any()


def test_a_background_over_offset_is_the_same_as_one_over_the_field_of_view():
    """Round in the field of view, so both say the same (up to the interpolation of each)."""
    energy = small.RECO
    offset = IrfAxis.from_edges(np.linspace(0, 4, 81), "offset", "lin")
    fine = IrfAxis.from_edges(np.linspace(-4, 4, 161), "fov_lon", "lin")
    rate = lambda r: 1e-5 * energy.nodes.reshape(-1, *[1] * r.ndim) ** -2.7 * np.exp(-0.2 * r**2)  # noqa: E731
    lat = IrfAxis.from_edges(fine.edges, "fov_lat", "lin")
    cube = Background3D([energy, fine, lat], rate(np.hypot(fine.nodes[:, None], fine.nodes)))
    radial = Background2D([energy, offset], rate(offset.nodes))
    pointing, geom = lonlat_to_vectors(small.RA, small.DEC), small.geometry(width=(4, 4)).image
    over_field = sky_pass(
        geom,
        pointing,
        background=BackgroundProjector.from_irf(cube, AXIS),
        field=SkyToField.fixed(small.RA, small.DEC),
        ontime=1.0,
    )
    over_offset = sky_pass(geom, pointing, background=BackgroundProjector.from_irf(radial, AXIS), ontime=1.0)
    np.testing.assert_allclose(over_offset.background, over_field.background, rtol=2e-3)
    total = u.Quantity(1.0, "sr").value * over_offset.background.sum(dtype=np.float64)
    assert total == pytest.approx(over_field.background.sum(dtype=np.float64), rel=1e-3)
