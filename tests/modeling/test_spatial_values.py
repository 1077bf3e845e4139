"""Values of spatial models on the sky: Gammapy's, and their normalisation."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.testing import assert_allclose

from gammaflow.errors import ModelError, UnsupportedError
from gammaflow.modeling import (
    DiskSpatialModel,
    GaussianSpatialModel,
    Model,
    Parameter,
    PointSpatialModel,
    SpatialModel,
)
from gammaflow.modeling.spatial.disk import ellipse_solid_angle
from gammaflow.modeling.spatial.sphere import position_angle, separation
from tests.modeling.catalogue import reference

CASES = reference()["spatial"]
IDS = [f"{case['tag']}-{i}" for i, case in enumerate(CASES)]
SHAPES = [
    ("gauss", {"sigma": "0.2 deg"}),
    ("gauss", {"sigma": "0.2 deg", "e": 0.7, "phi": "30 deg"}),
    ("gauss-general", {"r_0": "0.2 deg", "eta": 0.3}),
    ("gauss-general", {"r_0": "0.2 deg", "eta": 0.9, "e": 0.5}),
    ("disk", {"r_0": "0.5 deg", "edge_width": 0.05}),
    ("disk", {"r_0": "0.5 deg", "edge_width": 0.05, "e": 0.8, "phi": "-50 deg"}),
    ("shell", {"radius": "0.4 deg", "width": "0.2 deg"}),
    ("shell2", {"r_0": "0.6 deg", "eta": 0.5}),
]


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_values_are_gammapys(case: dict) -> None:
    model = Model.create(case["tag"], "spatial", **case["parameters"])
    lon, lat = reference()["positions"]["lon"] * u.deg, reference()["positions"]["lat"] * u.deg
    values = model(lon, lat).to_value("sr-1")
    assert_allclose(values, case["values"], rtol=1e-9, atol=1e-11 * max(case["values"]))
    assert model.extent == (np.inf if case["radius"] is None else pytest.approx(case["radius"]))


@pytest.mark.parametrize(("tag", "parameters"), SHAPES)
def test_the_integral_over_the_sky_is_1(tag: str, parameters: dict) -> None:
    model = Model.create(tag, "spatial", lon_0="266 deg", lat_0="-29 deg", **parameters)
    # rings around the centre; pieces that end where shells and soft edges begin
    reach = 45 * 0.2 if tag == "gauss-general" else model.extent * 1.2
    ends = np.unique(np.concatenate([np.linspace(0, reach, 40), [0.4, 0.6], np.linspace(0.28, 0.55, 40)]))
    nodes, weights = np.polynomial.legendre.leggauss(12)
    r = (0.5 * np.diff(ends)[:, None] * nodes + 0.5 * (ends[1:] + ends[:-1])[:, None]).ravel()
    w = (0.5 * np.diff(ends)[:, None] * weights).ravel()
    psi = np.arange(96) * 360 / 96
    center = SkyCoord(266, -29, unit="deg")
    ring = center.directional_offset_by(psi[:, None] * u.deg, r * u.deg)
    values = model.values(ring.ra.deg, ring.dec.deg).mean(axis=0)
    total = np.sum(w * np.radians(1) * 2 * np.pi * np.sin(np.radians(r)) * values)
    # the shape is normalised flat where its formula is; a soft edge adds its variance to the disk
    tolerance = {"gauss": 1e-5, "gauss-general": 1e-4, "disk": 1e-3, "shell": 1e-4, "shell2": 1e-4}[tag]
    assert total == pytest.approx(1, abs=tolerance)


def test_separation_and_direction() -> None:
    center = SkyCoord(359.99, 60, unit="deg")
    other = center.directional_offset_by([0, 40, 90, 200, 315] * u.deg, [1e-7, 0.3, 2, 50, 179] * u.deg)
    assert_allclose(separation(other.ra.deg, other.dec.deg, 359.99, 60.0), [1e-7, 0.3, 2, 50, 179], rtol=1e-6)
    angle = position_angle(other.ra.deg, other.dec.deg, 359.99, 60.0)
    assert_allclose(np.mod(angle, 360)[1:], [40, 90, 200, 315], atol=1e-9)


@pytest.mark.parametrize("e", [0.0, 0.5, 0.99])
def test_solid_angle_of_an_ellipse(e: float) -> None:
    expected = np.pi * np.radians(0.1) ** 2 * np.sqrt(1 - e**2)
    assert ellipse_solid_angle(0.1, e) == pytest.approx(expected, rel=2e-6)
    assert ellipse_solid_angle(60, 0) == pytest.approx(np.pi, rel=1e-14)
    with pytest.raises(ModelError, match="no area"):
        ellipse_solid_angle(1, 1)


def test_the_sharp_disk() -> None:
    disk = DiskSpatialModel(r_0="0.5 deg", edge_width=0)
    assert_allclose(disk.values([0, 0.4999, 0.5001], [0, 0, 0]) > 0, [True, True, False])


def test_position_in_another_frame() -> None:
    model = GaussianSpatialModel(lon_0="0 deg", lat_0="0 deg", frame="galactic", sigma="6 arcmin")
    assert_allclose([model.position.icrs.ra.deg, model.position.icrs.dec.deg], reference()["galactic_centre"])
    model.position = SkyCoord(83.63, 22.01, unit="deg")
    assert_allclose(model.position.icrs.ra.deg, 83.63)
    assert model.position_lonlat == pytest.approx((184.55, -5.79), abs=0.02)
    assert model.extent == pytest.approx(0.5)
    with pytest.raises(ModelError, match="frame 'ecliptic'"):
        GaussianSpatialModel(frame="ecliptic")


def test_a_point_has_no_brightness_and_a_constant_no_place() -> None:
    with pytest.raises(UnsupportedError, match="brightness"):
        PointSpatialModel().values(0, 0)
    constant = Model.create("const", "spatial", value="2 sr-1")
    assert_allclose(constant.values(np.zeros(3), 10.0), 2)
    assert constant.position is None
    with pytest.raises(ModelError, match="no position"):
        _ = constant.position_lonlat


class Ring(SpatialModel):
    """A user's shape."""

    tag = ("RingSpatialModel", "test-ring")
    lon_0 = Parameter("lon_0", "0 deg")
    lat_0 = Parameter("lat_0", "0 deg")
    radius = Parameter("radius", "18 arcmin")
    width = Parameter("width", "0.05 deg", min="0.01 deg")

    @staticmethod
    def evaluate(lon, lat, lon_0, lat_0, radius, width):
        z = (np.hypot(lon - lon_0, lat - lat_0) - radius) / width
        return np.exp(-0.5 * z**2) / width

    @property
    def evaluation_radius(self):
        return self.radius.quantity + 5 * self.width.quantity


def test_a_users_shape_has_derivatives_by_differences() -> None:
    ring = Ring()
    assert ring.extent == pytest.approx(0.55)
    assert not ring.has_transform
    with pytest.raises(UnsupportedError, match="no closed Fourier transform"):
        ring.transform(np.zeros(1), np.zeros(1))
    lon = np.linspace(0.1, 0.5, 9)
    z = (lon - 0.3) / 0.05
    value = np.exp(-0.5 * z**2) / 0.05
    found = ring.values_and_derivatives(lon, np.zeros(9))
    assert found.parameters == ("radius", "width")
    assert_allclose(found.value, value)
    # by radius in arcmin, by width in deg
    first = np.array([value * z / 0.05 / 60, value * (z**2 - 1) / 0.05])
    assert_allclose(found.gradient, first, atol=1e-7 * np.abs(first).max(axis=1)[0])
    second = value * (z**2 - 1) / 0.05**2 / 3600
    assert_allclose(found.hessian[0, 0], second, atol=1e-4 * np.abs(second).max())
    assert_allclose(found.hessian[0, 1], found.hessian[1, 0])
    ring.width.value = 0.01
    at_limit = ring.values_and_derivatives(lon, np.zeros(9), ["width"], order=1)
    assert np.all(np.isfinite(at_limit.gradient))
    assert at_limit.hessian.size == 0
