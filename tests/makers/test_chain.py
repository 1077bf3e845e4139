"""From an observation to a dataset: the chain of a configuration, and what cannot be reduced."""

import pickle

import numpy as np
import pytest

from gammaflow.config import AnalysisConfig
from gammaflow.data import GTI, EventList
from gammaflow.datasets import MapDataset
from gammaflow.errors import (
    ConfigError,
    InvalidResponseError,
    MissingHduError,
    NoGtiError,
    NoOverlapError,
    UnsupportedError,
)
from gammaflow.makers import (
    DatasetsMaker,
    FoVBackgroundMaker,
    MakerChain,
    MapDatasetMaker,
    SafeMaskMaker,
    make_chain,
)
from tests.makers import small

CONFIG = """
datasets:
    type: 3d
    geom:
        wcs:
            skydir: {frame: icrs, lon: 83.63 deg, lat: 22.01 deg}
            binsize: 0.1 deg
            width: {width: 5 deg, height: 4 deg}
            binsize_irf: 0.5 deg
        selection: {offset_max: 1.5 deg}
        axes:
            energy: {min: 0.5 TeV, max: 50 TeV, nbins: 6}
            energy_true: {min: 0.3 TeV, max: 80 TeV, nbins: 8}
    safe_mask:
        methods: [aeff-default, offset-max]
        parameters: {offset_max: 1.4 deg}
    background:
        method: fov_background
        exclusion: EXCLUSION
        parameters: {method: fit}
"""


def configured(tmp_path, text=CONFIG):
    region = tmp_path / "exclusion.reg"
    region.write_text("icrs;circle(83.63,22.01,0.3)\n")
    return AnalysisConfig.from_yaml(text.replace("EXCLUSION", str(region)))


def test_the_chain_of_a_configuration_is_the_makers_one_by_one(tmp_path):
    config = configured(tmp_path)
    chain = make_chain(config.datasets)
    assert chain.cutout_width == 3.0
    observation, reference = small.observation(), small.geometry()
    dataset = chain.run(observation, reference, "one")
    assert dataset.name == "one"
    assert chain.run(observation, reference).name == "obs-7"
    geometry = reference.cutout(observation.pointing.vector, 3.0)
    assert dataset.geometry == geometry
    assert dataset.geom.shape_image == (30, 30)
    step = MapDatasetMaker().make(geometry, observation, "one")
    step = SafeMaskMaker(["aeff-default", "offset-max"], offset_max=1.4).run(step, observation)
    exclusion = chain.makers[1].exclusion_mask
    assert 0 < (~exclusion.data).sum() < 100
    step = FoVBackgroundMaker("fit", exclusion).run(step, observation)
    for name in ("counts", "background", "mask_safe", "exposure", "psf", "edisp"):
        np.testing.assert_array_equal(dataset.array(name), step.array(name))
    assert dataset.models.parameters["norm"].value == step.models.parameters["norm"].value
    assert dataset._workspace is None


def test_a_chain_can_be_sent_to_a_worker(tmp_path):
    chain = pickle.loads(pickle.dumps(make_chain(configured(tmp_path).datasets)))
    assert chain.run(small.observation(), small.geometry()).array("counts").sum() > 0


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("type: 3d", "type: 1d", "fov_background for type 1d"),
        ("fov_background", "reflected", "reflected for type 3d"),
    ],
)
def test_a_background_for_the_other_type_is_refused(tmp_path, old, new, named):
    text = CONFIG.replace("        parameters: {method: fit}\n", "").replace(old, new)
    with pytest.raises(ConfigError, match=named):
        make_chain(configured(tmp_path, text).datasets)


def test_the_selection_decides_what_is_made(tmp_path):
    text = CONFIG.split("    background:")[0] + "    map_selection: [counts, exposure]\n"
    dataset = make_chain(configured(tmp_path, text).datasets).run(small.observation(), small.geometry())
    assert dataset.array("psf") is None
    assert dataset.array("background") is None
    assert dataset.array("exposure").max() > 0


def test_rows_times_and_names_of_the_observation_are_kept():
    dataset = MapDatasetMaker().make(small.geometry(), small.observation(), "one")
    (row,) = dataset.observations
    assert (row.obs_id, row.tstart, row.tstop, row.ontime, row.livetime) == (7, 0.0, 1000.0, 1000.0, 900.0)
    assert (row.ra_pnt, row.dec_pnt, row.zenith, row.azimuth) == (small.RA, small.DEC, 30.0, 150.0)
    assert dataset.livetime == 900.0
    assert dataset.gti.ontime == 1000.0
    assert dataset.meta == {"telescope": "TEST"}
    assert dataset.array("mask_safe").all()


def test_a_maker_takes_geometry_and_name_from_a_dataset_and_leaves_it_alone():
    empty = MapDataset.create(small.geometry(), name="reference")
    dataset = MapDatasetMaker().run(empty, small.observation())
    assert dataset.name == "reference"
    assert not empty.array("counts").any()
    assert dataset.array("counts").any()


def test_an_observation_outside_of_the_map_is_named():
    chain = MakerChain(MapDatasetMaker(), (), 3.0)
    with pytest.raises(NoOverlapError, match=r"observation 9: .*RA 100.000 deg.*does not touch") as error:
        chain.run(small.observation(9, ra=100.0), small.geometry())
    assert "Exclude" in str(error.value)


def test_an_observation_without_events_is_reduced_with_a_warning(caplog):
    columns = {name: np.zeros(0, np.float32) for name in ("RA", "DEC", "ENERGY", "TIME")}
    none = EventList.from_arrays(columns, small.REFERENCE)
    dataset = MapDatasetMaker().make(small.geometry(), small.observation(events=none), "one")
    assert not dataset.array("counts").any()
    assert dataset.array("exposure").max() > 0
    assert "observation 7 has no events" in caplog.text


def test_an_observation_without_good_time_is_refused():
    gti = GTI([5.0], [5.0], small.REFERENCE)
    with pytest.raises(NoGtiError, match="observation 7"):
        MapDatasetMaker().make(small.geometry(), small.observation(gti=gti), "one")


def spoil(name):
    irf = getattr(small, name)()
    if name == "bkg":
        irf.data[6:, 5, 5] = np.inf  # to the end of the axis: a gap is filled only between valid energies
    else:
        irf.data[12, 2] = np.nan
    return irf


@pytest.mark.parametrize("name", ["aeff", "edisp", "psf", "bkg"])
def test_a_response_with_nan_is_refused_or_taken_as_zero(name):
    observation = small.observation(**{name: spoil(name)})
    with pytest.raises(InvalidResponseError, match="observation 7") as error:
        MapDatasetMaker().make(small.geometry(), observation, "one")
    assert "not finite" in str(error.value)
    dataset = MapDatasetMaker(invalid_response="zero").make(small.geometry(), observation, "one")
    good = MapDatasetMaker().make(small.geometry(), small.observation(), "one")
    changed = {"aeff": "exposure", "bkg": "background"}.get(name, name)
    for quantity in ("exposure", "background", "psf", "edisp"):
        values, expected = dataset.array(quantity), good.array(quantity)
        assert np.isfinite(values).all()
        assert (values != expected).any() == (quantity == changed), quantity
    assert (dataset.array(changed)[good.array(changed) != dataset.array(changed)].size) < good.array(
        changed
    ).size / 2


def test_a_response_that_is_not_used_may_be_anything():
    observation = small.observation(psf=spoil("psf"))
    MapDatasetMaker(selection=["counts", "exposure", "edisp"]).make(small.geometry(), observation, "one")


def test_a_missing_response_names_the_observation():
    observation = small.observation()
    del observation._parts["psf"]
    with pytest.raises(MissingHduError, match=r"observation 7.*psf"):
        MapDatasetMaker().make(small.geometry(), observation, "one")


def test_a_background_aligned_with_the_horizon_needs_the_place():
    observation = small.observation(bkg=small.bkg("ALTAZ"), site=None)
    with pytest.raises(MissingHduError, match=r"observation 7.*GEOLON"):
        MapDatasetMaker().make(small.geometry(), observation, "one")
    assert MapDatasetMaker().make(small.geometry(), small.observation(bkg=small.bkg("ALTAZ")), "one")


def test_a_response_in_the_wrong_place_is_refused():
    with pytest.raises(UnsupportedError, match=r"observation 7.*EffectiveAreaTable2D"):
        MapDatasetMaker().make(small.geometry(), small.observation(psf=small.aeff()), "one")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"selection": ["counts", "exposur"]}, "exposur"), ({"invalid_response": "ignore"}, "ignore")],
)
def test_wrong_arguments_are_refused(arguments, named):
    with pytest.raises(ConfigError, match=named):
        MapDatasetMaker(**arguments)


def observations():
    return [small.observation(1, ra=small.RA - 0.5), small.observation(2), small.observation(3, ra=140.0)]


def test_datasets_maker_gives_one_dataset_an_observation(caplog):
    makers = [MapDatasetMaker(), SafeMaskMaker(["offset-max"], offset_max="1.2 deg")]
    maker = DatasetsMaker(makers, stack_datasets=False)
    assert maker.cutout_width == pytest.approx(2.4)
    reference = MapDataset.create(small.geometry(), name="all")
    datasets = maker.run(reference, observations())
    assert datasets.names == ["obs-1", "obs-2"]
    assert "observation 3 is left out" in caplog.text
    chain = MakerChain(makers[0], (makers[1],), 2.4)
    for dataset, observation in zip(datasets, observations(), strict=False):
        expected = chain.run(observation, small.geometry())
        np.testing.assert_array_equal(dataset.array("background"), expected.array("background"))
        np.testing.assert_array_equal(dataset.array("mask_safe"), expected.array("mask_safe"))


def test_datasets_maker_stacks():
    makers = [MapDatasetMaker(), SafeMaskMaker(["offset-max"], offset_max="1.2 deg")]
    reference = MapDataset.create(small.geometry(), name="all")
    (stacked,) = DatasetsMaker(makers).run(reference, observations())
    singles = DatasetsMaker(makers, stack_datasets=False).run(reference, observations())
    assert stacked.name == "all"
    assert stacked.geometry == small.geometry()
    expected = sum(int(d.array("counts")[d.array("mask_safe")].sum()) for d in singles)
    assert stacked.array("counts").sum() == expected


def test_datasets_maker_starts_from_given_datasets():
    start = [MapDataset.create(small.geometry(), name="a"), MapDataset.create(small.geometry(), name="b")]
    maker = DatasetsMaker([MapDatasetMaker()], stack_datasets=False)
    assert maker.cutout_width is None
    assert maker.run(start[0], observations()[:2], start).names == ["a", "b"]


@pytest.mark.parametrize("arguments", [{"n_jobs": 4}, {"cutout_mode": "partial"}])
def test_what_datasets_maker_does_not_do_is_refused(arguments):
    with pytest.raises(ConfigError):
        DatasetsMaker([MapDatasetMaker()], **arguments)
