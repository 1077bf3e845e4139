"""Spectra of a region, phases, and the chain of a configuration for them."""

import pickle

import numpy as np
import pytest

from gammaflow.config import AnalysisConfig
from gammaflow.data import EventList
from gammaflow.datasets import (
    MapDatasetOnOff,
    SpectrumDataset,
    SpectrumDatasetGeometry,
    SpectrumDatasetOnOff,
    stack,
)
from gammaflow.errors import (
    ConfigError,
    InvalidResponseError,
    MissingHduError,
    NoOffRegionError,
    NoOverlapError,
    UnsupportedError,
)
from gammaflow.makers import (
    DatasetsMaker,
    MapDatasetMaker,
    PhaseBackgroundMaker,
    ReflectedRegionsBackgroundMaker,
    RingBackgroundMaker,
    SafeMaskMaker,
    SpectrumDatasetMaker,
    make_chain,
)
from gammaflow.makers.exposure import ExposureProjector
from gammaflow.maps import MapAxis, RegionGeom, separation
from tests.makers import crab, small
from tests.makers.test_chain import spoil

CONFIG = """
datasets:
    type: 1d
    geom:
        axes:
            energy: {min: 0.3 TeV, max: 40 TeV, nbins: 8}
            energy_true: {min: 0.2 TeV, max: 60 TeV, nbins: 10}
    on_region: {frame: icrs, lon: 83.63 deg, lat: 22.01 deg, radius: 0.11 deg}
    containment_correction: true
    safe_mask:
        methods: [aeff-max]
        parameters: {aeff_percent: 10}
    background:
        method: reflected
        exclusion: EXCLUSION
        parameters: {max_region_number: 5}
"""


def observed(obs_id=7, **parts):
    return small.observation(obs_id, dec=small.DEC + 0.5, **parts)


def configured(tmp_path, text=CONFIG):
    region = tmp_path / "exclusion.reg"
    region.write_text("icrs;circle(83.63,22.01,0.3)\n")
    return AnalysisConfig.from_yaml(text.replace("EXCLUSION", str(region)))


def test_the_spectrum_of_a_region_by_hand():
    observation, geometry = observed(), crab.geometry("circle")
    dataset = SpectrumDatasetMaker().make(geometry, observation, "one")
    assert isinstance(dataset, SpectrumDataset)
    events = observation.events
    inside = np.hypot((events.ra - 83.63) * np.cos(np.radians(22.01)), events.dec - 22.01) < 0.11
    expected, _ = np.histogram(events.energy[inside], crab.ENERGY.edges)
    np.testing.assert_array_equal(dataset.array("counts"), expected)
    area = observation.aeff.evaluate(energy_true=crab.TRUE.center, offset=0.5)
    np.testing.assert_allclose(dataset.array("exposure"), area * 900.0, rtol=1e-5)
    assert dataset.array("edisp").sum(axis=1).max() == pytest.approx(1.0, abs=1e-5)
    assert dataset.array("mask_safe").all()
    (row,) = dataset.observations
    assert (row.obs_id, row.livetime, row.dec_pnt) == (7, 900.0, small.DEC + 0.5)


def test_containment_multiplies_the_exposure_and_not_its_weight():
    observation, geometry = observed(), crab.geometry("circle")
    plain = SpectrumDatasetMaker(["exposure", "edisp"]).make(geometry, observation, "one")
    corrected = SpectrumDatasetMaker(["exposure", "edisp"], containment_correction=True).make(
        geometry, observation, "one"
    )
    held = observation.psf.containment(0.11, crab.TRUE.center, 0.5)
    assert 0.1 < held[3] < 0.9
    np.testing.assert_allclose(corrected.array("exposure"), plain.array("exposure") * held, rtol=1e-6)
    np.testing.assert_array_equal(corrected.array("edisp_exposure"), plain.array("exposure"))


def test_over_a_large_region_the_mean_is_not_the_centre():
    observation, geometry = observed(), crab.geometry("icrs;circle(83.63,22.01,0.8)")
    center, mean = (
        SpectrumDatasetMaker(use_region_center=flag).make(geometry, observation, "one")
        for flag in (True, False)
    )
    vectors, weights = geometry.geom.pixels_and_weights(oversampling=4)
    projector = ExposureProjector.from_irf(observation.aeff, crab.TRUE, 900.0)
    expected = projector(separation(vectors, observation.pointing.vector)) @ weights / weights.sum()
    np.testing.assert_allclose(mean.array("exposure"), expected, rtol=1e-4)
    assert (np.abs(mean.array("exposure") / center.array("exposure") - 1) > 1e-3).any()
    ratio = mean.array("background") / center.array("background")
    assert (ratio > 0.8).all()
    assert (ratio < 1.2).all()
    assert not np.allclose(ratio, 1, atol=1e-3)


def test_a_background_aligned_with_the_horizon_is_averaged_over_the_run():
    geometry = crab.geometry("circle")
    fixed = SpectrumDatasetMaker(["background"]).make(geometry, observed(), "one")
    turning = SpectrumDatasetMaker(["background"]).make(geometry, observed(bkg=small.bkg("ALTAZ")), "one")
    ratio = turning.array("background") / fixed.array("background")
    assert (np.abs(ratio - 1) < 0.5).all()
    assert (ratio != 1).any()


def test_a_migration_axis_keeps_the_dispersion_as_a_density():
    migra = MapAxis.from_bounds(0.2, 3.0, 40, "migra", "", "lin")
    plain = crab.geometry("circle")
    geometry = SpectrumDatasetGeometry.create(plain.geom, plain.energy_axis_true, migra)
    dataset = SpectrumDatasetMaker().make(geometry, observed(), "one")
    np.testing.assert_allclose(dataset.array("edisp") @ migra.bin_width, 1.0, rtol=1e-5)
    masked = SafeMaskMaker(["edisp-bias"]).run(dataset, observed())
    kernel = SafeMaskMaker(["edisp-bias"]).run(
        SpectrumDatasetMaker().make(plain, observed(), "one"), observed()
    )
    np.testing.assert_array_equal(masked.array("mask_safe"), kernel.array("mask_safe"))


def test_a_region_outside_of_the_field_of_view_is_refused():
    observation = small.observation(9, ra=small.RA + 6)
    with pytest.raises(NoOverlapError, match=r"observation 9: .*5\.5\d deg from the pointing") as error:
        SpectrumDatasetMaker().make(crab.geometry("circle"), observation, "one")
    assert "0 to 4 deg" in str(error.value)


@pytest.mark.parametrize(
    ("parts", "region", "error", "named"),
    [
        ({"psf": small.aeff()}, "circle", UnsupportedError, "EffectiveAreaTable2D"),
        ({"psf": spoil("psf")}, "circle", InvalidResponseError, "point spread function"),
        ({}, "ellipse", UnsupportedError, "Only that of a circle"),
    ],
)
def test_a_containment_that_is_not_known_is_refused(parts, region, error, named):
    maker = SpectrumDatasetMaker(containment_correction=True)
    with pytest.raises(error, match="observation 7") as raised:
        maker.make(crab.geometry(region), observed(**parts), "one")
    assert named in str(raised.value)


def test_point_like_responses_contain_the_cut_already():
    aeff = small.aeff()
    aeff.is_pointlike = True
    with pytest.raises(UnsupportedError, match="containment_correction to false"):
        SpectrumDatasetMaker(containment_correction=True).make(
            crab.geometry("circle"), observed(aeff=aeff), "one"
        )


def test_an_observation_without_events(caplog):
    columns = {name: np.zeros(0, np.float32) for name in ("RA", "DEC", "ENERGY", "TIME")}
    observation = observed(events=EventList.from_arrays(columns, small.REFERENCE))
    dataset = SpectrumDatasetMaker().make(crab.geometry("circle"), observation, "one")
    made = ReflectedRegionsBackgroundMaker().run(dataset, observation)
    assert made.array("counts").sum() == made.array("counts_off").sum() == 0
    assert "observation 7 has no events" in caplog.text


def test_a_selection_that_spectra_do_not_have_is_refused():
    with pytest.raises(ConfigError, match="psf"):
        SpectrumDatasetMaker(["counts", "psf"])


def test_the_chain_of_a_configuration_is_the_makers_one_by_one(tmp_path):
    chain = pickle.loads(pickle.dumps(make_chain(configured(tmp_path).datasets)))
    assert chain.cutout_width is None
    assert [type(maker) for maker in chain.makers] == [ReflectedRegionsBackgroundMaker, SafeMaskMaker]
    geometry, observation = crab.geometry("circle"), observed()
    dataset = chain.run(observation, geometry)
    step = SpectrumDatasetMaker(["counts", "exposure", "edisp"], True).make(geometry, observation, "obs-7")
    exclusion = chain.makers[0].exclusion_mask
    step = ReflectedRegionsBackgroundMaker(exclusion_mask=exclusion, max_region_number=5).run(
        step, observation
    )
    step = SafeMaskMaker(["aeff-max"]).run(step, observation)
    assert isinstance(dataset, SpectrumDatasetOnOff)
    assert dataset.data.identical(step.data)
    assert (dataset.array("acceptance_off") == 5).all()


def test_a_chain_without_background_makes_a_spectrum_without_one(tmp_path):
    text = CONFIG.split("    background:")[0]
    dataset = make_chain(configured(tmp_path, text).datasets).run(observed(), crab.geometry("circle"))
    assert type(dataset) is SpectrumDataset
    assert dataset.array("background") is None
    assert dataset.array("mask_safe").any()


def test_a_chain_names_the_observation_without_off_regions(tmp_path):
    config = configured(tmp_path)
    (tmp_path / "exclusion.reg").write_text("icrs;circle(83.63,22.51,3)\n")
    with pytest.raises(NoOffRegionError, match="observation 7: every place"):
        make_chain(config.datasets).run(observed(), crab.geometry("circle"))


def test_the_chain_for_a_ring(tmp_path):
    text = """
datasets:
    type: 3d
    geom:
        wcs:
            skydir: {frame: icrs, lon: 83.63 deg, lat: 22.01 deg}
            binsize: 0.1 deg
            width: {width: 5 deg, height: 4 deg}
        axes:
            energy: {min: 0.5 TeV, max: 50 TeV, nbins: 1}
    safe_mask: {methods: [offset-max], parameters: {offset_max: 1.5 deg}}
    background:
        method: ring
        exclusion: EXCLUSION
        parameters: {r_in: 0.5 deg, width: 0.3 deg}
"""
    chain = make_chain(configured(tmp_path, text).datasets)
    assert [type(maker) for maker in chain.makers] == [SafeMaskMaker, RingBackgroundMaker]
    dataset = chain.run(small.observation(), small.geometry(nbin=1))
    assert isinstance(dataset, MapDatasetOnOff)
    assert dataset._workspace is None
    assert dataset.array("counts_off").max() > 0


def test_datasets_maker_makes_and_stacks_spectra(caplog):
    makers = [SpectrumDatasetMaker(["counts", "exposure", "edisp"]), ReflectedRegionsBackgroundMaker()]
    observations = [observed(1), small.observation(2, dec=small.DEC - 0.6), small.observation(3, ra=100.0)]
    singles = DatasetsMaker(makers, stack_datasets=False).run(crab.empty(), observations)
    assert singles.names == ["obs-1", "obs-2"]
    assert "observation 3 is left out: the region" in caplog.text
    whole = SpectrumDatasetOnOff.create(crab.geometry("circle"), name="all")
    (stacked,) = DatasetsMaker(makers).run(whole, observations)
    assert stacked.name == "all"
    for name in ("counts", "counts_off"):
        np.testing.assert_array_equal(stacked.array(name), sum(d.array(name) for d in singles))
    (plain,) = DatasetsMaker(makers).run(crab.empty(), observations)
    assert type(plain) is SpectrumDataset
    np.testing.assert_allclose(plain.array("background"), stacked.background.values, rtol=1e-6)


def test_a_masked_observation_adds_nothing_to_a_stack():
    maker, geometry = SpectrumDatasetMaker(["counts", "exposure", "edisp"]), crab.geometry("circle")
    good = ReflectedRegionsBackgroundMaker().run(maker.make(geometry, observed(1), "good"), observed(1))
    inside = small.observation(2)
    none = ReflectedRegionsBackgroundMaker().run(maker.make(geometry, inside, "none"), inside)
    assert "leaves no place" in none.meta["background_failure"]
    stacked = stack([good, none])
    for name in ("counts", "counts_off", "exposure", "acceptance_off"):
        np.testing.assert_allclose(stacked.array(name), good.array(name), rtol=1e-6)
    assert stacked.observations["used"].tolist() == [True, False] or stacked.observations["used"].sum() == 1


def phased(**columns):
    events = small.events()
    phase = np.linspace(0, 1, len(events), endpoint=False)
    arrays = {name: events.column(name) for name in ("RA", "DEC", "ENERGY", "TIME")}
    return observed(events=EventList.from_arrays({**arrays, "PHASE": phase, **columns}, small.REFERENCE))


def test_counts_of_all_phases_are_those_of_on_and_off():
    observation = phased()
    dataset = MapDatasetMaker(["counts", "exposure"]).make(small.geometry(), observation, "one")
    made = PhaseBackgroundMaker((0.25, 0.75), [(0.75, 1.25)]).run(dataset, observation)
    np.testing.assert_array_equal(made.array("counts") + made.array("counts_off"), dataset.array("counts"))
    assert made.array("acceptance").max() == made.array("acceptance_off").max() == 0.5
    assert made.array("counts").any()
    assert made.array("counts_off").any()


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ((0.2, 0.5), ((0.2, 0.5),)),
        ((0.9, 0.2), ((0.0, 0.2), (0.9, 1.0))),
        ((0.75, 1.25), ((0.0, 0.25), (0.75, 1.0))),
        ((0.0, 1.0), ((0.0, 1.0),)),
        ((0.5, 1.0), ((0.5, 1.0),)),
        ([(0.6, 0.8), (0.1, 0.2)], ((0.1, 0.2), (0.6, 0.8))),
    ],
)
def test_intervals_of_phase_are_split_at_one(given, taken):
    maker = PhaseBackgroundMaker(given, (0.3, 0.4))
    np.testing.assert_allclose(maker.on_phase, taken, atol=1e-12)


@pytest.mark.parametrize(
    ("intervals", "named"),
    [
        ((0.2, 0.2), "from 0.2 to 0.2"),
        ([(0.1, 0.5), (0.4, 0.6)], "overlap between 0.4 and 0.5"),
        ([(0.1, 0.5, 0.7)], "Give a pair"),
        ((np.nan, 0.5), "Give a pair"),
        ((0.0, 2.0), "from 0 to 2"),
    ],
)
def test_intervals_that_mean_nothing_are_refused(intervals, named):
    with pytest.raises(ConfigError, match=named):
        PhaseBackgroundMaker((0.7, 0.8), intervals)


def test_phases_need_their_column_and_a_dataset_without_off_counts():
    observation = phased()
    dataset = SpectrumDatasetMaker(["counts"]).make(crab.geometry("circle"), observation, "one")
    with pytest.raises(MissingHduError, match=r"observation 7.*PULSE"):
        PhaseBackgroundMaker((0.1, 0.2), (0.3, 0.4), "PULSE").run(dataset, observation)
    made = PhaseBackgroundMaker((0.1, 0.2), (0.3, 0.4)).run(dataset, observation)
    with pytest.raises(UnsupportedError, match=r"observation 7.*OFF counts already"):
        PhaseBackgroundMaker((0.1, 0.2), (0.3, 0.4)).run(made, observation)


def test_safe_masks_take_the_position_of_the_region():
    dataset = SpectrumDatasetMaker().make(crab.geometry("circle"), observed(), "one")
    far = SafeMaskMaker(["offset-max"], offset_max="0.4 deg").run(dataset, observed())
    near = SafeMaskMaker(["offset-max"], offset_max="0.6 deg").run(dataset, observed())
    assert not far.array("mask_safe").any()
    assert near.array("mask_safe").all()
    geom = RegionGeom.create("icrs;circle(83.63,22.01,0.11)")
    assert geom.separation(observed().pointing.vector) == pytest.approx(0.5)


def test_a_spectrum_without_background_has_no_background_peak():
    dataset = SpectrumDatasetMaker(["counts", "exposure"]).make(crab.geometry("circle"), observed(), "one")
    with pytest.raises(ConfigError, match="bkg-peak needs the background"):
        SafeMaskMaker(["bkg-peak"]).run(dataset, observed())
