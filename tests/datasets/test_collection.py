"""Collections of datasets."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import pytest

from gammaflow.datasets import DatasetNameError, Datasets, FluxPointsDataset, stack
from gammaflow.errors import DataError, ModelError, StackingError
from gammaflow.modeling import FoVBackgroundModel, PowerLawSpectralModel, SkyModel
from tests.datasets.small import any_dataset, part_of, random_dataset, whole_geometry

WHOLE = whole_geometry()


@pytest.fixture
def datasets() -> Datasets:
    return Datasets(random_dataset(part_of(WHOLE, 4.0 + n, 5.0, 3.0), n) for n in range(3))


def test_found_by_name_and_by_place(datasets):
    assert datasets["obs-1"] is datasets[1]
    assert datasets.index("obs-2") == 2
    assert datasets.index(datasets[2]) == 2
    assert "obs-1" in datasets
    assert datasets[1] in datasets
    assert "obs-9" not in datasets
    assert datasets[1:].names == ["obs-1", "obs-2"]


def test_an_unknown_name_lists_the_known_ones(datasets):
    with pytest.raises(DatasetNameError, match="obs-0, obs-1, obs-2"):
        datasets["obs-9"]


def test_names_are_unique(datasets):
    with pytest.raises(DatasetNameError, match="'obs-1'"):
        Datasets([*datasets, datasets[1]])


def test_stack_reduce_is_stack(datasets):
    assert datasets.stack_reduce("all").data.identical(stack(datasets, "all").data)


def test_info_table_has_a_row_a_dataset(datasets):
    table = datasets.info_table()
    assert list(table["name"]) == datasets.names
    assert table["exposure_max"].unit == "m2 s"
    cumulative = datasets.info_table(cumulative=True)
    assert cumulative["counts"][-1] == table["counts"].sum()
    assert cumulative["counts"][1] == table["counts"][:2].sum()


def test_print_names_type_and_instrument(datasets):
    text = str(datasets)
    assert text.startswith(
        "Datasets\n--------\n\nDataset 0: \n\n  Type       : MapDataset\n  Name       : obs-0\n"
    )
    assert "  Instrument : TEST\n" in text


@pytest.fixture
def mixed() -> Datasets:
    return Datasets(
        [
            any_dataset("MapDataset", 1, name="map"),
            any_dataset("SpectrumDatasetOnOff", 2, name="on-off-1"),
            any_dataset("SpectrumDatasetOnOff", 3, name="on-off-2", meta={"instrument": "OTHER"}),
            FluxPointsDataset.from_arrays("sed", [0.5, 1.0], [4e-12, 1e-12], dnde_err=[2e-13, 1e-13]),
        ]
    )


class TestMixed:
    def test_selection(self, mixed):
        assert mixed.select(name="on-off-*").names == ["on-off-1", "on-off-2"]
        assert mixed.select(tag="FluxPointsDataset").names == ["sed"]
        assert mixed.select(name=["map", "sed"], tag=["MapDataset"]).names == ["map"]
        assert mixed.select(instrument="OTHER").names == ["on-off-2"]

    def test_selection_in_time(self, mixed):
        first = mixed["on-off-1"].gti
        start, stop = first.time_start[0], first.time_stop[-1]
        assert "on-off-1" in mixed.select_time(start, stop).names
        assert "sed" not in mixed.select_time(start, stop).names
        assert "on-off-1" not in mixed.select_time(start + 1 * u.s, stop).names

    def test_energies(self, mixed):
        sliced = mixed.slice_by_energy("0.4 TeV", "3 TeV")
        assert sliced.names == mixed.names
        assert sliced["on-off-1"].data_shape == (1,)
        assert mixed.slice_by_energy(0.47, 0.9).names == ["sed"]

    def test_models_go_where_they_are_for(self, mixed):
        spectrum = PowerLawSpectralModel()
        everywhere = SkyModel(spectrum, name="src")
        only = SkyModel(spectrum.copy(), name="only", datasets_names=["on-off-2"])
        background = FoVBackgroundModel(dataset_name="map")
        mixed.models = [everywhere, only, background]
        assert mixed["on-off-1"].models.names == ["src"]
        assert mixed["on-off-2"].models.names == ["src", "only"]
        assert mixed["map"].models.names == ["src", "map-bkg"]
        assert mixed["map"].background_model is background
        assert mixed.models.names == ["src", "map-bkg", "only"]
        assert len(mixed.parameters.unique_parameters) == 9
        with pytest.raises(ModelError, match="'nowhere', which is not there"):
            mixed.models = [SkyModel(spectrum, name="x", datasets_names=["nowhere"])]
        mixed.models = None
        assert len(mixed.models) == 0

    def test_statistics_are_added(self, mixed):
        two = mixed.select(tag="SpectrumDatasetOnOff")
        assert two.stat_sum() == pytest.approx(two[0].stat_sum() + two[1].stat_sum())

    def test_info_table_has_the_columns_of_all(self, mixed):
        table = mixed.info_table()
        assert list(table["name"]) == ["map", "on-off-1", "on-off-2"]
        assert np.isnan(table["counts_off"][0])
        assert table["counts_off"][1] == mixed[1].summary().counts_off

    def test_only_counts_can_be_stacked(self, mixed):
        with pytest.raises(StackingError, match="FluxPointsDataset cannot be stacked"):
            mixed.stack_reduce()
        with pytest.raises(StackingError, match="MapDataset"):
            mixed[:2].stack_reduce(geometry=mixed[0].geometry)
        # the instruments do not agree, so the sum is of none
        assert "instrument" not in mixed.select(tag="SpectrumDatasetOnOff").stack_reduce().meta


class TestGroups:
    @pytest.fixture
    def runs(self) -> Datasets:
        def run(number: int, zenith: float) -> Any:
            made = any_dataset(
                "SpectrumDatasetOnOff", number, meta={"instrument": "A" if number < 2 else "B"}
            )
            return with_zenith(made, zenith)

        return Datasets([run(0, 10.0), run(1, 25.0), run(2, 20.0), run(3, 39.9)])

    def test_by_bins(self, runs):
        groups = runs.group_by("zenith", bins=[0, 20, 40])
        assert {label: g.names for label, g in groups.items()} == {
            "zenith-0-20": ["obs-0"],
            "zenith-20-40": ["obs-1", "obs-2", "obs-3"],
        }
        stacked = runs.stack_groups("zenith", bins=[0, 20, 40])
        assert stacked.names == ["zenith-0-20", "zenith-20-40"]
        np.testing.assert_array_equal(stacked[1].counts_off, runs[1:].stack_reduce().counts_off)

    def test_by_value_and_by_function(self, runs):
        assert {k: len(v) for k, v in runs.group_by("instrument").items()} == {
            "instrument-A": 2,
            "instrument-B": 2,
        }
        assert list(runs.group_by(lambda d: d.name[-1])) == ["0", "1", "2", "3"]
        assert list(runs[:1].group_by("zenith")) == ["zenith-10.0"]

    def test_what_has_no_group_is_told(self, runs):
        with pytest.raises(DataError, match="outside the bins 0 to 20"):
            runs.group_by("zenith", bins=[0, 20])
        with pytest.raises(DataError, match="no 'weather'"):
            runs.group_by("weather")
        with pytest.raises(DataError, match="2 values of 'zenith'"):
            Datasets([runs[:2].stack_reduce()]).group_by("zenith")


def with_zenith(dataset: Any, zenith: float) -> Any:
    rows = dataset.observations.replace(zenith=np.array([zenith]))
    arrays = {n: dataset.array(n) for n in dataset.arrays}
    return type(dataset).from_arrays(
        dataset.geometry, dataset.name, gti=dataset.gti, observations=rows, meta=dataset.meta, **arrays
    )
