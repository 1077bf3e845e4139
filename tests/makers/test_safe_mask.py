"""The safe data range: what each method takes away, and that masks only ever shrink."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from gammaflow.errors import ConfigError
from gammaflow.irf import EffectiveAreaTable2D
from gammaflow.makers import MapDatasetMaker, SafeMaskMaker
from gammaflow.makers.energy_threshold import bias_threshold, fraction_of_maximum, kernel_at, nearest_pixel
from gammaflow.maps import MapAxis, lonlat_to_vectors, separation
from tests.makers import small


@pytest.fixture(scope="module")
def observation():
    return small.observation()


@pytest.fixture(scope="module")
def dataset(observation):
    return MapDatasetMaker().make(small.geometry(), observation, "obs")


def mask_of(dataset, observation, *methods, **options):
    return SafeMaskMaker(methods, **options).run(dataset, observation).array("mask_safe")


def test_without_methods_a_bin_is_safe_where_there_is_background(dataset, observation):
    np.testing.assert_array_equal(mask_of(dataset, observation), dataset.array("background") > 0)


def test_offsets_are_strictly_below_the_limit(dataset, observation):
    offset = separation(dataset.geom.pixel_vectors(), observation.pointing.vector)
    limit = float(np.sort(offset.ravel())[700])
    mask = mask_of(dataset, observation, "offset-max", offset_max=limit)
    np.testing.assert_array_equal(mask, np.broadcast_to(offset < limit, mask.shape))
    assert mask[0].sum() == (offset < limit).sum() < (offset <= limit).sum()


def test_limits_of_the_header_keep_the_bins_inside(dataset, observation):
    mask = mask_of(dataset, observation, "aeff-default")
    edges = dataset.geometry.energy_axis.edges
    inside = (edges[:-1] >= 0.3) & (edges[1:] <= 60)
    np.testing.assert_array_equal(mask.any(axis=(1, 2)), inside)


@pytest.mark.parametrize(
    ("cards", "first", "last"),
    [
        ({}, 0, 5),
        ({"LO_THRES": 1.0}, 1, 5),
        ({"HI_THRES": 20.0}, 0, 3),
        ({"LO_THRES": 0.0, "HI_THRES": None}, 0, 5),
    ],
)
def test_a_limit_that_is_not_there_is_no_limit(cards, first, last):
    aeff = EffectiveAreaTable2D(small.aeff().axes, small.aeff().data, meta=cards)
    observation = small.observation(aeff=aeff)
    dataset = MapDatasetMaker().make(small.geometry(), observation, "obs")
    safe = np.flatnonzero(mask_of(dataset, observation, "aeff-default").any(axis=(1, 2)))
    assert (safe[0], safe[-1]) == (first, last)


def test_methods_are_combined_by_and(dataset, observation):
    options = {"offset_max": "1.2 deg", "aeff_percent": 30, "bias_percent": 5}
    methods = ("offset-max", "aeff-default", "aeff-max", "edisp-bias", "bkg-peak")
    together = mask_of(dataset, observation, *methods, **options)
    one_by_one = [mask_of(dataset, observation, method, **options) for method in methods]
    np.testing.assert_array_equal(together, np.logical_and.reduce(one_by_one))
    assert 0 < together.sum() < min(mask.sum() for mask in one_by_one) + 1


def test_what_was_not_safe_stays_so(dataset, observation):
    before = np.random.default_rng(2).uniform(size=dataset.geometry.shapes["mask_safe"]) < 0.5
    mask = mask_of(dataset.with_arrays(mask_safe=before), observation, "offset-max", offset_max=1.0)
    np.testing.assert_array_equal(mask, before & mask_of(dataset, observation, "offset-max", offset_max=1.0))


def test_what_the_map_maker_left_behind_gives_the_same_as_the_arrays(dataset, observation):
    fresh = dataset.copy()
    assert fresh._workspace is None
    for methods in ((), ("offset-max",)):
        np.testing.assert_array_equal(
            mask_of(fresh, observation, *methods, offset_max=1.5),
            mask_of(dataset, observation, *methods, offset_max=1.5),
        )


def test_what_the_map_maker_left_behind_is_not_used_for_another_background(dataset, observation):
    background = dataset.array("background").copy()
    background[0] = 0
    background[1, 3, 4] = np.nan
    mask = mask_of(dataset.with_arrays(background=background), observation)
    np.testing.assert_array_equal(mask, np.nan_to_num(background) > 0)


def test_a_dataset_without_background_is_safe_everywhere(observation):
    dataset = MapDatasetMaker(selection=["counts"]).make(small.geometry(), observation, "obs")
    assert mask_of(dataset, observation).all()


def test_the_other_arrays_are_shared_and_the_given_dataset_is_left_alone(dataset, observation):
    masked = SafeMaskMaker(["offset-max"], offset_max=1.0).run(dataset, observation)
    assert masked.array("exposure") is dataset.array("exposure")
    assert dataset.array("mask_safe").all()


def test_thresholds_are_taken_where_they_are_asked_for(dataset, observation):
    maker = SafeMaskMaker(["aeff-max"], fixed_offset="1.5 deg")
    vector = maker._position(dataset, observation)
    np.testing.assert_allclose(vector, lonlat_to_vectors(small.RA, small.DEC + 1.5), atol=1e-15)
    position = SkyCoord(small.RA + 1, small.DEC, unit="deg")
    mapping = {"frame": "icrs", "lon": f"{small.RA + 1} deg", "lat": f"{small.DEC} deg"}
    for given in (position, mapping):
        at = SafeMaskMaker(["aeff-max"], position=given)._position(dataset, observation)
        np.testing.assert_allclose(at, lonlat_to_vectors(small.RA + 1, small.DEC), atol=1e-15)
    assert SafeMaskMaker(position=position)._offset(observation) == pytest.approx(
        np.cos(np.radians(small.DEC)), rel=1e-3
    )


def test_no_effective_area_at_the_position_makes_nothing_safe(observation, caplog):
    dataset = MapDatasetMaker().make(small.geometry(), observation, "obs")
    dataset = dataset.with_arrays(exposure=np.zeros_like(dataset.array("exposure")))
    assert not mask_of(dataset, observation, "aeff-max").any()
    assert "no effective area" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"methods": ["offset-maximum"]}, "offset-maximum"),
        ({"position": SkyCoord(0, 0, unit="deg"), "fixed_offset": "1 deg"}, "fixed_offset"),
        ({"irfs": "DL5"}, "DL5"),
    ],
)
def test_wrong_arguments_are_refused(arguments, named):
    with pytest.raises(ConfigError, match=named):
        SafeMaskMaker(**arguments)


def test_a_method_that_needs_a_missing_map_says_so(observation):
    dataset = MapDatasetMaker(selection=["counts", "background"]).make(small.geometry(), observation, "obs")
    with pytest.raises(ConfigError, match=r"observation 7.*aeff-max needs the exposure"):
        SafeMaskMaker(["aeff-max"]).run(dataset, observation)


@pytest.mark.parametrize(
    ("values", "fraction", "expected"),
    [
        ([1e-3, 1, 100, 100], 0.1, 10**1.5),  # a power law of index 2 between 10 and 100
        ([0, 0, 50, 100], 0.1, 100.0),  # the first positive point is above the level already
        ([0, 20, 100, 100], 0.1, 10.0),
        ([100, 1, 100, 100], 0.1, 10**0.5),  # the lowest crossing, also downwards
    ],
)
def test_the_fraction_of_a_maximum(values, fraction, expected):
    energy = np.array([1.0, 10.0, 100.0, 1000.0])
    assert fraction_of_maximum(energy, np.array(values, float), fraction) == pytest.approx(expected, rel=1e-9)


def test_the_energy_of_a_bias():
    """All events reconstructed in one bin: the bias is the distance of the centres."""
    true, reco = np.array([1.0, 2.0, 4.0, 8.0]), np.array([2.0, 2.4, 4.1, 8.0])
    kernel = np.eye(4)
    # Biases 1, 0.2, 0.025, 0: ln b is linear in ln E between 2 and 4 TeV
    step = np.log(0.2 / 0.1) / np.log(0.2 / 0.025)
    assert bias_threshold(kernel, true, reco, 0.1) == pytest.approx(2 * 2**step * 1.1, rel=1e-9)
    assert bias_threshold(kernel, true, true, 0.1) == pytest.approx(1.0 * 1.1)


def test_the_nearest_pixel_is_inside_the_map_and_the_lower_of_two():
    geom = small.geometry().image
    ny, nx = geom.shape_image
    assert nearest_pixel(geom, geom.pix_to_vectors(3.4, 5.6)) == (6, 3)
    assert nearest_pixel(geom, geom.pix_to_vectors(3.5, 5.5)) == (5, 3)
    assert nearest_pixel(geom, geom.pix_to_vectors(-4, ny + 3)) == (ny - 1, 0)
    assert (ny, nx) == (40, 50)


def test_a_kernel_is_taken_from_the_nearest_pixel_with_data():
    geometry = small.geometry()
    edisp = np.zeros(geometry.shapes["edisp"], dtype=np.float32)
    edisp[:, :, 2, 3] = 0.25
    edisp[:, :, 7, 9] = 0.5
    for pixel, expected in (((3, 2), 0.25), ((4, 2), 0.25), ((9, 6), 0.5), ((20, 20), 0.5)):
        kernel = kernel_at(edisp, geometry, geometry.geom_irf.pix_to_vectors(*pixel))
        np.testing.assert_array_equal(kernel, expected)


def test_a_kernel_from_densities_over_migration_sums_to_one():
    axis = MapAxis.from_bounds(0.05, 4, 400, "migra")
    geometry = small.geometry(migra_axis=axis, energies=("0.01 TeV", "500 TeV"), nbin=40)
    dataset = MapDatasetMaker().make(geometry, small.observation(), "obs")
    at = geometry.image.center_vector
    kernel = kernel_at(dataset.array("edisp"), geometry, at)
    np.testing.assert_allclose(kernel.sum(axis=1), 1.0, rtol=1e-5)
    direct = small.geometry(energies=("0.01 TeV", "500 TeV"), nbin=40)
    other = MapDatasetMaker().make(direct, small.observation(), "obs")
    np.testing.assert_allclose(kernel, kernel_at(other.array("edisp"), direct, at), atol=0.02)
