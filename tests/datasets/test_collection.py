"""Collections of datasets."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time

from gammaflow.datasets import DatasetNameError, Datasets, FluxPointsDataset, stack
from gammaflow.errors import ConfigError, DataError, ModelError, StackingError, StorageError, UnsupportedError
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


class TestAsAList:
    def test_it_grows_and_shrinks(self, datasets):
        grown = Datasets()
        grown.append(datasets[1])
        grown.insert(0, datasets[0])
        grown.extend(datasets[2:])
        assert grown.names == datasets.names
        assert grown.pop("obs-1") is datasets[1]
        del grown["obs-0"]
        assert grown.names == ["obs-2"]
        grown[0] = datasets[2].copy("other")
        assert grown.names == ["other"]
        grown.remove(grown[0])
        assert len(grown) == 0
        assert datasets.names == ["obs-0", "obs-1", "obs-2"]

    def test_a_name_comes_once(self, datasets):
        with pytest.raises(DatasetNameError, match="'obs-1'"):
            datasets.append(datasets[1].copy())
        with pytest.raises(DatasetNameError, match="'obs-1'"):
            datasets[0] = datasets[1]
        datasets["obs-1"] = datasets[1].copy()  # in its own place
        assert datasets.names == ["obs-0", "obs-1", "obs-2"]

    def test_only_datasets_are_taken(self, datasets):
        with pytest.raises(UnsupportedError, match="no dataset but a str"):
            datasets.append("obs-9.fits")

    def test_copies_share_what_the_originals_share_and_nothing_with_them(self, datasets):
        source = SkyModel(PowerLawSpectralModel(), name="src")
        datasets.models = [source, FoVBackgroundModel(dataset_name="obs-1")]
        copied = datasets.copy()
        assert copied.names == datasets.names
        assert copied[0].sky_models[0] is copied[2].sky_models[0] is not source
        assert copied["obs-1"].background_model is not datasets["obs-1"].background_model
        assert copied.models.names == datasets.models.names
        copied[0].data["counts"].values[...] = 0
        assert datasets[0].counts.sum() > 0


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

    def test_types_shapes_and_axes(self, mixed, datasets):
        assert datasets.is_all_same_type
        assert not mixed.is_all_same_type
        assert mixed[1:3].is_all_same_shape
        assert not mixed.is_all_same_shape
        assert mixed.energy_axes_are_aligned
        sliced = mixed["on-off-1"].slice_by_idx({"energy": slice(1, 3)}, name="sliced")
        assert Datasets([mixed["map"], sliced]).energy_axes_are_aligned
        coarse = mixed["on-off-1"].to_image("coarse")
        assert not Datasets([mixed["map"], coarse]).energy_axes_are_aligned

    def test_energy_ranges(self, mixed):
        low, high = mixed.energy_ranges
        np.testing.assert_allclose(low.to_value("TeV"), [0.1, 0.1, 0.1, 0.5])
        np.testing.assert_allclose(high.to_value("GeV"), [1e4, 1e4, 1e4, 1e3])

    def test_good_time_of_all(self, mixed):
        counted = mixed[:3]
        gti = counted.gti
        starts, stops = ([getattr(d.gti, name).mjd for d in counted] for name in ("time_start", "time_stop"))
        assert gti.time_start[0].mjd == pytest.approx(np.min(starts), abs=1e-11)
        assert gti.time_stop[-1].mjd == pytest.approx(np.max(stops), abs=1e-11)
        stacked = Datasets([mixed[1], any_dataset("SpectrumDatasetOnOff", 3)]).stack_reduce().gti
        np.testing.assert_array_equal(mixed[1:3].gti.start, stacked.start)
        assert mixed[3:].gti is None

    def test_meta_table(self, mixed):
        table = mixed.meta_table
        assert list(table["NAME"]) == mixed.names
        assert list(table["TYPE"]) == [d.tag for d in mixed]
        assert list(table["INSTRUMENT"][:3]) == ["TEST", "TEST", "OTHER"]
        assert table["INSTRUMENT"].mask.tolist() == [False, False, False, True]
        assert table["RUN"].tolist()[:2] == [1, 2]
        assert [text.split() for text in table["OBS_ID"]] == [
            *([str(d.observations["obs_id"][0])] for d in mixed[:3]),
            [],
        ]

    def test_spectra_of_a_region(self, mixed):
        whole = any_dataset("MapDataset", 1, name="one", safe=1.0)
        spectra = Datasets([whole]).to_spectrum_datasets("galactic;circle(0.3,0.2,1.2)")
        assert spectra.names == ["one"]
        np.testing.assert_array_equal(
            spectra[0].counts, whole.to_spectrum_dataset("galactic;circle(0.3,0.2,1.2)").counts
        )

    def test_a_list_of_them_in_a_file(self, mixed, tmp_path):
        mixed.models = [SkyModel(PowerLawSpectralModel(), name="src")]
        mixed.write(tmp_path / "all.yaml", tmp_path / "models.yaml", ending=".zarr")
        back = Datasets.read(tmp_path / "all.yaml", tmp_path / "models.yaml")
        assert back.names == mixed.names
        assert back.models.names == ["src"]
        assert [d.tag for d in back] == [d.tag for d in mixed]
        np.testing.assert_array_equal(back["map"].counts, mixed["map"].counts)
        with pytest.raises(StorageError, match="already"):
            mixed.write(tmp_path / "all.yaml", ending=".zarr")

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
        with pytest.raises(StackingError, match="on-off-2: its instrument is 'OTHER'"):
            mixed.select(tag="SpectrumDatasetOnOff").stack_reduce()


class TestGroups:
    @pytest.fixture
    def runs(self) -> Datasets:
        def run(number: int, zenith: float) -> Any:
            made = any_dataset("SpectrumDatasetOnOff", number, meta={"campaign": "A" if number < 2 else "B"})
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

    def test_by_quantities_with_units(self, runs):
        groups = runs.group_by("zenith", bins=["0 deg", "1200 arcmin", 40 * u.deg])
        assert {label: len(g) for label, g in groups.items()} == {"zenith-0-20": 1, "zenith-20-40": 3}

    def test_by_time(self, runs):
        middle = [float(d.gti.time_reference.at(d.observations["tstart"][0] + 900.0).mjd) for d in runs]
        edge = 0.5 * (min(middle) + max(middle))
        groups = runs.group_by("time", bins=[0, edge, 99999])
        assert sum(len(g) for g in groups.values()) == 4
        early = {d.name for d, time in zip(runs, middle, strict=True) if time < edge}
        assert {frozenset(g.names) for g in groups.values()} == {
            frozenset(early),
            frozenset(set(runs.names) - early),
        }
        as_times = runs.group_by(
            "time", bins=["2004-01-01", Time("2004-03-15T12:00", scale="utc"), "2010-01-01"]
        )
        assert list(as_times) == ["time-2004-01-01_to_2004-03-15T120000"]

    def test_by_offset_from_the_region_or_from_a_position(self, runs):
        # pointings lie near (0, 0)
        assert list(runs.group_by("offset", bins=[0, 2, 180])) == ["offset-2-180"]
        origin = SkyCoord(0, 0, unit="deg")
        assert list(runs.group_by("offset", bins=[0, 2, 180], position=origin)) == ["offset-0-2"]
        maps = Datasets([any_dataset("MapDataset")])
        with pytest.raises(DataError, match="what the offset is to be measured from"):
            maps.group_by("offset", bins=[0, 2])
        assert list(maps.group_by("offset", bins=[0, 2], position=origin)) == ["offset-0-2"]

    def test_bins_that_mean_nothing_are_refused(self, runs):
        with pytest.raises(ConfigError, match="do not increase"):
            runs.group_by("zenith", bins=[20, 10])
        with pytest.raises(ConfigError, match="'1 TeV' is not in deg"):
            runs.group_by("zenith", bins=["1 TeV", "2 TeV"])

    def test_by_value_and_by_function(self, runs):
        assert {k: len(v) for k, v in runs.group_by("campaign").items()} == {
            "campaign-A": 2,
            "campaign-B": 2,
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
