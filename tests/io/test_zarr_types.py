"""Every type of dataset as a Zarr group, and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import gammaflow.io  # noqa: F401  # registers the format
from gammaflow.datasets import Dataset, FluxPointsDataset, MapDataset, combine, finish, lift
from gammaflow.errors import CorruptFileError, SchemaError
from gammaflow.io import read_dataset, read_partial, write_dataset, write_partial
from gammaflow.modeling import FoVBackgroundModel
from tests.datasets.small import any_dataset

COUNTS = ("MapDataset", "MapDatasetOnOff", "SpectrumDataset", "SpectrumDatasetOnOff")


def dataset_of(tag: str, **options):
    if tag == "FluxPointsDataset":
        return FluxPointsDataset.from_arrays(
            "sed",
            [0.5, 1.0],
            [4e-12, np.nan],
            dnde_err=[2e-13, 1e-13],
            dnde_ul=[np.nan, 1e-12],
            is_ul=[False, True],
        )
    return any_dataset(tag, 5, name="one", **options)


@pytest.mark.parametrize("tag", [*COUNTS, "FluxPointsDataset"])
class TestRoundTrip:
    def test_the_same_type_and_bits(self, tag, tmp_path):
        dataset = dataset_of(tag)
        dataset.write(tmp_path / "d.zarr")
        for back in (Dataset.read(tmp_path / "d.zarr"), type(dataset).read(tmp_path / "d.zarr")):
            assert type(back) is type(dataset)
            assert back.data.identical(dataset.data)
        first = write_dataset(dataset, tmp_path / "again.zarr")
        assert write_dataset(back, tmp_path / "once_more.zarr").digest == first.digest

    def test_a_stranger_sees_what_is_inside(self, tag, tmp_path):
        dataset = dataset_of(tag)
        dataset.write(tmp_path / "d.zarr")
        with xr.open_zarr(tmp_path / "d.zarr", consolidated=False) as found:
            assert found.attrs["dataset_type"] == tag
            assert set(dataset.data.data_vars) <= set(found.data_vars)
            assert found["energy"].attrs["units"] == "TeV"
            if tag.startswith("Spectrum"):
                assert found["wcs"].attrs["region"] == dataset.geom.ds9

    def test_the_entry_of_a_datasets_file(self, tag, tmp_path):
        dataset = dataset_of(tag)
        entry = dataset.to_dict("d.zarr")
        dataset.write(tmp_path / "d.zarr")
        assert Dataset.from_dict({**entry, "name": "other"}, tmp_path).name == "other"
        wrong = next(t for t in COUNTS if t != tag)
        with pytest.raises(SchemaError, match=f"not a {wrong}"):
            Dataset.from_dict({**entry, "type": wrong}, tmp_path)

    def test_another_type_is_refused(self, tag, tmp_path):
        dataset_of(tag).write(tmp_path / "d.zarr")
        if tag not in ("MapDataset", "MapDatasetOnOff"):  # an ON/OFF map is a map
            with pytest.raises(SchemaError, match=f"holds a {tag}"):
                MapDataset.read(tmp_path / "d.zarr")

    def test_a_missing_chunk_is_noticed(self, tag, tmp_path):
        dataset = dataset_of(tag)
        dataset.write(tmp_path / "d.zarr")
        name = "dnde" if tag == "FluxPointsDataset" else "counts"
        chunk = next(p for p in (tmp_path / "d.zarr" / name).iterdir() if p.name.startswith("c"))
        chunk.unlink()
        with pytest.raises(CorruptFileError, match="is missing"):
            read_dataset(tmp_path / "d.zarr")

    @pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
    def test_a_truncated_chunk_is_noticed(self, tag, kept, tmp_path):
        dataset_of(tag).write(tmp_path / "d.zarr")
        name = "dnde" if tag == "FluxPointsDataset" else "counts"
        chunk = next(p for p in (tmp_path / "d.zarr" / name).iterdir() if p.name.startswith("c"))
        content = chunk.read_bytes()
        chunk.write_bytes(content[: int(kept * len(content))])
        with pytest.raises(CorruptFileError, match=name):
            read_dataset(tmp_path / "d.zarr")

    def test_a_wrong_unit_is_noticed(self, tag, tmp_path):
        dataset_of(tag).write(tmp_path / "d.zarr")
        metadata = tmp_path / "d.zarr" / "energy" / "zarr.json"
        content = json.loads(metadata.read_text())
        content["attributes"]["units"] = "GeV"
        metadata.write_text(json.dumps(content))
        with pytest.raises(SchemaError, match="energy: units 'GeV'"):
            read_dataset(tmp_path / "d.zarr")


@pytest.mark.parametrize("tag", COUNTS)
def test_partial_sums_come_back_bit_by_bit(tag, tmp_path):
    one, two = any_dataset(tag, 1), any_dataset(tag, 2)
    partial = lift(one, one.geometry)
    write_partial(partial, tmp_path / "p.zarr")
    back = read_partial(tmp_path / "p.zarr")
    assert back.dataset_type == tag
    assert back.parent == partial.parent
    for name, values in partial.sums.items():
        np.testing.assert_array_equal(back.sums[name], values)
    other = lift(two, one.geometry)
    assert finish(combine([back, other])).data.identical(finish(combine([partial, other])).data)


def test_migra_and_the_background_model_come_back(tmp_path):
    dataset = dataset_of("SpectrumDataset", migra=True)
    dataset.models = FoVBackgroundModel(dataset_name="one")
    dataset.models.spectral_model.norm.value = 1.25
    dataset.write(tmp_path / "d.zarr")
    back = read_dataset(tmp_path / "d.zarr")
    np.testing.assert_array_equal(back.npred_background(), dataset.npred_background())
    assert back.data.identical(dataset.data)
