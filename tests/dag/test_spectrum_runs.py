"""Runs whose background comes from the data: spectra with reflected regions, and ring backgrounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from gammaflow import Analysis, AnalysisConfig
from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.tasks import reference_geometry
from gammaflow.data import DataStore
from gammaflow.data.simulation import simulate_survey
from gammaflow.datasets import MapDatasetOnOff, SpectrumDatasetGeometry, SpectrumDatasetOnOff, stack
from gammaflow.errors import TooManyFailuresError
from gammaflow.makers import make_chain

COUNT = 6
ARRAYS = (
    "counts", "counts_off", "acceptance", "acceptance_off", "exposure", "edisp", "edisp_exposure", "mask_safe",
)  # fmt: skip
SPECTRA = """
observations:
    datastore: {store}
datasets:
    type: 1d
    geom:
        axes:
            energy: {{min: 0.1 TeV, max: 10 TeV, nbins: 4}}
            energy_true: {{min: 0.05 TeV, max: 20 TeV, nbins: 6}}
    on_region: {{frame: galactic, lon: 330 deg, lat: 0 deg, radius: 0.2 deg}}
    safe_mask: {{methods: [aeff-max]}}
    background: {{method: reflected, exclusion: {exclusion}}}
flow: {{fan_in: 3}}
"""
RINGS = """
observations:
    datastore: {store}
datasets:
    type: 3d
    geom:
        wcs:
            skydir: {{frame: galactic, lon: 330 deg, lat: 0 deg}}
            binsize: 0.1 deg
            width: {{width: 4 deg, height: 4 deg}}
            binsize_irf: 0.5 deg
        selection: {{offset_max: 1.5 deg}}
        axes:
            energy: {{min: 0.1 TeV, max: 10 TeV, nbins: 1}}
            energy_true: {{min: 0.05 TeV, max: 20 TeV, nbins: 6}}
    safe_mask: {{methods: [offset-max], parameters: {{offset_max: 1.5 deg}}}}
    background:
        method: ring
        exclusion: {exclusion}
        parameters: {{r_in: 0.4 deg, width: 0.3 deg}}
flow: {{fan_in: 3}}
"""
EXCLUSION = "galactic;circle(330,0,0.3)\n"
#: the whole circle around the first pointing that the region could be turned on
AROUND_THE_FIRST = "galactic;annulus(330.7,0,0.4,1.0)\n"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("survey") / "survey"
    simulate_survey(folder, COUNT, seed=3, ontime=60.0)
    return folder


def configured(folder: Path, store: Path, text: str, exclusion: str = EXCLUSION) -> AnalysisConfig:
    path = folder / "exclusion.reg"
    path.write_text(exclusion)
    return AnalysisConfig.from_yaml(text.format(store=store, exclusion=path))


def in_process(config: AnalysisConfig) -> list:
    geometry = reference_geometry(config)
    chain = make_chain(config.datasets, geom=geometry.geom)
    data = DataStore.from_dir(config.observations.datastore)
    return [chain.run(data.obs(obs_id), geometry) for obs_id in data.select(config.observations)]


@pytest.mark.parametrize(("text", "kind"), [(SPECTRA, SpectrumDatasetOnOff), (RINGS, MapDatasetOnOff)])
def test_a_run_is_the_makers_and_the_stack_in_process(
    store: Path, tmp_path: Path, text: str, kind: type
) -> None:
    config = configured(tmp_path, store, text)
    analysis = Analysis(config, run=tmp_path / "run")
    stacked = analysis.get_datasets()["stacked"]
    singles = in_process(config)
    expected = stack(singles, geometry=reference_geometry(config))
    assert type(stacked) is type(expected) is kind
    assert len(stacked.observations) == COUNT
    assert stacked.array("counts_off").sum() > 0
    for name in ARRAYS:
        mine, theirs = stacked.array(name), expected.array(name)
        if name in ("counts", "counts_off", "mask_safe"):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-30, err_msg=name)
    for receipt in (*analysis.status().observations, *analysis.status().stacked):
        assert receipt.summary is not None
        assert receipt.summary.excess == pytest.approx(receipt.summary.counts - receipt.summary.background)
    assert analysis.status().stacked[0].summary.background == pytest.approx(
        float(expected.background.sum()), rel=1e-6
    )
    for single in singles:
        read = analysis.read_observation(int(single.name.removeprefix("obs-")))
        assert read.data.identical(single.data)


def test_a_run_of_spectra_is_found_done_the_next_time(store: Path, tmp_path: Path) -> None:
    config = configured(tmp_path, store, SPECTRA)
    assert Analysis(config, run=tmp_path / "run").execute().reduce.done == COUNT
    again = Analysis(config, run=tmp_path / "run")
    assert not again.plan().to_do("reduce")
    assert not again.plan().to_do("finish")


def test_an_observation_without_off_regions_is_set_aside_by_name(store: Path, tmp_path: Path) -> None:
    config = configured(tmp_path, store, SPECTRA, EXCLUSION + AROUND_THE_FIRST)
    with pytest.raises(TooManyFailuresError) as error:
        Analysis(config, run=tmp_path / "run").execute()
    (failure,) = error.value.failures
    assert failure.name == "100001"
    assert "every place on the circle around the pointing touches the exclusion mask" in str(error.value)
    config.flow.allow_failed = 1
    stacked = Analysis(config, run=tmp_path / "run").get_datasets()["stacked"]
    assert 100001 not in stacked.observations["obs_id"]
    assert len(stacked.observations) == COUNT - 1


def test_the_geometry_of_spectra_is_the_region(store: Path, tmp_path: Path) -> None:
    geometry = reference_geometry(configured(tmp_path, store, SPECTRA))
    assert isinstance(geometry, SpectrumDatasetGeometry)
    assert geometry.geom.radius == pytest.approx(0.2)
    assert geometry.geom.frame == "galactic"
    assert (geometry.energy_axis.nbin, geometry.energy_axis_true.nbin) == (4, 6)


@pytest.mark.cluster
@pytest.mark.parametrize("text", [SPECTRA, RINGS], ids=["spectra", "rings"])
def test_two_workers_give_the_same_bits(
    store: Path, tmp_path: Path, shared_client: Client, text: str
) -> None:
    config = configured(tmp_path, store, text)
    digests = []
    for name, client in (("alone", None), ("workers", shared_client)):
        Analysis(config, client, run=tmp_path / name).execute()
        receipts = RunFolder(tmp_path / name).inventory().receipts
        assert ("finish", "stacked") in receipts
        digests.append({place: dict(receipt.arrays) for place, receipt in receipts.items()})
    assert digests[0] == digests[1]
