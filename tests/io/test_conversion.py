"""``convert``: datasets, lists and whole runs from one format to another, with their models."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from gammaflow.cli import main
from gammaflow.datasets import Dataset, Datasets, SpectrumDatasetOnOff
from gammaflow.errors import MissingFileError, StorageError, UnsupportedError
from gammaflow.io import convert, read_datasets, write_datasets
from gammaflow.modeling import FoVBackgroundModel, Models, PowerLawSpectralModel, SkyModel
from tests import survey as small
from tests.datasets.small import any_dataset
from tests.io.test_flux_files import kinds
from tests.survey_models import make_survey, write_start_models

TAGS = ("MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff")


def five() -> Datasets:
    """One of each type, with models whose parameters are correlated."""
    datasets = Datasets(
        [*(any_dataset(tag, k, name=f"{tag} {k}") for k, tag in enumerate(TAGS)), kinds()["everything"]]
    )
    spectrum = PowerLawSpectralModel(index=2.3, amplitude="3e-11 cm-2 s-1 TeV-1", reference="1 TeV")
    source = SkyModel(spectrum, name="src", datasets_names=["sed"])
    background = FoVBackgroundModel(dataset_name="MapDataset 0")
    background.spectral_model.norm.value = 1.25
    models = Models([source, background])
    size = len(models.parameters)
    noise = np.random.default_rng(3).random((size, size))
    models.covariance = (
        noise @ noise.T * np.outer(*2 * [[0.0 if p.frozen else 1.0 for p in models.parameters]])
    )
    datasets.models = models
    return datasets


@pytest.mark.parametrize("tag", [*TAGS, "FluxPointsDataset"])
@pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".ecsv", ".pha"])
def test_there_and_back_is_the_identity(tag, ending, tmp_path):
    dataset = kinds()["everything"] if tag == "FluxPointsDataset" else any_dataset(tag, 5)
    dataset.write(tmp_path / "a.zarr")
    only = {".ecsv": "FluxPointsDataset", ".pha": "SpectrumDatasetOnOff"}.get(ending, tag)
    if only != tag:
        with pytest.raises(UnsupportedError, match=tag):
            convert(tmp_path / "a.zarr", tmp_path / f"b{ending}")
        return
    assert convert(tmp_path / "a.zarr", tmp_path / f"b{ending}") == [tmp_path / f"b{ending}"]
    convert(tmp_path / f"b{ending}", tmp_path / "c.zarr")
    assert Dataset.read(tmp_path / "c.zarr").data.identical(dataset.data)


def test_the_background_model_goes_into_a_file_that_others_read(tmp_path):
    dataset = any_dataset("MapDataset", 5, name="one")
    dataset.models = FoVBackgroundModel(dataset_name="one")
    dataset.models.spectral_model.norm.value = 1.25
    dataset.write(tmp_path / "a.zarr")
    written = convert(tmp_path / "a.zarr", tmp_path / "b.fits")
    assert written == [tmp_path / "b.fits", tmp_path / "b_models.yaml"]
    assert Models.read(written[1]).background_models["one"].spectral_model.norm.value == 1.25
    with pytest.raises(StorageError, match="there already"):
        convert(tmp_path / "a.zarr", tmp_path / "b.fits")
    assert convert(tmp_path / "b.fits", tmp_path / "c.zarr") == [tmp_path / "c.zarr"]
    assert Dataset.read(tmp_path / "c.zarr").background_model.spectral_model.norm.value == 1.25


class TestLists:
    @pytest.mark.parametrize(
        ("name", "models"),
        [
            ("datasets.yaml", "models.yaml"),
            ("crab_datasets.yml", "crab_models.yml"),
            ("all.yaml", "all_models.yaml"),
        ],
    )
    def test_the_models_beside_a_list_come_along_with_their_covariance(self, name, models, tmp_path):
        datasets = five()
        write_datasets(datasets, tmp_path / "a" / name, tmp_path / "a" / models)
        written = convert(tmp_path / "a" / name, tmp_path / "b" / "datasets.yaml", ending=".zarr")
        assert written[-2:] == [tmp_path / "b" / "models.yaml", tmp_path / "b" / "datasets.yaml"]
        assert len(written) == 7
        back = read_datasets(tmp_path / "b" / "datasets.yaml", tmp_path / "b" / "models.yaml")
        assert all(one.data.identical(other.data) for one, other in zip(back, datasets, strict=True))
        assert back.models.names == datasets.models.names
        np.testing.assert_allclose(back.models.covariance.data, datasets.models.covariance.data, rtol=1e-6)

    def test_models_from_elsewhere(self, tmp_path):
        datasets = five()
        write_datasets(datasets, tmp_path / "datasets.yaml", tmp_path / "far" / "best.yaml")
        convert(tmp_path / "datasets.yaml", tmp_path / "b" / "b.yaml", models=tmp_path / "far" / "best.yaml")
        assert "src" in Models.read(tmp_path / "b" / "b_models.yaml").names

    def test_on_off_spectra_in_the_ogip_formats(self, tmp_path):
        datasets = five()
        write_datasets(datasets, tmp_path / "a.yaml")
        convert(tmp_path / "a.yaml", tmp_path / "b" / "b.yaml", ogip=True)
        entries = yaml.safe_load((tmp_path / "b" / "b.yaml").read_text())["datasets"]
        endings = {entry["type"]: entry["filename"].rsplit(".", 1)[1] for entry in entries}
        assert endings.pop("SpectrumDatasetOnOff") == "pha"
        assert set(endings.values()) == {"fits"}
        back = read_datasets(tmp_path / "b" / "b.yaml")
        assert all(one.data.identical(other.data) for one, other in zip(back, datasets, strict=True))

    def test_nothing_is_replaced_unasked(self, tmp_path):
        write_datasets(five(), tmp_path / "a.yaml")
        convert(tmp_path / "a.yaml", tmp_path / "b" / "b.yaml")
        with pytest.raises(StorageError, match="there already"):
            convert(tmp_path / "a.yaml", tmp_path / "b" / "b.yaml")
        convert(tmp_path / "a.yaml", tmp_path / "b" / "b.yaml", overwrite=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with a fit; not to be changed."""
    folder = make_survey(tmp_path_factory.mktemp("survey"))
    config = folder / "config.yaml"
    config.write_text(
        config.read_text() + "    background: {method: fov_background, parameters: {method: scale}}\n"
    )
    write_start_models(folder, folder / "models.yaml")
    for args in (
        ("run", folder / "config.yaml", "--run", folder / "run", "--serial"),
        ("fit", folder / "run", "--models", folder / "models.yaml"),
    ):
        done = CliRunner().invoke(main, [str(arg) for arg in args])
        assert done.exit_code == 0, done.output
    return folder / "run"


class TestRuns:
    def test_all_datasets_and_fits(self, run, tmp_path):
        written = convert(run, tmp_path / "out")
        assert all(path.is_file() for path in written)
        stacked = read_datasets(
            tmp_path / "out" / "stacked" / "datasets.yaml", tmp_path / "out/fits/stacked/models.yaml"
        )
        assert stacked.names == ["stacked"]
        assert stacked[0].data.identical(Dataset.read(run / "stacked" / "stacked.zarr").data)
        fitted = Models.read(run / "fits" / "stacked" / "models.yaml")
        assert stacked.models.names == fitted.names
        np.testing.assert_allclose(
            Models.read(tmp_path / "out/fits/stacked/models.yaml").covariance.data,
            fitted.covariance.data,
            rtol=1e-6,
        )
        assert (tmp_path / "out/fits/stacked/result.json").read_bytes() == (
            run / "fits/stacked/result.json"
        ).read_bytes()
        observations = tmp_path / "out" / "observations"
        each = read_datasets(observations / "datasets.yaml", observations / "models.yaml")
        assert len(each) == len(small.OBS_IDS)
        for dataset, obs_id in zip(each, small.OBS_IDS, strict=True):
            original = Dataset.read(run / "observations" / f"{obs_id}.zarr")
            assert dataset.data.identical(original.data)
            norms = [d.background_model.spectral_model.norm.value for d in (dataset, original)]
            assert norms[0] == norms[1] != 1.0

    def test_the_list_of_a_run_goes_back_to_zarr(self, run, tmp_path):
        convert(run, tmp_path / "out")
        convert(
            tmp_path / "out" / "stacked" / "datasets.yaml",
            tmp_path / "back" / "datasets.yaml",
            ending=".zarr",
        )
        first = Dataset.read(run / "stacked" / "stacked.zarr")
        assert Dataset.read(tmp_path / "back" / "stacked.zarr").data.identical(first.data)

    def test_what_is_not_finished_is_left_out(self, run, tmp_path):
        shutil.copytree(run, tmp_path / "run")
        (tmp_path / "run" / "stacked" / "stacked.json").unlink()
        convert(tmp_path / "run", tmp_path / "out")
        assert not (tmp_path / "out" / "stacked").exists()

    def test_what_cannot_be(self, run, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(MissingFileError, match="no finished dataset"):
            convert(tmp_path / "empty", tmp_path / "out")
        with pytest.raises(UnsupportedError, match="a run and a single file"):
            convert(run, tmp_path / "out.fits")
        convert(run, tmp_path / "out")
        with pytest.raises(StorageError, match="there already"):
            convert(run, tmp_path / "out")

    def test_the_command(self, run, tmp_path):
        done = CliRunner().invoke(main, ["convert", str(run), str(tmp_path / "out"), "--format", "zarr"])
        assert done.exit_code == 0, done.output
        lines = done.stdout.split()
        assert str(tmp_path / "out" / "stacked" / "stacked.zarr") in lines
        assert str(tmp_path / "out" / "fits" / "stacked" / "models.yaml") in lines


def test_an_on_off_spectrum_of_a_list_is_still_one(tmp_path):
    write_datasets([any_dataset("SpectrumDatasetOnOff", 5, name="a/b")], tmp_path / "a.yaml")
    assert isinstance(read_datasets(tmp_path / "a.yaml")["a/b"], SpectrumDatasetOnOff)
