"""The workflow with the real makers, stacking and Zarr files: the same bits whatever happens on the way."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from gammaflow.config import AnalysisConfig
from gammaflow.dag import tasks
from gammaflow.dag.analysis_plan import plan
from gammaflow.dag.callbacks import History
from gammaflow.dag.dask_engine import DaskEngine
from gammaflow.dag.engine import Engine, SerialEngine
from gammaflow.dag.events import TaskFinished
from gammaflow.dag.receipts import Receipt
from gammaflow.dag.run import Run
from gammaflow.dag.run_folder import RunFolder
from gammaflow.data import DataStore
from gammaflow.data.simulation import simulate_survey
from gammaflow.datasets import stack
from gammaflow.io import read_dataset
from tests.survey import write_config

pytestmark = pytest.mark.timeout(300)
COUNT = 12
MORE = "flow: {fan_in: 3}\n"


@pytest.fixture(scope="module")
def survey(tmp_path_factory) -> AnalysisConfig:
    """Twelve short observations, and a configuration with three operands a sum."""
    folder = tmp_path_factory.mktemp("survey")
    simulate_survey(folder / "survey", COUNT, seed=3, ontime=60.0)
    return AnalysisConfig.read(write_config(folder, folder / "survey", more=MORE))


def run_of(config: AnalysisConfig, folder: Path, engine: Engine, history: History | None = None) -> Run:
    store = DataStore.from_dir(config.observations.datastore)
    files = [store.locate(obs_id) for obs_id in store.select(config.observations)]
    return Run(folder, plan(config, files), engine, tasks.FUNCTIONS, callbacks=[history] if history else [])


def digests(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    return {place: dict(receipt.arrays) for place, receipt in RunFolder(folder).inventory().receipts.items()}


def contents(group: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(group)): path.read_bytes() for path in sorted(group.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def serial(survey, tmp_path_factory) -> Path:
    """The run folder of an undisturbed serial run."""
    folder = tmp_path_factory.mktemp("serial") / "run"
    run_of(survey, folder, SerialEngine()).execute()
    return folder


@pytest.mark.cluster
def test_two_workers_give_the_same_bits(survey, serial, shared_client, tmp_path):
    run_of(survey, tmp_path / "run", DaskEngine(shared_client)).execute()
    assert digests(tmp_path / "run") == digests(serial)
    assert contents(tmp_path / "run" / "stacked" / "stacked.zarr") == contents(
        serial / "stacked" / "stacked.zarr"
    )


@pytest.mark.cluster
@pytest.mark.chaos
@pytest.mark.parametrize("stage", ["reduce", "stack"])
def test_workers_killed_on_the_way_and_a_resume_give_the_same_bits(
    survey, serial, fresh_client, tmp_path, stage
):
    pids = list(fresh_client.run(os.getpid).values())
    killed: list[int] = []

    def kill(event) -> None:
        if isinstance(event, TaskFinished) and event.stage == stage and not killed:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    run = run_of(survey, tmp_path / "run", DaskEngine(fresh_client))
    run._announce._callbacks.append(kill)
    run.execute()
    assert killed
    assert digests(tmp_path / "run") == digests(serial)
    history = History()
    summary = run_of(survey, tmp_path / "run", DaskEngine(fresh_client), history).execute()
    assert summary.tasks == 0
    assert history.submitted() == []


@pytest.mark.parametrize("point", ["after_arrays:100005", "before_receipt:100005", "after_arrays:stacked"])
def test_a_run_that_dies_between_arrays_and_receipt_resumes_to_the_same_bits(
    survey, serial, tmp_path, monkeypatch, point
):
    folder = tmp_path / "run"
    child = os.fork()
    if child == 0:  # the run that dies
        os.environ["GAMMAFLOW_FAULT"] = f"{point}=kill"
        try:
            run_of(survey, folder, SerialEngine()).execute()
        finally:
            os._exit(17)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    done = set(RunFolder(folder).inventory().receipts)
    history = History()
    run_of(survey, folder, SerialEngine(), history).execute()
    assert digests(folder) == digests(serial)
    submitted = {tuple(name.split("/")) if "/" in name else ("reduce", name) for name in history.submitted()}
    assert not submitted & done
    assert len(submitted | done) == len(digests(serial))


def test_an_added_observation_gives_what_one_run_of_all_gives(survey, serial, tmp_path):
    config = survey.update("flow: {exclude: [100004]}")
    folder = tmp_path / "run"
    run_of(config, folder, SerialEngine()).execute()
    history = History()
    run_of(survey, folder, SerialEngine(), history).execute()
    assert history.submitted("reduce") == ["100004"]
    assert digests(folder) == digests(serial)


def test_a_changed_safe_mask_redoes_the_observations_under_their_names(survey, serial, tmp_path):
    config = survey.update("datasets: {safe_mask: {parameters: {offset_max: 1.5 deg}}}")
    folder = tmp_path / "run"
    run_of(config, folder, SerialEngine()).execute()
    assert digests(folder) != digests(serial)
    diff = run_of(survey, folder, SerialEngine()).diff()
    assert f"{COUNT} x datasets.safe_mask changed" in diff.summary()
    run_of(survey, folder, SerialEngine()).execute()
    assert digests(folder) == digests(serial)


def test_the_tree_gives_the_plain_sum_to_float_rounding(serial):
    observations = [read_dataset(path) for path in sorted((serial / "observations").glob("*.zarr"))]
    tree = read_dataset(serial / "stacked" / "stacked.zarr")
    plain = stack(observations, "stacked", tree.geometry)
    for name in ("counts", "mask_safe"):
        np.testing.assert_array_equal(tree.array(name), plain.array(name))
    for name in ("background", "exposure", "psf", "edisp", "psf_exposure", "edisp_exposure"):
        np.testing.assert_allclose(tree.array(name), plain.array(name), rtol=3e-7, atol=0.0, err_msg=name)


def test_receipts_hold_the_numbers_and_where_they_come_from(survey, serial):
    receipt = Receipt.from_json((serial / "observations" / "100003.json").read_text())
    dataset = read_dataset(serial / "observations" / "100003.zarr")
    summary = dataset.summary()
    assert receipt.summary is not None
    assert receipt.summary.counts == summary.counts > 0
    assert receipt.summary.exposure_max == summary.exposure_max
    assert [name for name, _, _ in receipt.inputs] == sorted(name for name, _, _ in receipt.inputs)
    assert any("100003" in name for name, _, _ in receipt.inputs)
    assert {"numpy", "zarr", "gammaflow-survey", "python"} <= set(receipt.versions)
    assert receipt.seconds > 0
    parent = read_dataset(serial / "stacked" / "stacked.zarr").geometry
    box = dataset.geometry.box_in(parent)
    assert receipt.box == (*box.y, *box.x, *box.y_irf, *box.x_irf)


def test_a_stranger_can_open_what_lies_in_the_folder(serial):
    with xr.open_zarr(serial / "stacked" / "stacked.zarr", consolidated=False) as data:
        assert data["counts"].dims == ("energy", "y", "x")
        assert data.sizes["observation"] == COUNT


def test_warnings_of_the_makers_are_in_the_receipt(survey, tmp_path):
    config = survey.update(
        "datasets: {background: {method: fov_background, parameters: {min_counts: 1000000000}}}"
    ).update(
        "flow: {exclude: [100001, 100002, 100003, 100004, 100005, 100006, 100007, 100008, 100009, 100010]}"
    )
    run_of(config, tmp_path / "run", SerialEngine()).execute()
    receipt = json.loads((tmp_path / "run" / "observations" / "100011.json").read_text())
    assert any("background" in text for text in receipt["warnings"])


def test_observations_of_different_maps_cannot_be_stacked_by_accident(survey, serial, tmp_path):
    """The geometry is in the key: an observation on another map is never taken for this one's."""
    other = survey.update("datasets: {geom: {wcs: {binsize: 0.25 deg}}}")
    first = {node.key for node in run_of(survey, tmp_path, SerialEngine()).plan.nodes()}
    second = {node.key for node in run_of(other, tmp_path, SerialEngine()).plan.nodes()}
    assert not first & second


def grouped_run(config: AnalysisConfig, folder: Path, engine: Engine) -> Run:
    """The run of a configuration with ``flow.group_by``."""
    store = DataStore.from_dir(config.observations.datastore)
    files = [store.locate(obs_id) for obs_id in store.select(config.observations)]
    return Run(folder, plan(config, files, store.obs_table), engine, tasks.FUNCTIONS)


OFFSETS = "flow: {group_by: {column: offset, bins: [0 deg, 1 deg, 10 deg]}}"


def test_groups_are_stacked_apart_and_add_up_to_the_whole(survey, serial, tmp_path):
    config = survey.update("flow: {group_by: {column: RA_PNT, bins: [0, 240, 360]}}")
    summary = grouped_run(config, tmp_path / "run", SerialEngine()).execute()
    assert summary.stacked == ("ra_pnt-0-240", "ra_pnt-240-360")
    groups = [read_dataset(tmp_path / "run" / "stacked" / f"{name}.zarr") for name in summary.stacked]
    whole = read_dataset(serial / "stacked" / "stacked.zarr")
    counts = sum(group.array("counts").astype(int) for group in groups)
    np.testing.assert_array_equal(counts, whole.array("counts"))
    assert [group.name for group in groups] == list(summary.stacked)


def test_other_groups_reduce_nothing_anew_and_leave_no_former_groups(survey, tmp_path):
    folder = tmp_path / "run"
    run_of(survey, folder, SerialEngine()).execute()
    summary = grouped_run(survey.update(OFFSETS), folder, SerialEngine()).execute()
    assert (summary.reduce.done, summary.reduce.reused) == (0, COUNT)
    names = {path.stem for path in (folder / "stacked").iterdir()}
    assert names == set(summary.stacked) == {"offset-0-1", "offset-1-10"}
    assert grouped_run(survey.update(OFFSETS), folder, SerialEngine()).execute().tasks == 0
    # a run that stacks nothing says nothing about what was stacked before
    joint = survey.update("datasets: {stack: false}")
    run_of(joint, folder, SerialEngine()).execute()
    assert {path.stem for path in (folder / "stacked").iterdir()} == names


@pytest.mark.parametrize("point", ["after_arrays:offset-1-10", "before_receipt:offset-0-1"])
def test_a_run_in_groups_that_dies_resumes_to_the_same_bits(survey, tmp_path, monkeypatch, point):
    config, folder = survey.update(OFFSETS), tmp_path / "run"
    child = os.fork()
    if child == 0:  # the run that dies
        os.environ["GAMMAFLOW_FAULT"] = f"{point}=kill"
        try:
            grouped_run(config, folder, SerialEngine()).execute()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    summary = grouped_run(config, folder, SerialEngine()).execute()
    assert (summary.reduce.done, summary.reduce.reused) == (0, COUNT)
    undisturbed = tmp_path / "undisturbed"
    grouped_run(config, undisturbed, SerialEngine()).execute()
    assert digests(folder) == digests(undisturbed)


@pytest.mark.cluster
def test_groups_have_the_same_bits_on_two_workers(survey, shared_client, tmp_path):
    config = survey.update(OFFSETS)
    names = grouped_run(config, tmp_path / "one", SerialEngine()).execute().stacked
    grouped_run(config, tmp_path / "two", DaskEngine(shared_client)).execute()
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    for name in names:
        one, two = (contents(tmp_path / n / "stacked" / f"{name}.zarr") for n in ("one", "two"))
        assert one == two
