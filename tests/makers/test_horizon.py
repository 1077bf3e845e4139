"""The field of view of an instrument that follows the horizon, against astropy's transformation."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time

from gammaflow.makers.background_rate import BackgroundProjector
from gammaflow.makers.field_of_view import SkyToField
from gammaflow.makers.horizon import HorizonField
from gammaflow.makers.sky_pass import sky_pass
from gammaflow.maps import MapAxis
from tests.makers import small

LOCATION = EarthLocation(lon=16.5 * u.deg, lat=-23.27 * u.deg, height=1835 * u.m)
START = Time(53343.92, format="mjd", scale="tt")


def vector(sky):
    return sky.cartesian.xyz.value


def instants(field, ontime):
    """Times of the nodes from the trapezoidal weights."""
    times = [0.0]
    for weight in field.weights[:-1]:
        before = times[-1] - times[-2] if len(times) > 1 else 0.0
        times.append(times[-1] + 2 * weight * ontime - before)
    return np.array(times)


@pytest.mark.parametrize(
    ("ra", "dec", "ontime"), [(83.63, 22.01, 1687.0), (228.5, -59.2, 3000.0), (80.0, -23.0, 60.0)]
)
def test_positions_are_those_of_astropy_at_every_instant(ra, dec, ontime):
    pointing = SkyCoord(ra, dec, unit="deg")
    field = HorizonField.observed(vector(pointing), START, ontime, LOCATION)
    times = instants(field, ontime)
    assert times[-1] == pytest.approx(ontime)
    rng = np.random.default_rng(1)
    sky = SkyCoord(ra + rng.uniform(-3, 3, 40), dec + rng.uniform(-3, 3, 40), unit="deg")
    apparent = field.apparent(vector(sky))
    for k, t in enumerate(times):
        frame = AltAz(obstime=START + t * u.s, location=LOCATION)
        origin, seen = pointing.transform_to(frame), sky.transform_to(frame)
        lon, lat = (x.deg for x in origin.spherical_offsets_to(seen))
        mine = field.lonlat(apparent, k)
        # Longitude is reversed in the field of view
        np.testing.assert_allclose(mine[0], -((lon + 180) % 360 - 180), atol=3e-8)
        np.testing.assert_allclose(mine[1], lat, atol=3e-8)


def test_steps_are_those_in_which_the_field_turns_by_the_angle_asked_for():
    pointing = SkyCoord(83.63, 22.01, unit="deg")
    coarse, fine = (
        HorizonField.observed(vector(pointing), START, 1687.0, LOCATION, step) for step in (2.0, 0.5)
    )
    assert len(coarse.weights) < len(fine.weights)
    np.testing.assert_allclose([coarse.weights.sum(), fine.weights.sum()], 1.0)
    altaz = pointing.transform_to(AltAz(obstime=START, location=LOCATION))
    rate = 360 / 86400 * np.cos(LOCATION.lat.rad) * abs(np.cos(altaz.az.rad)) / np.cos(altaz.alt.rad)
    assert instants(fine, 1687.0)[1] == pytest.approx(0.5 / rate, rel=1e-6)
    turned = np.degrees(np.arccos((np.trace(fine.matrices[0].T @ fine.matrices[1]) - 1) / 2))
    assert 0.2 < turned < 8


def test_a_step_is_a_second_at_least():
    zenith = SkyCoord(AltAz(alt=89.999 * u.deg, az=10 * u.deg, obstime=START, location=LOCATION)).icrs
    field = HorizonField.observed(vector(zenith), START, 10.0, LOCATION, 0.001)
    assert np.diff(instants(field, 10.0)).min() >= 1.0 - 1e-9


def test_the_background_is_the_average_over_the_instants():
    axis = MapAxis.from_energy_bounds("0.5 TeV", "50 TeV", nbin=3)
    geom = small.geometry(binsz=0.2).image
    pointing = SkyCoord(small.RA, small.DEC, unit="deg")
    field = HorizonField.observed(vector(pointing), START, 1687.0, LOCATION)
    projector = BackgroundProjector.from_irf(small.bkg("ALTAZ"), axis)
    turning = sky_pass(geom, vector(pointing), background=projector, field=field, ontime=10.0)
    n = field.apparent(geom.pixel_vectors().reshape(3, -1))
    factor = 10.0 * geom.solid_angle().ravel()
    total = sum(w * projector(*field.lonlat(n, k), factor=factor) for k, w in enumerate(field.weights))
    np.testing.assert_allclose(turning.background.reshape(3, -1), total, rtol=1e-6)
    still = sky_pass(
        geom, vector(pointing), background=projector, field=SkyToField.fixed(small.RA, small.DEC), ontime=10.0
    )
    assert abs(still.background / turning.background - 1).max() > 0.05
