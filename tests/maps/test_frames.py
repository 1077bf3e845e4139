"""Unit vectors and frames against astropy."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from gammaflow.errors import GeometryError
from gammaflow.maps import (
    frame_matrix,
    lonlat_to_vectors,
    position_vector,
    rotate,
    separation,
    vectors_to_lonlat,
)

RNG = np.random.default_rng(3)
SKY = SkyCoord(RNG.uniform(0, 360, 200), np.degrees(np.arcsin(RNG.uniform(-1, 1, 200))), unit="deg")


@pytest.mark.parametrize("frame", ["icrs", "galactic", "fk5"])
def test_frames_are_astropys(frame):
    expected = SKY.transform_to(frame).cartesian.xyz.value
    found = rotate(frame_matrix(frame), lonlat_to_vectors(SKY.ra.deg, SKY.dec.deg))
    np.testing.assert_allclose(found, expected, atol=1e-14)
    np.testing.assert_allclose(frame_matrix(frame) @ frame_matrix(frame).T, np.eye(3), atol=1e-15)


def test_longitude_and_latitude_come_back():
    lon, lat = vectors_to_lonlat(lonlat_to_vectors([0, 359.9999, 12, 33, -1e-20], [0, -10, 90, -90, 0]))
    np.testing.assert_allclose(lat, [0, -10, 90, -90, 0], atol=1e-13)
    np.testing.assert_allclose(lon[[0, 1, 4]], [0, 359.9999, 0], atol=1e-12)
    assert (lon < 360).all()


def test_separation_is_exact_where_it_vanishes():
    center = SKY[0]
    expected = SKY.separation(center).deg
    found = separation(lonlat_to_vectors(SKY.ra.deg, SKY.dec.deg), position_vector(center))
    np.testing.assert_allclose(found, expected, atol=1e-11)
    assert found[0] == 0
    tiny = separation(lonlat_to_vectors([10.0], [20.0 + 1e-9]), lonlat_to_vectors(10.0, 20.0))
    assert tiny[0] == pytest.approx(1e-9, rel=1e-5)


def test_unknown_frame_is_named():
    with pytest.raises(GeometryError, match=r"'altaz' is unknown. Use one of icrs, galactic, fk5"):
        frame_matrix("altaz")
