"""To Gammapy and back: it reads what we write, we read what it writes, and the statistics are the same."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from gammaflow.datasets import Dataset, Datasets, FluxPointsDataset, SpectrumDatasetGeometry
from gammaflow.io import read_datasets, write_datasets
from gammaflow.maps import RegionGeom
from gammaflow.maps.region_text import region_numbers
from gammaflow.modeling import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    Models,
    PowerLawSpectralModel,
    SkyModel,
)
from tests.datasets.small import any_dataset, random_dataset, spectrum_geometry
from tests.datasets.test_flux_statistics import sed
from tests.io.realistic import realistic
from tests.io.test_flux_files import GOOD_TIME

PEER = Path(__file__).with_name("peer_gammapy.py")
TAGS = ("MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff")
REGIONS = {
    "annulus": "galactic;annulus(184.5,-5.7,0.1,0.25)",
    "ellipse": "icrs;ellipse(83.6333,22.0145,0.3,0.1,20)",
    "box": "icrs;box(83.6333,22.0145,0.3,0.1,20)",
    "polygon": "icrs;polygon(83.1,22.0,83.9,22.0,83.9,22.7)",
    "point": "icrs;point(83.6333,22.0145)",
    "two": "icrs;circle(83.6333,22.0145,0.1)\nicrs;circle(84.6333,22.0145,0.2)",
}
OFF = "icrs;circle(83.1,21.5,0.1)\nicrs;circle(83.1,22.5,0.1)"
#: Names of the files: type, energy dispersion or region, format.
COUNTS = [
    *(f"{tag}-{kind}.fits" for tag in TAGS for kind in ("kernel", "migra")),
    "SpectrumDatasetOnOff-kernel.pha",
    *(f"SpectrumDataset-{region}.fits" for region in REGIONS),
    "SpectrumDatasetOnOff-off.fits",
    "SpectrumDatasetOnOff-off.pha",
    "SpectrumDatasetOnOff-polygon.pha",
    *(f"{tag}-{kind}.fits" for tag in TAGS for kind in ("real", "realmigra")),
    "SpectrumDatasetOnOff-real.pha",
]
#: Those whose responses are normalised, as those of an instrument are.
PREDICTED = [n for n in COUNTS if "-real" in n or (n.startswith("Spectrum") and "migra" not in n)]
POINTS = [
    f"FluxPointsDataset-{kind}{end}" for kind in ("chi2", "distrib", "profile") for end in (".fits", ".ecsv")
]
FILES = [*COUNTS, *POINTS]


def dataset_of(name):
    tag, kind = name.split(".")[0].split("-")
    if tag == "FluxPointsDataset":
        masks = {"mask_safe": np.arange(6) != 1, "mask_fit": np.arange(6) != 4}
        dataset = sed(kind, gti=GOOD_TIME, **masks)
        dataset.data.attrs["name"] = name.split(".")[0]
        return dataset
    if kind.startswith("real"):
        return realistic(type(any_dataset(tag)), kind == "realmigra")
    if kind in REGIONS:
        geometry = spectrum_geometry()
        region = RegionGeom.create(REGIONS[kind].split("\n"), geometry.geom.axes)
        geometry = SpectrumDatasetGeometry.create(region, geometry.energy_axis_true)
        dataset = random_dataset(geometry, 5, kind=type(any_dataset(tag)), name="one")
    else:
        meta = {"off_regions": OFF} if kind == "off" else {}
        dataset = any_dataset(tag, 5, name="one", migra=kind == "migra", meta=meta)
    exposure = {n: np.full(dataset.geometry.shapes[n], 1e9) for n in ("exposure", "edisp_exposure")}
    return dataset.with_arrays(**exposure)


def source(extended: bool = False, tag: str = "") -> SkyModel:
    """The source of the peer."""
    if extended:
        spectrum = PowerLawSpectralModel(index=2.3, amplitude="3e-12 cm-2 s-1 TeV-1", reference="1 TeV")
        shape = GaussianSpatialModel(lon_0="83.63 deg", lat_0="22.01 deg", sigma="0.3 deg", frame="icrs")
        return SkyModel(spectrum, shape if "Map" in tag else None, name="src")
    spectrum = PowerLawSpectralModel(index=2.3, amplitude="3e-11 cm-2 s-1 TeV-1", reference="1 TeV")
    return SkyModel(spectrum, name="src")


def listed() -> Datasets:
    """A list with a dataset of each type; of the models one is for the flux points, and two are backgrounds."""
    names = (*(f"{tag}-kernel.fits" for tag in TAGS), "FluxPointsDataset-chi2.fits")
    datasets = Datasets(dataset.copy(dataset.tag) for dataset in map(dataset_of, names))
    flux = source()
    flux.datasets_names = ["FluxPointsDataset"]
    backgrounds = [FoVBackgroundModel(dataset_name=name) for name in ("MapDataset", "SpectrumDataset")]
    for norm, background in zip((1.25, 0.9), backgrounds, strict=True):
        background.spectral_model.norm.value = norm
    datasets.models = Models([flux, *backgrounds])
    return datasets


def assert_same_regions(one: RegionGeom, other: RegionGeom) -> None:
    """Centres exactly; sizes to 1e-4: other versions of `regions` take other scales where a region is off-centre."""
    assert len(one.regions) == len(other.regions)
    for mine, theirs in zip(one.regions, other.regions, strict=True):
        assert type(mine) is type(theirs)
        for (name, a), (_, b) in zip(region_numbers(mine), region_numbers(theirs), strict=True):
            is_place = name.startswith(("right ascension", "declination"))
            assert a == pytest.approx(b, rel=0 if is_place else 1e-4, abs=1e-8 if is_place else 1e-9), name


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


def from_peer(folder, name):
    """The file that Gammapy made of one of ours."""
    return folder / "gammapy" / name.replace(".pha", "-ogip.fits")


@pytest.fixture(scope="module")
def exchange(tmp_path_factory):
    """A folder with what we wrote, in it one with what Gammapy made of it; and Gammapy's statistics."""
    folder = tmp_path_factory.mktemp("exchange")
    for name in FILES:
        dataset_of(name).write(folder / name)
    write_datasets(listed(), folder / "lists" / "datasets.yaml", folder / "lists" / "models.yaml")
    found = call_peer(folder)
    # Once more there and back: read what Gammapy wrote, write it, let Gammapy read that.
    again = tmp_path_factory.mktemp("again")
    for name in COUNTS:
        Dataset.read(from_peer(folder, name)).write(again / name)
    return folder, found, call_peer(again)


@pytest.mark.parametrize("name", COUNTS)
class TestCounts:
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
        dataset, back = dataset_of(name), Dataset.read(from_peer(exchange[0], name))
        assert type(back) is type(dataset)
        assert back.geometry == dataset.geometry
        for array in set(dataset.arrays) - {"mask_fit"}:
            np.testing.assert_allclose(back.array(array), dataset.array(array), rtol=1e-6, err_msg=array)
        np.testing.assert_allclose(back.gti.time_start.mjd, dataset.gti.time_start.mjd, rtol=0, atol=1e-9)

    def test_with_a_source_nothing_changes_on_the_way_there_and_back(self, name, exchange):
        _, first, second = exchange
        for statistic in ("stat", "stat_source", "stat_background"):
            if statistic in first[name]:
                assert second[name][statistic] == pytest.approx(first[name][statistic], rel=1e-6)

    def test_both_know_the_same_regions(self, name, exchange):
        dataset, found = dataset_of(name), exchange[1][name]
        assert ("region" in found) == name.startswith("Spectrum")
        if "region" in found:
            assert_same_regions(RegionGeom.create(found["region"]), dataset.geom)
        if "-off" in name:
            off = RegionGeom.create(OFF)
            assert_same_regions(RegionGeom.create(found["off_region"]), off)
            back = Dataset.read(from_peer(exchange[0], name))
            assert_same_regions(RegionGeom.create(back.meta["off_regions"]), off)


@pytest.mark.parametrize("name", PREDICTED)
class TestPredicted:
    def test_with_a_source_our_statistic_is_that_of_gammapy(self, name, exchange):
        """Of maps where pixels are small to the source.

        Where they are not, predictions are made in other ways: the tests of the likelihood show which is nearer.
        """
        dataset, back = dataset_of(name), Dataset.read(from_peer(exchange[0], name))
        models = [source("-real" in name, dataset.tag)]
        if "OnOff" not in name:
            background = FoVBackgroundModel(dataset_name="one")
            background.spectral_model.norm.value, background.spectral_model.tilt.value = 1.3, 0.2
            models.append(background)
        for each in (dataset, back):
            each.models = models
            assert each.stat_sum() == pytest.approx(exchange[1][name]["stat_source"], rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("name", POINTS)
class TestFluxPoints:
    def test_gammapy_finds_the_same_statistic_in_our_files(self, name, exchange):
        dataset = dataset_of(name)
        dataset.models = source()
        assert exchange[1][name]["stat_source"] == pytest.approx(dataset.stat_sum(), rel=1e-6)
        assert len(exchange[1][name]["gti"]) == (
            2 if name.endswith(".fits") else 0
        )  # it reads none from ECSV

    def test_we_find_the_same_statistic_in_its_files(self, name, exchange):
        dataset, back = dataset_of(name), Dataset.read(from_peer(exchange[0], name))
        assert type(back) is FluxPointsDataset
        back.stat_type = dataset.stat_type
        for each in (dataset, back):
            each.models = source()
        assert back.stat_sum() == pytest.approx(dataset.stat_sum(), rel=1e-6)
        np.testing.assert_allclose(back.stat_array(), dataset.stat_array(), rtol=1e-6)


def test_lists_of_datasets_with_their_models(exchange):
    """Gammapy reads our pair of files, we read the pair that it writes; the statistic of each dataset is the same."""
    folder, found, _ = exchange
    ours = listed()
    back = read_datasets(
        folder / "gammapy" / "lists" / "datasets.yaml", folder / "gammapy" / "lists" / "models.yaml"
    )
    assert back.names == ours.names
    for dataset, other in zip(ours, back, strict=True):
        assert found["lists"][dataset.name] == pytest.approx(dataset.stat_sum(), rel=1e-6)
        assert other.stat_sum() == pytest.approx(dataset.stat_sum(), rel=1e-6)
