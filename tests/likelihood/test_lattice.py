"""Images from Fourier coefficients, against the truth in real space."""

from __future__ import annotations

import numpy as np
import pytest

from gammaflow.errors import GeometryError
from gammaflow.likelihood.lattice import Lattice, PixelGrid
from gammaflow.likelihood.transfer import PointSpread, pixel_transfer, transfer
from gammaflow.maps import WcsGeom

from .synthetic import gaussian_image, radial_image

PIXEL = 0.02
OFFSETS = [(0.0, 0.0), (0.25, 0.1), (0.5, 0.5), (0.37, -0.49), (-0.08, 0.33)]


def lattice_at(offset: tuple[float, float], half: int = 40, **kwargs: object) -> Lattice:
    """A window whose source lies ``offset`` pixels off the centre of a pixel."""
    geom = WcsGeom.create((0.0, 0.0), PIXEL, npix=201, frame="galactic")
    lon, lat = -PIXEL * offset[0], PIXEL * offset[1]
    return Lattice.around(geom, "galactic", lon, lat, half, **kwargs)


def fine_axis(width: float) -> tuple[np.ndarray, np.ndarray]:
    edges = np.linspace(0.0, max(8 * width, 0.2), 241)
    return edges, 0.5 * (edges[1:] + edges[:-1])


def image_of(lattice: Lattice, spread: PointSpread, tolerance: float = 1e-6) -> np.ndarray:
    everything = lattice.frequencies()
    size = spread.envelope_at(everything.radius) * np.abs(pixel_transfer(everything))
    listed = everything.select(size > tolerance)
    place = lattice.position(*lattice.anchor).pixel
    return listed.synthesise(transfer(spread, listed) * listed.phase(place))[0].copy()


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("width", [0.5, 1.0, 4.0])
def test_a_point_source_is_its_psf_integrated_over_pixels(offset: tuple[float, float], width: float) -> None:
    lattice = lattice_at(offset)
    edges, centers = fine_axis(width * PIXEL)
    table = np.exp(-0.5 * (centers / (width * PIXEL)) ** 2)[None]
    image = image_of(lattice, PointSpread.from_table(edges, centers, table, lattice.highest))
    place = lattice.position(*lattice.anchor).pixel
    truth = gaussian_image(lattice.size, place[:, None], np.ones(1), width)
    assert np.abs(image - truth).max() <= 1e-4 * truth.max()
    assert image.min() >= -1e-5 * truth.max()
    assert image.sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_psf_with_a_cusp(offset: tuple[float, float]) -> None:
    lattice = lattice_at(offset)
    edges = np.linspace(0.0, 0.66, 67)
    centers = 0.5 * (edges[1:] + edges[:-1])
    spread = PointSpread.from_table(edges, centers, np.exp(-centers / 0.06)[None], lattice.highest)
    image = image_of(lattice, spread)

    def density(r: np.ndarray) -> np.ndarray:
        return np.interp(r.ravel(), spread.r, spread.density[0], right=0.0).reshape(r.shape)

    truth = radial_image(lattice.size, lattice.position(*lattice.anchor).pixel, PIXEL, density)
    assert np.abs(image - truth).max() <= 3e-4 * truth.max()


def test_a_narrow_psf_needs_a_second_alias_order() -> None:
    edges, centers = fine_axis(0.3 * PIXEL)
    errors = []
    for alias in (1, 2):
        lattice = lattice_at((0.37, -0.2), alias=alias)
        table = np.exp(-0.5 * (centers / (0.3 * PIXEL)) ** 2)[None]
        image = image_of(lattice, PointSpread.from_table(edges, centers, table, lattice.highest))
        place = lattice.position(*lattice.anchor).pixel
        truth = gaussian_image(lattice.size, place[:, None], np.ones(1), 0.3)
        errors.append(np.abs(image - truth).max() / truth.max())
    assert errors[0] < 3e-3
    assert errors[1] < 3e-4


@pytest.mark.parametrize("size", [80, 81])
def test_a_shift_by_one_pixel_shifts_the_image(size: int) -> None:
    lattice = lattice_at((0.2, 0.3), size=size)
    edges, centers = fine_axis(0.03)
    spread = PointSpread.from_table(
        edges, centers, np.exp(-0.5 * (centers / 0.03) ** 2)[None], lattice.highest
    )
    listed = lattice.frequencies()
    h = transfer(spread, listed)
    here = listed.synthesise(h * listed.phase(np.array([40.2, 39.7])))[0].copy()
    there = listed.synthesise(h * listed.phase(np.array([41.2, 37.7])))[0].copy()
    np.testing.assert_allclose(np.roll(here, (-2, 1), axis=(0, 1)), there, atol=1e-12 * here.max())


@pytest.mark.parametrize("size", [80, 81, 90, 75])
def test_parseval(size: int) -> None:
    """The adjoint is the transpose of the synthesis, for even and odd windows."""
    lattice = lattice_at((0.1, 0.4), half=37, size=size)
    edges, centers = fine_axis(0.012)
    spread = PointSpread.from_table(
        edges, centers, np.exp(-0.5 * (centers / 0.012) ** 2)[None], lattice.highest
    )
    for cut in (np.inf, 30.0):
        listed = lattice.frequencies(cut)
        spectra = transfer(spread, listed) * listed.phase(np.array([36.4, 38.9]))
        image = listed.synthesise(spectra).copy()
        maps = np.random.default_rng(1).normal(size=image.shape)
        direct = float((maps * image).sum())
        adjoint = float((np.conj(listed.analyse(maps)) * listed.sum_weight * spectra).sum().real)
        assert adjoint == pytest.approx(direct, rel=1e-12, abs=1e-13)


def test_cutouts_of_one_parent_have_the_same_lattice() -> None:
    parent = WcsGeom.create((266.4, -29.0), PIXEL, npix=(301, 240), frame="icrs")
    part = parent.cutout(parent.pix_to_vectors(140.3, 99.7), 2.0)
    whole, cut = (Lattice.around(g, "galactic", 0.1, 0.05, 30) for g in (parent, part))
    assert whole == cut
    np.testing.assert_array_equal(whole.jacobian, cut.jacobian)
    np.testing.assert_array_equal(whole.position(0.12, 0.04).pixel, cut.position(0.12, 0.04).pixel)
    (in_whole, _), (in_part, _) = whole.overlap(parent), cut.overlap(part)  # type: ignore[misc]  # both overlap
    offset = part.slices_in(parent)
    assert in_whole[0].start == in_part[0].start + offset[0].start
    assert in_whole[1].start == in_part[1].start + offset[1].start


def test_positions_are_exact_and_so_are_their_derivatives() -> None:
    geom = WcsGeom.create((120.0, 35.0), PIXEL, npix=201, frame="icrs", proj="TAN")
    lattice = Lattice.around(geom, "galactic", *(185.0, 29.0), 30)
    lon, lat = 184.95, 29.08
    place = lattice.position(lon, lat)
    x, y = geom.wcs.wcs_world2pix(*_icrs(lon, lat), 0)
    _, first = PixelGrid.of(geom)
    expected = np.array([x + first[0] - lattice.origin[0], y + first[1] - lattice.origin[1]])
    np.testing.assert_allclose(place.pixel, expected, atol=1e-8)
    h = 1e-2
    for axis, step in enumerate(np.eye(2) * h):
        up, down = (
            lattice.position(lon + step[0], lat + step[1]),
            lattice.position(lon - step[0], lat - step[1]),
        )
        np.testing.assert_allclose(place.first[axis], (up.pixel - down.pixel) / (2 * h), rtol=1e-6)
        np.testing.assert_allclose(
            place.second[axis], (up.first - down.first) / (2 * h), rtol=1e-4, atol=1e-4
        )


def _icrs(lon: float, lat: float) -> tuple[float, float]:
    from astropy.coordinates import SkyCoord

    icrs = SkyCoord(lon, lat, unit="deg", frame="galactic").icrs
    return float(icrs.ra.deg), float(icrs.dec.deg)


def test_longitude_comes_round() -> None:
    geom = WcsGeom.create((0.0, 0.0), PIXEL, npix=201, frame="galactic")
    lattice = Lattice.around(geom, "galactic", 359.99, 0.0, 30)
    np.testing.assert_allclose(
        lattice.position(0.01, 0.0).pixel - lattice.position(359.99, 0.0).pixel, [-1.0, 0.0], atol=1e-9
    )
    other = WcsGeom.create((180.0, 0.0), PIXEL, npix=201, frame="galactic")
    whole_sky = WcsGeom.create((0.0, 0.0), 1.0, npix=(360, 180), frame="galactic")
    for geom in (other, whole_sky):
        lattice = Lattice.around(geom, "galactic", 179.999, 0.0, 5)
        step = lattice.position(180.001, 0.0).pixel - lattice.position(179.999, 0.0).pixel
        np.testing.assert_allclose(step * geom.pixel_scales[0], [-0.002, 0.0], atol=1e-9)


def test_a_place_off_the_projection_is_refused() -> None:
    geom = WcsGeom.create((0.0, 0.0), PIXEL, npix=201, frame="galactic", proj="TAN")
    with pytest.raises(GeometryError, match="TAN"):
        Lattice.around(geom, "galactic", 150.0, 0.0, 10)


@pytest.mark.parametrize("interpolation", ["spline", "linear"])
def test_phat_of_a_gaussian(interpolation: str) -> None:
    edges = np.linspace(0.0, 0.66, 67)
    centers = 0.5 * (edges[1:] + edges[:-1])
    spread = PointSpread.from_table(
        edges, centers, np.exp(-0.5 * (centers / 0.05) ** 2)[None], 100.0, interpolation
    )
    q = np.linspace(0.0, 90.0, 333)
    truth = np.exp(-2 * (np.pi * q * 0.05) ** 2)
    assert np.abs(spread.transform(q)[0] - truth).max() < (2e-5 if interpolation == "spline" else 2e-2)
    assert spread.phat[0, 0] == pytest.approx(1.0, abs=1e-12)
    if interpolation == "spline":
        assert spread.containment_radius(0.68)[0] == pytest.approx(
            0.05 * np.sqrt(-2 * np.log(0.32)), abs=1e-3
        )


def test_the_quadrature_follows_the_highest_frequency() -> None:
    """With few nodes J0 is under-sampled at small pixels, and Phat comes back at high frequencies."""
    edges = np.linspace(0.0, 0.66, 67)
    centers = 0.5 * (edges[1:] + edges[:-1])
    spread = PointSpread.from_table(edges, centers, np.exp(-0.5 * (centers / 0.03) ** 2)[None], 420.0)
    assert np.abs(spread.transform(np.linspace(60.0, 420.0, 500))).max() < 1e-4


def test_an_energy_without_psf_has_no_transform() -> None:
    edges = np.linspace(0.0, 0.66, 67)
    centers = 0.5 * (edges[1:] + edges[:-1])
    table = np.stack([np.zeros(66), np.exp(-0.5 * (centers / 0.05) ** 2)])
    spread = PointSpread.from_table(edges, centers, table, 50.0)
    assert not spread.phat[0].any()
    assert spread.containment_radius(0.68)[0] == 0.0
