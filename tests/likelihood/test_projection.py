"""Images on curved maps, against the truth on the sphere."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from gammaflow.errors import GeometryError
from gammaflow.likelihood import ImageOptions, SourceImage, source_image
from gammaflow.likelihood.lattice import Lattice, PixelGrid
from gammaflow.likelihood.projection import Flat, Warp, projector, warp_maps
from gammaflow.maps import WcsGeom
from gammaflow.modeling import (
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    SpatialModel,
)

from .synthetic import disk_nodes, galactic_lonlat, make_dataset, sphere_image, sphere_nodes

PSF = 0.06


def built(
    spatial: SpatialModel,
    center: tuple[float, float],
    frame: str,
    proj: str,
    npix: object = 121,
    around: tuple[float, float] | None = None,
    **options: object,
) -> SourceImage:
    dataset = make_dataset(
        psf=PSF, center=center, frame=frame, proj=proj, npix=npix, around=around, true_bins=2, reco_bins=2
    )
    image = source_image(
        dataset, SkyModel(PowerLawSpectralModel(), spatial, name="s"), (), ImageOptions(**options)
    )
    assert image is not None
    return image


def error(
    image: SourceImage, frame: str, lon: float, lat: float, nodes: tuple[np.ndarray, np.ndarray], reach: float
) -> float:
    """Largest difference to the truth over sampled pixels, relative to the peak."""
    offsets, weights = nodes
    lattice = image.lattice
    place = lattice.position(lon, lat).pixel
    rng = np.random.default_rng(5)
    radius = (
        np.concatenate([np.linspace(0, reach, 30), reach + rng.uniform(-0.05, 0.05, 20)]) / lattice.pixel_size
    )
    angle = rng.uniform(0, 2 * np.pi, len(radius))
    pixels = np.rint(place[:, None] + radius * np.stack([np.cos(angle), np.sin(angle)]))
    truth = sphere_image(lattice, sphere_nodes(frame, lon, lat, offsets), weights, PSF, pixels)
    found = next(stretch.copy() for _, stretch in image.state(np.zeros(0)).images())[0]
    x, y = pixels.astype(int)
    return float(np.abs(found[y, x] - truth).max() / truth.max())


# place of the source, projection, centre of the map, frame; largest errors flat and warped of a disk of 0.5 deg
CASES = {
    "CAR at its equator": ((0.1, 0.05), "CAR", (0.0, 0.0), "galactic", 2e-4, 1.5e-4),
    "CAR, 3.5 deg off its centre": ((3.0, 1.8), "CAR", (0.0, 0.0), "galactic", 5e-4, 1.5e-4),
    "TAN, 3 deg off": ((2.5, 1.7), "TAN", (0.0, 0.0), "galactic", 1.5e-3, 1.5e-4),
    "TAN, 6 deg off": ((5.0, 3.3), "TAN", (0.0, 0.0), "galactic", 3e-3, 1.5e-4),
    "AIT": ((60.0, 20.0), "AIT", (0.0, 0.0), "galactic", 8e-3, 1.5e-4),
    "plate carree at 30 deg": ((40.0, 30.0), "CAR", (40.0, 0.0), "galactic", 5e-3, 1.5e-4),
    "plate carree at 60 deg": ((40.0, 60.0), "CAR", (40.0, 0.0), "galactic", 1.5e-2, 2e-4),
}


@pytest.mark.parametrize("case", CASES)
def test_disk_of_half_a_degree(case: str) -> None:
    place, proj, center, frame, flat, warped = CASES[case]
    model = DiskSpatialModel(lon_0=place[0] * u.deg, lat_0=place[1] * u.deg, r_0="0.5 deg", frame=frame)
    nodes = disk_nodes(0.5, radial=40, azimuthal=160)
    found = {}
    for warp in (False, True):
        image = built(model, center, frame, proj, 151, around=place, warp=warp)
        found[warp] = error(image, frame, *place, nodes, 0.55)
    assert found[False] <= flat
    assert found[True] <= warped
    if flat > 1e-3:
        # the rule takes the correction where it matters
        assert isinstance(built(model, center, frame, proj, 151, around=place).projector, Warp)


@pytest.mark.parametrize("lon", [0.004, 359.996])
def test_a_source_where_longitude_comes_round(lon: float) -> None:
    model = GaussianSpatialModel(lon_0=lon * u.deg, lat_0="0.3 deg", sigma="0.1 deg", frame="galactic")
    image = built(model, (0.1, 0.0), "galactic", "CAR")
    sigma = 0.1
    nodes = gaussian_nodes(sigma)
    assert error(image, "galactic", lon, 0.3, nodes, 0.3) <= 2e-4


@pytest.mark.parametrize("frame", ["galactic", "icrs"])
def test_a_source_that_moves_across_longitude_zero(frame: str) -> None:
    """In the window of 359.99 deg, moved to 0.01, also by the longitude 360.01: the image of one that starts there."""
    images = [built_free((lon, 0.3), frame, PointSpatialModel, ("lon_0", "lat_0")) for lon in (359.99, 0.01)]
    expected = next(stretch.copy() for _, stretch in images[1].state(images[1].start).images())
    shift = np.subtract(images[1].lattice.origin, images[0].lattice.origin)
    n = expected.shape[-1]
    for lon in (0.01, 360.01):
        found = next(stretch.copy() for _, stretch in images[0].state(np.array([lon, 0.3])).images())
        found = np.roll(found, (-shift[1], -shift[0]), axis=(1, 2))
        inner = slice(n // 4, 3 * n // 4)
        np.testing.assert_allclose(
            found[:, inner, inner], expected[:, inner, inner], atol=1e-7 * expected.max()
        )


def built_free(
    place: tuple[float, float], frame: str, kind: type[SpatialModel], parameters: tuple[str, ...]
) -> SourceImage:
    dataset = make_dataset(psf=PSF, center=(0.1, 0.0), frame=frame, npix=121, true_bins=2, reco_bins=2)
    spatial = kind(lon_0=place[0] * u.deg, lat_0=place[1] * u.deg, frame=frame)
    image = source_image(dataset, SkyModel(PowerLawSpectralModel(), spatial, name="s"), parameters)
    assert image is not None
    return image


def gaussian_nodes(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    offsets, weights = disk_nodes(5 * sigma, radial=40, azimuthal=64)
    weights = weights * np.exp(-0.5 * (np.hypot(*offsets) / sigma) ** 2)
    return offsets, weights / weights.sum()


@pytest.mark.parametrize("lat", [89.9, 89.99])
def test_a_source_at_the_pole(lat: float) -> None:
    model = GaussianSpatialModel(lon_0="200 deg", lat_0=lat * u.deg, sigma="0.1 deg", frame="icrs")
    image = built(model, (10.0, 89.5), "icrs", "TAN")
    assert error(image, "icrs", 200.0, lat, gaussian_nodes(0.1), 0.3) <= 5e-4


def test_a_galactic_model_on_an_icrs_map_keeps_its_orientation() -> None:
    lon, lat = 83.65, 22.03
    l, b = galactic_lonlat(lon, lat)  # noqa: E741  # the name of a galactic longitude
    model = DiskSpatialModel(
        lon_0=l * u.deg, lat_0=b * u.deg, r_0="0.4 deg", e=0.9, phi="25 deg", frame="galactic"
    )
    image = built(model, (83.6, 22.0), "icrs", "CAR", warp=True)
    offsets, weights = disk_nodes(1.0, radial=40, azimuthal=160)
    minor = 0.4 * np.sqrt(1 - 0.9**2)
    sin, cos = np.sin(np.radians(25)), np.cos(np.radians(25))
    turned = np.outer([sin, cos], 0.4 * offsets[0]) + np.outer([cos, -sin], minor * offsets[1])
    assert error(image, "galactic", l, b, (turned, weights), 0.4) <= 5e-4


def test_a_point_needs_no_correction_but_gets_its_solid_angle() -> None:
    """At 60 deg on plate carree a pixel is half as wide: the Jacobian says so, the total stays 1."""
    model = PointSpatialModel(lon_0="40.03 deg", lat_0="60.01 deg", frame="galactic")
    image = built(model, (40.0, 0.0), "galactic", "CAR", 121, around=(40.0, 60.0))
    plane = next(stretch.copy() for _, stretch in image.state(np.zeros(0)).images())[0]
    assert plane.sum() == pytest.approx(1.0, abs=2e-4)
    assert error(image, "galactic", 40.03, 60.01, (np.zeros((2, 1)), np.ones(1)), 0.15) <= 1e-3


def test_warp_maps_agree_with_the_map() -> None:
    """eps and g against astropy: the equal-area offset of a pixel, and its solid angle."""
    geom = WcsGeom.create((0.0, 0.0), 0.05, npix=(141, 501), frame="galactic")
    lattice = Lattice.around(geom, "galactic", 0.4, 11.0, 20)
    area, shift, _ = warp_maps(lattice)
    anchor = SkyCoord(0.4, 11.0, unit="deg", frame="galactic")
    for x, y in ((3, 5), (30, 11), (20, 20)):
        lon, lat = geom.pix_to_sky(*np.subtract((x, y), window_origin(geom, lattice)))
        there = SkyCoord(lon, lat, unit="deg", frame="galactic")
        distance = np.degrees(2 * np.sin(0.5 * anchor.separation(there).rad))
        angle = anchor.position_angle(there).rad
        offset = distance * np.array([np.sin(angle), np.cos(angle)])
        expected = lattice.position(*lattice.anchor).pixel + lattice.jacobian @ offset - (x, y)
        np.testing.assert_allclose(shift[:, y, x], expected, atol=1e-6)
        cell = abs(np.linalg.det(lattice.jacobian)) * 0.05**2 * np.cos(np.radians(float(lat)))
        assert area[y, x] == pytest.approx(cell, rel=1e-5)


def window_origin(geom: WcsGeom, lattice: Lattice) -> np.ndarray:
    """Window coordinates of the map's first pixel."""
    _, first = PixelGrid.of(geom)
    return np.subtract(first, lattice.origin)


def test_too_much_curvature_is_refused() -> None:
    geom = WcsGeom.create((40.0, 0.0), 0.05, npix=(201, 3599), frame="galactic")
    with pytest.raises(GeometryError, match="flat sky"):
        projector(Lattice.around(geom, "galactic", 40.0, 85.0, 40), 1.5)


def test_the_correction_is_left_out_where_it_does_not_matter() -> None:
    model = PointSpatialModel(lon_0="83.6 deg", lat_0="22 deg", frame="icrs")
    assert isinstance(built(model, (83.6, 22.0), "icrs", "CAR").projector, Flat)
