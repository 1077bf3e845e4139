"""Regions as masks."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from regions import CirclePixelRegion, CircleSkyRegion, PixCoord, PointSkyRegion

from gammaflow.errors import DataError
from gammaflow.maps import MapAxis, WcsGeom, separation

GEOM = WcsGeom.create((83.63, 22.01), 0.05, (3, 2))


def test_a_circle_is_the_pixels_near_its_centre():
    center = SkyCoord(83.9, 22.2, unit="deg")
    mask = GEOM.region_mask(CircleSkyRegion(center, 0.4 * u.deg))
    near = separation(GEOM.pixel_vectors(), GEOM.pix_to_vectors(*GEOM.sky_to_pix(83.9, 22.2))) < 0.4
    # the circle is one in the plane, and the plane is no sphere
    assert (mask != near).mean() < 0.005
    assert mask.sum() == pytest.approx(np.pi * (0.4 / 0.05) ** 2, rel=0.03)


def test_a_circle_is_one_where_pixels_are_not_square():
    geom = WcsGeom.create((83.63, 22.01), (0.02, 0.1), (3, 4))
    mask = geom.region_mask("icrs;circle(83.7,22.2,0.9)")
    near = separation(geom.pixel_vectors(), geom.pix_to_vectors(*geom.sky_to_pix(83.7, 22.2))) < 0.9
    assert (mask != near).mean() < 0.005
    turned = geom.region_mask("icrs;ellipse(83.7,22.2,0.9,0.3,90)")
    rows, columns = np.nonzero(turned)
    # in ds9 the first half axis lies along longitude at angle 0; at 90 deg it points north
    assert (columns.max() - columns.min() + 1) * 0.02 == pytest.approx(0.6, abs=0.05)
    assert (rows.max() - rows.min() + 1) * 0.1 == pytest.approx(1.8, abs=0.2)


def test_several_regions_are_united():
    regions = [CirclePixelRegion(PixCoord(10, 10), 3), "image;circle(31,21,4)"]
    union = GEOM.region_mask(regions)
    one, other = (GEOM.region_mask(region) for region in regions)
    np.testing.assert_array_equal(union, one | other)
    assert one.sum() == 25
    assert other.sum() > 40


def test_a_region_outside_covers_nothing_and_one_over_all_everything():
    assert not GEOM.region_mask("icrs;circle(200,-20,1)").any()
    assert GEOM.region_mask("icrs;circle(83.63,22.01,10)").all()


def test_compound_regions():
    a = CircleSkyRegion(SkyCoord(83.5, 22, unit="deg"), 0.4 * u.deg)
    b = CircleSkyRegion(SkyCoord(83.9, 22, unit="deg"), 0.4 * u.deg)
    first, second = GEOM.region_mask(a), GEOM.region_mask(b)
    np.testing.assert_array_equal(GEOM.region_mask(a & b), first & second)
    np.testing.assert_array_equal(GEOM.region_mask(a | b), first | second)
    np.testing.assert_array_equal(GEOM.region_mask(a ^ b), first ^ second)


def test_a_point_covers_the_pixels_around_it():
    lon, lat = GEOM.pix_to_sky(12.3, 7.6)
    mask = GEOM.region_mask(PointSkyRegion(SkyCoord(lon, lat, unit="deg")))
    assert np.argwhere(mask).tolist() == [[7, 12], [7, 13], [8, 12], [8, 13]]


def test_an_excluded_region_is_the_outside():
    """The minus sign of DS9; also of a region that is nowhere near, or not on the projection."""
    inside = GEOM.region_mask("icrs;circle(83.63,22.01,0.5)")
    np.testing.assert_array_equal(GEOM.region_mask("icrs;-circle(83.63,22.01,0.5)"), ~inside)
    assert GEOM.region_mask("icrs;-circle(200,-20,1)").all()
    tangential = WcsGeom.create((83.63, 22.01), 0.05, 2, proj="TAN")
    assert tangential.region_mask("icrs;-circle(263,-22,1)").all()
    assert not tangential.region_mask("icrs;circle(263,-22,1)").any()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("circle(1,2", "cannot read"),
        ("icrs;circle(83,22,0.5)\nicrs;blob(1,2,3)", "blob"),
        ("circle(83,22,0.5)", "frame was not found"),
        ("", "no region"),
        (["icrs;circle(83,22,0.5)", None], "None is not a region"),
    ],
)
def test_what_is_no_region_is_named(wrong, words):
    """A line that the parser would skip is an error: what it was to exclude would be kept."""
    with pytest.raises(DataError, match=words):
        GEOM.region_mask(wrong)


def test_a_mask_knows_its_image_as_long_as_it_is_one():
    geom = WcsGeom.create(
        (83.6, 22.0), 0.1, (3.0, 2.0), axes=[MapAxis.from_energy_bounds("1 TeV", "10 TeV", 2)]
    )
    mask = geom.region_mask("icrs;circle(83.6,22,0.5)")
    for kept in (mask, ~mask, mask & ~mask, mask | np.asarray(mask), np.asarray(mask) ^ mask, ~mask & mask):
        assert kept.geom == geom.to_image()
    np.testing.assert_array_equal(~mask, ~np.asarray(mask))
    np.testing.assert_array_equal(mask | ~mask, True)
    elsewhere = WcsGeom.create((80.0, 22.0), 0.1, (3.0, 2.0)).region_mask("icrs;circle(80,22,0.5)")
    for lost in (
        mask[1:], mask[::-1], mask.T, np.roll(mask, 1), mask.copy(), mask.astype(float), mask.sum(axis=0),
        np.asarray(mask), np.stack([mask, mask]), mask & elsewhere, mask & np.ones((2, *mask.shape), bool),
    ):  # fmt: skip
        assert getattr(lost, "geom", None) is None
    assert mask.any()
    assert isinstance(int(mask.sum()), int)
