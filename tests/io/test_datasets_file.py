"""Lists of datasets with their models, and datasets from one format to another."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gammaflow.cli import main
from gammaflow.datasets import Dataset, Datasets
from gammaflow.errors import (
    ConfigError,
    CorruptFileError,
    MissingFileError,
    ModelError,
    SchemaError,
    StorageError,
    UnsupportedError,
)
from gammaflow.io import convert, read_datasets, write_datasets
from gammaflow.modeling import FoVBackgroundModel
from tests.datasets.small import any_dataset

TAGS = ("MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff")


@pytest.fixture
def datasets():
    found = Datasets(any_dataset(tag, k, name=f"{tag} {k}") for k, tag in enumerate(TAGS))
    found[0].models = FoVBackgroundModel(dataset_name=found[0].name)
    found[0].models.spectral_model.norm.value = 1.25
    return found


class TestList:
    @pytest.mark.parametrize("ending", [".fits", ".fits.gz", ".zarr"])
    def test_datasets_and_models_come_back(self, datasets, ending, tmp_path):
        names = (tmp_path / "a" / "datasets.yaml", tmp_path / "a" / "models.yaml")
        write_datasets(datasets, *names, ending=ending)
        back = read_datasets(*names)
        assert back.names == datasets.names
        for one, other in zip(back, datasets, strict=True):
            assert type(one) is type(other)
            assert one.data.identical(other.data)
        assert back[0].models.spectral_model.norm.value == 1.25

    def test_the_files_of_others(self, gammapy_data):
        folder = gammapy_data / "fermi-3fhl-crab"
        found = read_datasets(folder / "Fermi-LAT-3FHL_datasets.yaml", folder / "Fermi-LAT-3FHL_models.yaml")
        assert found.names == ["Fermi-LAT"]
        assert "Crab Nebula" in found["Fermi-LAT"].models.names
        assert found["Fermi-LAT"].background_model.spectral_model.norm.value == pytest.approx(1.3004626)

    def test_files_are_found_through_the_environment(self, datasets, tmp_path, monkeypatch):
        datasets[1].write(tmp_path / "far" / "d.fits")
        monkeypatch.setenv("FAR", str(tmp_path / "far"))
        (tmp_path / "datasets.yaml").write_text(
            "datasets:\n- {name: new, type: MapDatasetOnOff, filename: $FAR/d.fits}\n"
        )
        assert read_datasets(tmp_path / "datasets.yaml").names == ["new"]

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ("datasets: [", CorruptFileError, "no YAML"),
            ("components: []", CorruptFileError, "lists no datasets"),
            ("datasets:\n- {name: a, type: MapDataset}", CorruptFileError, "entry 0 has no filename"),
            ("datasets:\n- {name: a, type: MapDataset, filename: none.fits}", MissingFileError, "none.fits"),
            ("datasets:\n- {name: a, type: MapDataset, filename: s.fits}", SchemaError, "not a MapDataset"),
            ("datasets:\n- {name: a, type: MapDataset, filename: s.txt}", UnsupportedError, "not known"),
        ],
    )
    def test_bad_lists(self, text, error, message, tmp_path):
        any_dataset("SpectrumDataset").write(tmp_path / "s.fits")
        (tmp_path / "datasets.yaml").write_text(text)
        with pytest.raises(error, match=message):
            read_datasets(tmp_path / "datasets.yaml")

    @pytest.mark.parametrize("kept", [0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
    def test_a_list_that_is_cut_off(self, datasets, kept, tmp_path):
        path = tmp_path / "datasets.yaml"
        write_datasets(datasets, path)
        text = path.read_text()
        lines = text.splitlines(keepends=True)
        for cut in (text[: int(kept * len(text))], "".join(lines[: int(kept * len(lines))])):
            path.write_text(cut)
            with pytest.raises(
                (CorruptFileError, MissingFileError, SchemaError, UnsupportedError),
                match=r"datasets|SpectrumD",
            ):
                read_datasets(path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda text: text[: text.index("unit:") + 6] + "[", "is no YAML"),
            (lambda _: "datasets:\n- {name: a, type: MapDataset, filename: a.fits}\n", "datasets|components"),
            (lambda text: text.replace("components", "parts"), "components"),
            (lambda text: text.replace("unit: TeV", "unit: s"), "reference.*unit 's'"),
            (lambda _: "", "components"),
        ],
    )
    def test_bad_models(self, datasets, change, message, tmp_path):
        """Cut off, of another kind, and in a wrong unit: the file is named."""
        names = (tmp_path / "datasets.yaml", tmp_path / "models.yaml")
        write_datasets(datasets, *names)
        names[1].write_text(change(names[1].read_text()))
        with pytest.raises(ModelError, match=rf"(?s)models\.yaml.*({message})"):
            read_datasets(*names)

    def test_a_covariance_that_is_cut_off(self, datasets, tmp_path):
        names = (tmp_path / "datasets.yaml", tmp_path / "models.yaml")
        write_datasets(datasets, *names)
        table = tmp_path / "models_covariance.dat"
        table.write_text("\n".join(table.read_text().splitlines()[:-1]))
        with pytest.raises(ConfigError, match=r"models_covariance\.dat"):
            read_datasets(*names)

    def test_no_list(self, tmp_path):
        with pytest.raises(MissingFileError):
            read_datasets(tmp_path / "datasets.yaml")

    def test_nothing_is_replaced_unasked(self, datasets, tmp_path):
        write_datasets(datasets, tmp_path / "datasets.yaml")
        with pytest.raises(StorageError):
            write_datasets(datasets, tmp_path / "datasets.yaml")
        with pytest.raises(StorageError):
            write_datasets(datasets, tmp_path / "others.yaml")
        assert not (tmp_path / "others.yaml").exists()


class TestConvert:
    @pytest.mark.parametrize("tag", TAGS)
    def test_zarr_to_fits_and_back_is_the_identity(self, tag, tmp_path):
        dataset = any_dataset(tag, 5)
        dataset.write(tmp_path / "a.zarr")
        convert(tmp_path / "a.zarr", tmp_path / "b.fits")
        convert(tmp_path / "b.fits", tmp_path / "c.zarr")
        assert Dataset.read(tmp_path / "c.zarr").data.identical(dataset.data)

    def test_lists(self, datasets, tmp_path):
        write_datasets(datasets, tmp_path / "a.yaml")
        convert(tmp_path / "a.yaml", tmp_path / "b" / "b.yaml", ending=".zarr")
        back = read_datasets(tmp_path / "b" / "b.yaml")
        assert all(one.data.identical(other.data) for one, other in zip(back, datasets, strict=True))

    def test_what_cannot_be(self, tmp_path):
        any_dataset("MapDataset").write(tmp_path / "a.zarr")
        for dst, message in (("a.zarr", "the same"), ("a.yaml", "a list of"), ("a.txt", "not known")):
            with pytest.raises(UnsupportedError, match=message):
                convert(tmp_path / "a.zarr", tmp_path / dst)


class TestCommand:
    def call(self, *args):
        return CliRunner().invoke(main, ["convert", *(str(arg) for arg in args)])

    def test_converts_and_names_what_it_wrote(self, tmp_path):
        dataset = any_dataset("SpectrumDatasetOnOff", 5)
        dataset.write(tmp_path / "a.zarr")
        for dst, options in (("b.fits", ()), ("c.pha", ()), ("d.fits", ("--ogip",))):
            result = self.call(tmp_path / "a.zarr", tmp_path / dst, *options)
            assert result.exit_code == 0, result.output
            assert result.stdout.strip() == str(tmp_path / dst)
            assert Dataset.read(tmp_path / dst).data.identical(dataset.data)
        assert (tmp_path / "d_arf.fits").exists()

    def test_says_what_is_wrong_and_replaces_nothing(self, tmp_path):
        any_dataset("MapDataset", 5).write(tmp_path / "a.zarr")
        assert self.call(tmp_path / "a.zarr", tmp_path / "b.fits").exit_code == 0
        again = self.call(tmp_path / "a.zarr", tmp_path / "b.fits")
        assert again.exit_code == 1
        assert "something is there already" in again.stderr
        assert self.call(tmp_path / "a.zarr", tmp_path / "b.fits", "--overwrite").exit_code == 0
        missing = self.call(tmp_path / "none.zarr", tmp_path / "c.fits")
        assert missing.exit_code == 1
        assert "there is no such group" in missing.stderr
