"""Regions: what is inside, how large they are, and how they are written down."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord, PolygonSkyRegion

from gammaflow.errors import DataError, GeometryError
from gammaflow.maps import MapAxis, RegionGeom, WcsGeom, lonlat_to_vectors

REFERENCE = json.loads((Path(__file__).parent.parent / "reference" / "region_geom.json").read_text())[
    "regions"
]
ENERGY = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", 3)
CRAB = SkyCoord(83.6333, 22.0145, unit="deg")
ALL = {
    **{name: case["ds9"] for name, case in REFERENCE.items()},
    "polygon": "icrs;polygon(83.0,22.0,84.0,22.0,84.0,23.0)",
    "point": "galactic;point(184.5,-5.7)",
}


@pytest.mark.parametrize("name", REFERENCE)
class TestAgainstGammapy:
    def test_positions_inside(self, name):
        case = REFERENCE[name]
        found = RegionGeom.create(case["ds9"]).contains(lonlat_to_vectors(case["lon"], case["lat"]))
        np.testing.assert_array_equal(found, np.array(case["inside"], dtype=bool))
        assert 0 < found.sum() < found.size

    def test_solid_angle(self, name):
        case = REFERENCE[name]
        geom = RegionGeom.create(case["ds9"])
        expected = case["solid_angle"]
        if expected is None:
            # the plane widens away from the centre
            assert geom.solid_angle() == pytest.approx(2 * np.pi * np.radians(0.1) ** 2, rel=1e-4)
        else:
            assert geom.solid_angle() == pytest.approx(expected, rel=1e-6)

    def test_weights_of_pixels(self, name):
        geom = RegionGeom.create(REFERENCE[name]["ds9"])
        vectors, weights = geom.pixels_and_weights()
        assert vectors.shape == (3, len(weights))
        assert weights.min() > 0
        assert weights.max() == 1
        # the grid of pixels lies elsewhere by up to half of one
        assert weights.sum() == pytest.approx(REFERENCE[name]["sum_of_weights"], rel=2e-3)


@pytest.mark.parametrize("name", ALL)
class TestEveryShape:
    def test_text_comes_back(self, name):
        geom = RegionGeom.create(ALL[name], [ENERGY])
        again = RegionGeom.create(geom.ds9, [ENERGY])
        assert again.ds9 == geom.ds9
        assert again == geom
        assert hash(again) == hash(geom)

    def test_it_survives_pickle_without_what_is_cached(self, name):
        geom = RegionGeom.create(ALL[name], [ENERGY])
        small = len(pickle.dumps(geom))
        _ = geom.center_vector, geom.width
        assert len(pickle.dumps(geom)) == small
        assert pickle.loads(pickle.dumps(geom)) == geom

    def test_the_map_holds_it(self, name):
        geom = RegionGeom.create(ALL[name], [ENERGY])
        image = geom.to_wcs_geom(width_min="0.1 deg")
        assert image.axes == (ENERGY,)
        assert image.projection == "TAN"
        assert min(image.width) >= 0.1 - 1e-9
        assert image.contains(geom.pixels_and_weights()[0]).all()
        if not geom.is_point:
            area = (geom.weights_on(image.to_image()) * image.solid_angle()).sum()
            assert area == pytest.approx(geom.solid_angle(), rel=2e-3)


def test_overlapping_regions_count_once():
    one, two = "icrs;circle(83.6,22,0.1)", "icrs;circle(83.65,22,0.1)"
    single, double = RegionGeom.create(one), RegionGeom.create([one, two])
    assert single.solid_angle() < double.solid_angle() < 2 * single.solid_angle()
    same = RegionGeom.create([one, one])
    assert same.solid_angle() == pytest.approx(single.solid_angle(), rel=1e-3)


def test_a_compound_region_is_a_union():
    one, two = CircleSkyRegion(CRAB, 0.1 * u.deg), CircleSkyRegion(CRAB, 0.2 * u.deg)
    assert RegionGeom.create(one | two) == RegionGeom.create([one, two])
    assert RegionGeom.create(one).union(RegionGeom.create(two)) == RegionGeom.create([one, two])
    with pytest.raises(GeometryError, match="united"):
        RegionGeom.create(one & two)


def test_center_axes_and_radius():
    geom = RegionGeom.create(CircleSkyRegion(CRAB.galactic, 6.6 * u.arcmin), [ENERGY])
    assert geom.frame == "galactic"
    assert geom.center_skydir.separation(CRAB).deg == pytest.approx(0, abs=1e-9)
    assert geom.radius == pytest.approx(0.11)
    assert geom.data_shape == (3,)
    assert geom.axis("energy") is ENERGY
    assert geom.to_image().axes == ()
    assert geom.drop("energy") == geom.to_image()
    polygon = RegionGeom.create(PolygonSkyRegion(SkyCoord([10, 11, 11, 10], [0, 0, 1, 1], unit="deg")))
    assert polygon.center_skydir.separation(SkyCoord(10.5, 0.5, unit="deg")).deg < 1e-3


def test_a_point_holds_nothing():
    point = RegionGeom.create("icrs;point(83.6,22)")
    assert point.is_point
    assert not point.contains(point.center_vector)
    assert point.solid_angle() == 0
    vectors, weights = point.pixels_and_weights()
    np.testing.assert_allclose(vectors[:, 0], point.center_vector)
    assert weights.tolist() == [1.0]


def test_no_region():
    geom = RegionGeom.create(None, [ENERGY])
    assert geom.region is None
    assert geom == RegionGeom.create(None, [ENERGY])
    assert np.isnan(geom.center_skydir.ra.deg)
    for ask in (geom.solid_angle, geom.to_wcs_geom, lambda: geom.contains(np.array([1.0, 0.0, 0.0]))):
        with pytest.raises(GeometryError, match="no region"):
            ask()


def test_the_other_side_of_the_sky_is_outside():
    geom = RegionGeom.create("icrs;circle(83.6,22,0.1)")
    assert geom.contains(geom.center_vector)
    assert not geom.contains(-geom.center_vector)


DIFFERENT = [
    ("icrs;circle(83.6,22,0.1)", "icrs;circle(83.6,22,0.2)", "radius"),
    ("icrs;circle(83.6,22,0.1)", "icrs;circle(83.7,22,0.1)", "right ascension of the center"),
    ("icrs;circle(83.6,22,0.1)", "icrs;point(83.6,22)", "CircleSkyRegion and PointSkyRegion"),
]


@pytest.mark.parametrize(("one", "two", "said"), DIFFERENT)
def test_what_differs_is_said(one, two, said):
    assert said in str(RegionGeom.create(one).difference(RegionGeom.create(two)))
    assert RegionGeom.create(one) != RegionGeom.create(two)


def test_equal_in_other_frames_and_digits():
    there = CRAB.galactic
    galactic = RegionGeom.create(f"galactic;circle({there.l.deg:.9f},{there.b.deg:.9f},0.11)")
    assert galactic == RegionGeom.create("icrs;circle(83.6333,22.0145,0.11)")


@pytest.mark.parametrize(
    ("region", "error"),
    [
        (CirclePixelRegion(PixCoord(1, 1), 2), GeometryError),
        ("icrs;-circle(83.6,22,0.1)", GeometryError),
        ("circle of radius one", DataError),
        (42, (DataError, TypeError)),
    ],
)
def test_what_is_no_region_is_refused(region, error):
    with pytest.raises(error):
        RegionGeom.create(region)


def test_weights_on_a_map():
    image = WcsGeom.create((83.6, 22.0), 0.05, 0.5, proj="TAN")
    geom = RegionGeom.create("icrs;box(83.6,22,0.25,0.25,0)")
    weights = geom.weights_on(image, oversampling=20)
    assert weights.sum() * 0.05**2 == pytest.approx(0.25**2, rel=1e-3)
    assert weights.max() == 1
