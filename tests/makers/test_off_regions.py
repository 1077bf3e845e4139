"""Regions turned around the pointing: what holds for all of them, and what cannot be done."""

import pickle

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from regions import CircleSkyRegion

from gammaflow.errors import ConfigError, GeometryError, MissingHduError, NoOffRegionError, UnsupportedError
from gammaflow.irf import IrfAxis, RadMax2D
from gammaflow.makers import (
    ExclusionMask,
    ExclusionRegions,
    ReflectedRegionsBackgroundMaker,
    ReflectedRegionsFinder,
    SpectrumDatasetMaker,
    WobbleRegionsFinder,
    read_exclusion,
)
from gammaflow.makers.background.off_regions import TangentPlane
from gammaflow.maps import RegionGeom, WcsGeom, lonlat_to_vectors, separation
from tests.makers import crab, small

POINTING = lonlat_to_vectors(83.63, 22.51)
SHAPES = ["circle", "galactic", "ellipse", "rectangle"]


def region(name="circle"):
    return RegionGeom.create(crab.REGIONS.get(name, name))


@pytest.mark.parametrize("frame", ["icrs", "galactic"])
@pytest.mark.parametrize("place", [(83.63, 22.51), (0.0, -89.5), (359.99, 0.0)])
def test_the_tangent_plane_is_the_tan_projection(frame, place):
    plane = TangentPlane(frame, *place, 0.02, 231)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 230, (2, 50))
    np.testing.assert_allclose(plane.to_vectors(x, y), plane.geom.pix_to_vectors(x, y), atol=1e-12)
    np.testing.assert_allclose(plane.to_pix(plane.to_vectors(x, y)), (x, y), atol=1e-8)
    assert np.isnan(plane.to_pix(-plane.to_vectors(x, y))[0]).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("finder", [ReflectedRegionsFinder(), WobbleRegionsFinder(5)])
def test_regions_are_apart_as_large_as_the_first_and_as_far_from_the_pointing(shape, finder):
    on = region(shape)
    found = finder.find(on, POINTING)
    assert len(found) >= 5
    parts = [RegionGeom.create(part) for part in found.regions]
    for part in parts:
        assert part.solid_angle() == pytest.approx(on.solid_angle(), rel=1e-3)
        assert part.separation(POINTING) == pytest.approx(on.separation(POINTING), rel=1e-4)
    rng = np.random.default_rng(3)
    places = lonlat_to_vectors(83.63 + rng.uniform(-1, 1, 20000), 22.51 + rng.uniform(-1, 1, 20000))
    inside = np.stack([part.contains(places) for part in [on, *parts]])
    # Regions are turned by the angle under which the pixels of the first are seen: their rims may touch
    assert (inside.sum(axis=0) > 1).sum() <= 0.003 * inside.sum()
    # Each part lies in a plane of its own here, in which its rim is elsewhere by a millionth
    assert (found.contains(places) != inside[1:].any(axis=0)).sum() <= 2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("exclusion", [crab.exclusion, crab.excluded_regions])
def test_no_region_touches_what_is_excluded(shape, exclusion):
    found = ReflectedRegionsFinder().find(region(shape), POINTING, exclusion())
    free = ReflectedRegionsFinder().find(region(shape), POINTING)
    assert 0 < len(found) < len(free)
    excluded = crab.excluded_regions()
    for part in found.regions:
        vectors, weights = RegionGeom.create(part).pixels_and_weights()
        # A pixel of the mask is 0.03 deg wide: its rim is a staircase
        assert (~excluded.at(vectors))[weights == 1].mean() < 0.12


def test_what_lies_beyond_the_mask_may_be_used():
    geom = WcsGeom.create(crab.CRAB, binsz=0.02, width=0.1, proj="TAN")
    nothing = ExclusionMask(geom, np.zeros(geom.shape_image, dtype=bool))
    assert len(ReflectedRegionsFinder().find(region(), POINTING, nothing)) > 5


def test_excluded_regions_far_apart_are_each_in_a_plane_of_their_own():
    regions = ExclusionRegions.create("icrs;circle(10,0,1)\ngalactic;circle(180,80,2)\nicrs;circle(190,-5,1)")
    lon, lat = np.array([10.5, 190.5, 100.0]), np.array([0.5, -5.0, 0.0])
    assert regions.at(lonlat_to_vectors(lon, lat)).tolist() == [False, False, True]


def test_exclusion_from_files(tmp_path):
    (tmp_path / "some.reg").write_text(crab.EXCLUDED)
    regions = read_exclusion(tmp_path / "some.reg")
    assert isinstance(regions, ExclusionRegions)
    mask = crab.exclusion()
    header = fits.Header({k: v for k, v in mask.geom.header.items() if not k.startswith("NAXIS")})
    fits.PrimaryHDU(mask.data.astype(np.int16), header).writeto(tmp_path / "mask.fits")
    read = read_exclusion(tmp_path / "mask.fits")
    np.testing.assert_array_equal(read.data, mask.data)
    finder = ReflectedRegionsFinder()
    assert finder.find(region(), POINTING, read).angles == finder.find(region(), POINTING, mask).angles


def test_regions_from_and_to_the_sky():
    on = CircleSkyRegion(SkyCoord(83.63, 22.01, unit="deg"), region().regions[0].radius)
    regions, wcs = WobbleRegionsFinder(3).run(on, SkyCoord(83.63, 22.51, unit="deg"))
    assert [type(part) for part in regions] == [CircleSkyRegion] * 3
    assert wcs.wcs.crval.tolist() == pytest.approx([83.63, 22.51])
    opposite = regions[1].center
    assert (opposite.ra.deg, opposite.dec.deg) == pytest.approx((83.63, 23.01), abs=1e-4)


def test_the_wobble_finder_spreads_points_evenly():
    found = WobbleRegionsFinder(3).find(region("point"), POINTING)
    centers = np.concatenate((region("point").center_vector[:, None], found.center_vectors), axis=1)
    angles = [float(separation(centers[:, k], centers[:, (k + 1) % 4])) for k in range(4)]
    assert angles == pytest.approx([0.5 * np.sqrt(2)] * 4, rel=1e-4)
    assert [part.center.ra.deg for part in found.regions][1] == pytest.approx(83.63)


@pytest.mark.parametrize(
    ("finder", "pointing", "reason"),
    [
        (ReflectedRegionsFinder(), lonlat_to_vectors(83.63, 22.05), "leaves no place"),
        (ReflectedRegionsFinder(), lonlat_to_vectors(*crab.CRAB), "leaves no place"),
        (WobbleRegionsFinder(1), lonlat_to_vectors(83.63, 22.05), "overlap"),
        (WobbleRegionsFinder(30), POINTING, "overlap"),
    ],
)
def test_without_place_there_is_a_reason(finder, pointing, reason):
    found = finder.find(region(), pointing)
    assert found.angles == ()
    assert found.regions == []
    assert reason in found.reason


@pytest.mark.parametrize("finder", [ReflectedRegionsFinder(), WobbleRegionsFinder(5)])
def test_a_mask_over_the_whole_circle_is_the_reason(finder):
    everything = ExclusionRegions.create("icrs;circle(83.63,22.51,2)")
    found = finder.find(region(), POINTING, everything)
    assert not found.angles
    assert "touches the exclusion mask" in found.reason


@pytest.mark.parametrize(
    ("find", "named"),
    [
        (lambda: ReflectedRegionsFinder().find(region("point"), POINTING), "WobbleRegionsFinder"),
        (lambda: ReflectedRegionsFinder(binsz="1 deg").find(region(), POINTING), "smaller binsz"),
        (
            lambda: WobbleRegionsFinder(2).find(region("icrs;circle(1,2,3)\nicrs;circle(4,5,6)"), POINTING),
            "2 regions",
        ),
    ],
)
def test_regions_that_cannot_be_turned(find, named):
    with pytest.raises(GeometryError, match=named):
        find()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ReflectedRegionsFinder(angle_increment="0 rad"), "angle_increment"),
        (lambda: ReflectedRegionsFinder(min_distance="-1 rad"), "negative"),
        (lambda: ReflectedRegionsFinder(max_region_number=0), "no region"),
        (lambda: ReflectedRegionsFinder(binsz="0.1 TeV"), "no angle"),
        (lambda: WobbleRegionsFinder(0), "n_off_regions"),
        (
            lambda: ReflectedRegionsBackgroundMaker(WobbleRegionsFinder(1), binsz=0.1),
            "beside a region_finder",
        ),
        (lambda: ReflectedRegionsBackgroundMaker(without_off="skip"), "without_off"),
    ],
)
def test_wrong_arguments_are_refused(make, named):
    with pytest.raises(ConfigError, match=named):
        make()


def spectrum(shape="circle", **parts):
    observation = small.observation(dec=small.DEC + 0.5, **parts)
    return SpectrumDatasetMaker(["counts", "exposure"]).make(
        crab.geometry(shape), observation, "one"
    ), observation


def test_off_counts_are_those_of_the_regions():
    dataset, observation = spectrum()
    made = ReflectedRegionsBackgroundMaker(exclusion_mask=crab.excluded_regions()).run(dataset, observation)
    off = RegionGeom.create(made.meta["off_regions"])
    assert len(off.regions) == made.array("acceptance_off")[0]
    events = observation.events
    inside = off.contains(lonlat_to_vectors(events.ra.astype(float), events.dec.astype(float)))
    expected, _ = np.histogram(events.energy[inside], crab.ENERGY.edges)
    np.testing.assert_array_equal(made.array("counts_off"), expected)
    assert expected.sum() > 20
    assert made.meta["telescope"] == "TEST"
    assert made.name == "one"


@pytest.mark.parametrize("action", ["mask", "refuse"])
def test_an_observation_without_off_regions(action, caplog):
    dataset, observation = spectrum()
    everything = ExclusionRegions.create("icrs;circle(83.63,22.51,2)")
    maker = ReflectedRegionsBackgroundMaker(exclusion_mask=everything, without_off=action)
    if action == "refuse":
        with pytest.raises(NoOffRegionError, match="observation 7: every place") as error:
            maker.run(dataset, observation)
        assert "Exclude the observation" in str(error.value)
        return
    made = maker.run(dataset, observation)
    assert made.array("counts_off") is None
    assert not made.array("mask_safe").any()
    assert "exclusion mask" in made.meta["background_failure"]
    assert "one: the background cannot be measured" in caplog.text


def test_an_exclusion_mask_over_everything_is_told_with_the_observation():
    dataset, observation = spectrum()
    image = WcsGeom.create((83.63, 22.51), binsz=0.05, width=(5, 5))
    nothing = ExclusionMask(image, np.zeros(image.shape_image, dtype=bool))
    maker = ReflectedRegionsBackgroundMaker(exclusion_mask=nothing, without_off="refuse")
    with pytest.raises(NoOffRegionError, match=r"observation 7: every place .* touches the exclusion mask"):
        maker.run(dataset, observation)


def cut(radius):
    axes = [IrfAxis("energy", [0.1], [100.0], "log"), IrfAxis("offset", [0.0], [3.0], "lin")]
    return RadMax2D(axes, np.array([[radius]]), is_pointlike=True)


@pytest.mark.parametrize("shape", ["circle", "point"])
def test_one_fixed_cut_goes_with_a_point_and_with_a_circle_of_its_radius(shape):
    plain, observation = spectrum()
    dataset, with_cut = spectrum(shape, rad_max=cut(0.11))
    np.testing.assert_array_equal(dataset.array("counts"), plain.array("counts"))
    finder = WobbleRegionsFinder(4)
    mine = ReflectedRegionsBackgroundMaker(finder).run(dataset, with_cut)
    expected = ReflectedRegionsBackgroundMaker(finder).run(plain, observation)
    # A circle in the plane is none on the sky: by some millionths
    np.testing.assert_allclose(mine.array("counts_off"), expected.array("counts_off"), atol=1)


@pytest.mark.parametrize(
    ("shape", "rad_max", "error", "named"),
    [
        ("circle", cut(0.2), UnsupportedError, "circle of 0.2 deg"),
        ("ellipse", cut(0.2), UnsupportedError, "a point, or a circle"),
        ("circle", crab.directional_cut(), UnsupportedError, "must be a point"),
        ("point", None, MissingHduError, "RAD_MAX"),
    ],
)
def test_a_region_that_does_not_go_with_the_cut_is_refused(shape, rad_max, error, named):
    parts = {} if rad_max is None else {"rad_max": rad_max}
    with pytest.raises(error, match="observation 7") as raised:
        spectrum(shape, **parts)
    assert named in str(raised.value)


def test_a_finder_and_a_maker_can_be_sent_to_a_worker():
    dataset, observation = spectrum()
    maker = ReflectedRegionsBackgroundMaker(exclusion_mask=crab.excluded_regions(), max_region_number=4)
    sent = pickle.loads(pickle.dumps(maker))
    np.testing.assert_array_equal(
        sent.run(dataset, observation).array("counts_off"),
        maker.run(dataset, observation).array("counts_off"),
    )
    assert "max_region_number=4" in repr(sent)


def test_only_a_spectrum_without_off_counts_is_taken():
    dataset, observation = spectrum()
    made = ReflectedRegionsBackgroundMaker().run(dataset, observation)
    with pytest.raises(UnsupportedError, match=r"observation 7.*SpectrumDatasetOnOff"):
        ReflectedRegionsBackgroundMaker().run(made, observation)
