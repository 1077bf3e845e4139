"""To Gammapy and back: it reads what we write, we read what it writes, and the statistics are the same."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import gammaflow.io  # noqa: F401  # registers the formats
from gammaflow.datasets import Dataset
from gammaflow.modeling import FoVBackgroundModel
from tests.datasets.small import any_dataset

PEER = Path(__file__).with_name("peer_gammapy.py")
TAGS = ("MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff")
#: Names of the files: type, energy dispersion, format.
FILES = [f"{tag}-{kind}.fits" for tag in TAGS for kind in ("kernel", "migra")] + [
    "SpectrumDatasetOnOff-ogip.pha"
]


def dataset_of(name):
    tag, kind = name.split(".")[0].split("-")
    dataset = any_dataset(tag, 5, name="one", migra=kind == "migra")
    exposure = {n: np.full(dataset.geometry.shapes[n], 1e9) for n in ("exposure", "edisp_exposure")}
    return dataset.with_arrays(**exposure)


def call_peer(folder):
    python = os.environ.get("GAMMAPY_PYTHON")
    if not python:
        pytest.skip("needs Gammapy: set GAMMAPY_PYTHON to a python that has it")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [python, str(PEER), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory):
    """A folder with what we wrote, in it one with what Gammapy made of it; and Gammapy's statistics."""
    folder = tmp_path_factory.mktemp("exchange")
    for name in FILES:
        dataset_of(name).write(folder / name)
    found = call_peer(folder)
    # Once more there and back: read what Gammapy wrote, write it, let Gammapy read that.
    again = tmp_path_factory.mktemp("again")
    for name in FILES:
        written = folder / "gammapy" / name.replace(".pha", "-ogip.fits")
        Dataset.read(written).write(again / name)
    return folder, found, call_peer(again)


@pytest.mark.parametrize("name", FILES)
class TestExchange:
    def test_gammapy_finds_the_same_statistic_in_our_files(self, name, exchange):
        dataset, found = dataset_of(name), exchange[1][name]
        assert found["name"] == dataset.name
        assert np.isfinite(found["stat_source"])
        if "OnOff" in name:
            assert found["stat"] == pytest.approx(dataset.stat_sum(), rel=1e-6)
        else:
            dataset.models = FoVBackgroundModel(dataset_name="one")
            assert found["stat"] == pytest.approx(dataset.stat_sum(), rel=1e-6)
            spectrum = dataset.models.spectral_model
            spectrum.norm.value, spectrum.tilt.value = 1.3, 0.2
            assert found["stat_background"] == pytest.approx(dataset.stat_sum(), rel=1e-6)

    def test_we_find_the_same_arrays_in_its_files(self, name, exchange):
        dataset = dataset_of(name)
        back = Dataset.read(exchange[0] / "gammapy" / name.replace(".pha", "-ogip.fits"))
        assert type(back) is type(dataset)
        assert back.geometry == dataset.geometry
        for array in set(dataset.arrays) - {"mask_fit"}:
            np.testing.assert_allclose(back.array(array), dataset.array(array), rtol=1e-6, err_msg=array)
        np.testing.assert_allclose(back.gti.time_start.mjd, dataset.gti.time_start.mjd, rtol=0, atol=1e-9)

    def test_with_a_source_nothing_changes_on_the_way_there_and_back(self, name, exchange):
        _, first, second = exchange
        for statistic in set(first[name]) - {"name"}:
            assert second[name][statistic] == pytest.approx(first[name][statistic], rel=1e-6)
